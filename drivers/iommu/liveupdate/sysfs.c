// SPDX-License-Identifier: GPL-2.0
/*
 * What can be taken over and what is required, for whoever chooses the next
 * image. See Documentation/ABI/testing/sysfs-kernel-iommu-liveupdate.
 */
#include <linux/build_bug.h>
#include <linux/init.h>
#include <linux/kho/abi/kexec_handover.h>
#include <linux/kho/abi/luo.h>
#include <linux/kho/abi/memfd.h>
#include <linux/kobject.h>
#include <linux/string.h>
#include <linux/sysfs.h>

#include "hooks.h"

static const char *const policies[] = {
	[IOMMU_LIVEUPDATE_REFUSE] = "refuse",
	[IOMMU_LIVEUPDATE_STOP] = "stop",
};

static ssize_t supported_show(struct kobject *kobj, struct kobj_attribute *attr,
			      char *buf)
{
	return iommu_liveupdate_list(buf, PAGE_SIZE, IOMMU_LIVEUPDATE_SUPPORTED);
}

static ssize_t required_show(struct kobject *kobj, struct kobj_attribute *attr,
			     char *buf)
{
	return iommu_liveupdate_list(buf, PAGE_SIZE, IOMMU_LIVEUPDATE_REQUIRED);
}

static ssize_t on_incompatible_show(struct kobject *kobj,
				    struct kobj_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%s\n", policies[iommu_liveupdate_policy()]);
}

static ssize_t on_incompatible_store(struct kobject *kobj,
				     struct kobj_attribute *attr,
				     const char *buf, size_t count)
{
	int policy = sysfs_match_string(policies, buf);

	if (policy < 0)
		return policy;
	iommu_liveupdate_set_policy(policy);
	return count;
}

static struct kobj_attribute supported = __ATTR_RO(supported);
static struct kobj_attribute required = __ATTR_RO(required);
static struct kobj_attribute on_incompatible = __ATTR_RW(on_incompatible);

static const struct attribute *const attrs[] = {
	&supported.attr,
	&required.attr,
	&on_incompatible.attr,
	NULL
};

static int __init iommu_liveupdate_sysfs(void)
{
	struct kobject *kobj;
	int ret;

	/* kernel_info cannot include the headers that define these. */
	BUILD_BUG_ON(strcmp(IOMMU_LIVEUPDATE_INFO_KHO, KHO_FDT_COMPATIBLE));
	BUILD_BUG_ON(strcmp(IOMMU_LIVEUPDATE_INFO_LUO, LUO_ABI_COMPATIBLE));
	BUILD_BUG_ON(strcmp(IOMMU_LIVEUPDATE_INFO_MEMFD,
			    MEMFD_LUO_FH_COMPATIBLE));

	kobj = kobject_create_and_add("iommu_liveupdate", kernel_kobj);
	if (!kobj)
		return -ENOMEM;
	ret = sysfs_create_files(kobj, attrs);
	if (ret)
		kobject_put(kobj);
	return ret;
}
late_initcall(iommu_liveupdate_sysfs);

// SPDX-License-Identifier: GPL-2.0
/*
 * How a test says what is to be damaged, and that damage is to be believed.
 *
 * Test only, see CONFIG_IOMMU_LIVEUPDATE_DAMAGE.
 */
#include <linux/debugfs.h>
#include <linux/init.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/string.h>

#include <asm/cmdline.h>

#include "../iommu-priv.h"
#include "hooks.h"

/* Whether the command line says that damage is to be believed. */
bool iommu_liveupdate_trust(void)
{
	return cmdline_find_option_bool(saved_command_line,
					"iommu_liveupdate.trust=1") > 0;
}

static ssize_t damage_write(struct file *file, const char __user *buf,
			    size_t count, loff_t *pos)
{
	void *list;
	int ret;

	if (count > SZ_1M)
		return -E2BIG;
	list = memdup_user(buf, count);
	if (IS_ERR(list))
		return PTR_ERR(list);
	ret = iommu_liveupdate_set_damage(list, count);
	kfree(list);
	return ret ?: count;
}

static const struct file_operations damage_fops = {
	.owner = THIS_MODULE,
	.write = damage_write,
	.llseek = noop_llseek,
};

/* After late_initcall, in which the directory is made. */
static int __init iommu_liveupdate_damage_init(void)
{
	struct dentry *dir = debugfs_lookup("liveupdate", iommu_debugfs_dir);

	debugfs_create_file("damage", 0200, dir, NULL, &damage_fops);
	dput(dir);
	return 0;
}
late_initcall_sync(iommu_liveupdate_damage_init);

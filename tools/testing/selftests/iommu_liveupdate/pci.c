// SPDX-License-Identifier: GPL-2.0
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <linux/pci_regs.h>

#include "pci.h"

#define PCI_DEVICES	"/sys/bus/pci/devices"

int sysfs_write(const char *path, const char *value)
{
	int fd = open(path, O_WRONLY);
	ssize_t len = strlen(value);
	int ret = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, value, len) != len)
		ret = -errno;
	close(fd);
	return ret;
}

static int attr_write(const char *bdf, const char *attr, const char *value)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), PCI_DEVICES "/%s/%s", bdf, attr);
	return sysfs_write(path, value);
}

/* Return the value of a numeric attribute, or -1. */
static long attr_read(const char *bdf, const char *attr)
{
	char path[PATH_MAX], value[32] = {};
	long ret = -1;
	int fd;

	snprintf(path, sizeof(path), PCI_DEVICES "/%s/%s", bdf, attr);
	fd = open(path, O_RDONLY);
	if (fd < 0)
		return -1;
	if (read(fd, value, sizeof(value) - 1) > 0)
		ret = strtol(value, NULL, 0);
	close(fd);
	return ret;
}

/* Copy the last component of the symbolic link @attr. */
static int attr_link(const char *bdf, const char *attr, char *name, size_t size)
{
	char path[PATH_MAX], target[PATH_MAX];
	ssize_t len;

	snprintf(path, sizeof(path), PCI_DEVICES "/%s/%s", bdf, attr);
	len = readlink(path, target, sizeof(target) - 1);
	if (len < 0)
		return -errno;
	target[len] = '\0';
	snprintf(name, size, "%s", strrchr(target, '/') + 1);
	return 0;
}

/* -ENOENT asks for the next entry of a folder. */
typedef int (*visit_fn)(const char *name, const void *arg);

/* Call @visit until it returns something else, and copy where it returned 0. */
static int visit_entries(const char *path, visit_fn visit, const void *arg,
			 char *found)
{
	DIR *dir = opendir(path);
	struct dirent *entry;
	int ret = -ENOENT;

	if (!dir)
		return -errno;
	while (ret == -ENOENT && (entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		ret = visit(entry->d_name, arg);
		if (!ret && found)
			snprintf(found, PCI_BDF_SIZE, "%.*s",
				 PCI_BDF_SIZE - 1, entry->d_name);
	}
	closedir(dir);
	return ret;
}

static bool group_is_shared(const char *bdf)
{
	char path[PATH_MAX];
	int members = 0;
	DIR *dir;

	snprintf(path, sizeof(path), PCI_DEVICES "/%s/iommu_group/devices",
		 bdf);
	dir = opendir(path);
	if (!dir)
		return false;
	for (struct dirent *entry; (entry = readdir(dir));)
		members += entry->d_name[0] != '.';
	closedir(dir);
	return members > 1;
}

struct pci_match {
	__u16 vendor;
	__u16 device;
	enum pci_group group;
};

static int match_ids(const char *bdf, const void *arg)
{
	const struct pci_match *match = arg;

	if (attr_read(bdf, "vendor") != match->vendor ||
	    attr_read(bdf, "device") != match->device)
		return -ENOENT;
	return group_is_shared(bdf) == (match->group == PCI_GROUP_SHARED) ?
		0 : -ENOENT;
}

int pci_find(__u16 vendor, __u16 device, enum pci_group group, char *bdf)
{
	const struct pci_match match = { vendor, device, group };

	return visit_entries(PCI_DEVICES, match_ids, &match, bdf);
}

static int match_ext_cap(const char *bdf, const void *arg)
{
	const __u16 *cap = arg;
	unsigned int pos = PCI_CFG_SPACE_SIZE;
	char path[PATH_MAX];
	int ret = -ENOENT;
	__u32 header;
	int fd;

	if (attr_read(bdf, "class") >> 16 == 0x06)
		return -ENOENT;

	snprintf(path, sizeof(path), PCI_DEVICES "/%s/config", bdf);
	fd = open(path, O_RDONLY);
	if (fd < 0)
		return -ENOENT;
	while (pos && pread(fd, &header, sizeof(header), pos) == sizeof(header)) {
		if (PCI_EXT_CAP_ID(header) == *cap) {
			ret = 0;
			break;
		}
		pos = PCI_EXT_CAP_NEXT(header);
	}
	close(fd);
	return ret;
}

int pci_find_ext_cap(__u16 cap, char *bdf)
{
	return visit_entries(PCI_DEVICES, match_ext_cap, &cap, bdf);
}

static int match_sriov(const char *bdf, const void *unused)
{
	return attr_read(bdf, "sriov_totalvfs") > 0 ? 0 : -ENOENT;
}

int pci_find_sriov(char *bdf)
{
	return visit_entries(PCI_DEVICES, match_sriov, NULL, bdf);
}

int pci_find_vf(const char *pf, char *bdf)
{
	return attr_link(pf, "virtfn0", bdf, PCI_BDF_SIZE);
}

int pci_set_numvfs(const char *pf, const char *numvfs)
{
	return attr_write(pf, "sriov_numvfs", numvfs);
}

int pci_bind(const char *bdf, const char *driver)
{
	char bound[NAME_MAX];
	int ret;

	if (!attr_link(bdf, "driver", bound, sizeof(bound))) {
		if (!strcmp(bound, driver))
			return 0;
		ret = attr_write(bdf, "driver/unbind", bdf);
		if (ret)
			return ret;
	}

	ret = attr_write(bdf, "driver_override", driver);
	if (ret)
		return ret;
	return sysfs_write("/sys/bus/pci/drivers_probe", bdf);
}

static int bind_member(const char *bdf, const void *driver)
{
	return pci_bind(bdf, driver) ?: -ENOENT;
}

int pci_bind_group(const char *bdf, const char *driver)
{
	char path[PATH_MAX];
	int ret;

	snprintf(path, sizeof(path), PCI_DEVICES "/%s/iommu_group/devices",
		 bdf);
	ret = visit_entries(path, bind_member, driver, NULL);
	return ret == -ENOENT ? 0 : ret;
}

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * PCI functions as sysfs shows them. Each function returns 0 or a negative
 * errno.
 */
#ifndef SELFTESTS_IOMMU_LIVEUPDATE_PCI_H
#define SELFTESTS_IOMMU_LIVEUPDATE_PCI_H

#include <stdbool.h>

#include <linux/types.h>

/* "0000:00:00.0" and its NUL */
#define PCI_BDF_SIZE	13

#define PCI_VENDOR_ENSONIQ	0x1274
#define PCI_DEVICE_ES1370	0x5000
#define PCI_VENDOR_REDHAT	0x1b36
#define PCI_DEVICE_NVME		0x0010

enum pci_group { PCI_GROUP_SINGLE, PCI_GROUP_SHARED };

/* Find a function by its ids and by whether it is alone in its IOMMU group. */
int pci_find(__u16 vendor, __u16 device, enum pci_group group, char *bdf);

/* Find a function that is not a bridge and has the extended capability @cap. */
int pci_find_ext_cap(__u16 cap, char *bdf);

/* Find a function that can have virtual functions. */
int pci_find_sriov(char *bdf);

/* Find the first virtual function of @pf. */
int pci_find_vf(const char *pf, char *bdf);

/* Bind the function to @driver and to no other. */
int pci_bind(const char *bdf, const char *driver);

/* Bind the function and everything in its IOMMU group to @driver. */
int pci_bind_group(const char *bdf, const char *driver);

int pci_set_numvfs(const char *pf, const char *numvfs);

/* Write to the file @path of sysfs. */
int sysfs_write(const char *path, const char *value);

#endif /* SELFTESTS_IOMMU_LIVEUPDATE_PCI_H */

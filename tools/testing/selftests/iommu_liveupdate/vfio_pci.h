/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A PCI function driven through its vfio character device. Each function
 * returns 0 or a negative errno.
 */
#ifndef SELFTESTS_IOMMU_LIVEUPDATE_VFIO_PCI_H
#define SELFTESTS_IOMMU_LIVEUPDATE_VFIO_PCI_H

#include <linux/types.h>

/**
 * struct vfio_pci - an open vfio character device
 * @fd:		the open file
 * @id:		id of the device object of the iommufd it is bound to
 * @config:	file offset of the configuration space
 * @bar0:	file offset of BAR 0
 */
struct vfio_pci {
	int fd;
	__u32 id;
	__u64 config;
	__u64 bar0;
};

/*
 * Open the node of the function @bdf, which vfio-pci drives. Returns a file
 * descriptor or a negative errno.
 */
int vfio_pci_open_node(const char *bdf);

/* Bind the open file @dev->fd to @iommufd, and fill in the rest of @dev. */
int vfio_pci_bind(struct vfio_pci *dev, int iommufd);

/* Open the function @bdf, which vfio-pci drives, and bind it to @iommufd. */
int vfio_pci_open(struct vfio_pci *dev, const char *bdf, int iommufd);

/* Attach to the HWPT or IOAS @pt, or replace what is attached by it. */
int vfio_pci_attach(const struct vfio_pci *dev, __u32 pt);

int vfio_pci_detach(const struct vfio_pci *dev);

int vfio_pci_enable_dma(const struct vfio_pci *dev);

int vfio_pci_write32(const struct vfio_pci *dev, __u64 bar0_offset,
		     __u32 value);

#endif /* SELFTESTS_IOMMU_LIVEUPDATE_VFIO_PCI_H */

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What a VMM holds before a live update: guest memory, an IOAS that maps it, a
 * marked HWPT and a PCI function attached to that. Each function returns 0 or
 * a negative errno.
 */
#ifndef SELFTESTS_IOMMU_LIVEUPDATE_VMM_H
#define SELFTESTS_IOMMU_LIVEUPDATE_VMM_H

#include "guest_memory.h"
#include "vfio_pci.h"

#define VMM_HWPT_TOKEN		0x11
#define VMM_IOMMUFD_TOKEN	0x22
#define VMM_MEMORY_TOKEN	0x33
#define VMM_DEVICE_TOKEN	0x44

/**
 * struct vmm - what the VMM holds
 * @iommufd:	an iommufd
 * @memory:	sealed memfd of GUEST_MEMORY_SIZE
 * @guest:	@memory, mapped here
 * @ioas:	maps @memory at GUEST_IOVA
 * @hwpt:	of @ioas, marked with VMM_HWPT_TOKEN
 * @dev:	bound to @iommufd, attached to @hwpt
 */
struct vmm {
	int iommufd;
	int memory;
	unsigned char *guest;
	__u32 ioas;
	__u32 hwpt;
	struct vfio_pci dev;
};

/*
 * Find a function that a VMM can be created on. Returns NULL, or what is
 * missing.
 */
const char *vmm_missing(char *bdf);

/* Set everything up on the function @bdf, and bind it to vfio-pci. */
int vmm_create(struct vmm *vmm, const char *bdf);

void vmm_destroy(struct vmm *vmm);

/* Preserve the memory, the iommufd and then the device in @session. */
int vmm_preserve(const struct vmm *vmm, int session);

/* The same without the device. */
int vmm_preserve_iommufd(const struct vmm *vmm, int session);

#endif /* SELFTESTS_IOMMU_LIVEUPDATE_VMM_H */

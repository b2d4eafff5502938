/* SPDX-License-Identifier: GPL-2.0 */
/*
 * How a VMM gets back what vmm_preserve() handed over to this kernel. Each
 * function returns 0 or a negative errno.
 */
#ifndef SELFTESTS_IOMMU_LIVEUPDATE_VMM_RETRIEVE_H
#define SELFTESTS_IOMMU_LIVEUPDATE_VMM_RETRIEVE_H

#include "vmm.h"

int vmm_retrieve_memory(struct vmm *vmm, int session);

int vmm_retrieve_iommufd(struct vmm *vmm, int session);

/* Of the device, only the file descriptor is valid then. */
int vmm_retrieve_device(struct vmm *vmm, int session);

/*
 * Bind the retrieved device to the retrieved iommufd, restore the HWPT and
 * attach the device to it. There is no IOAS then.
 */
int vmm_restore(struct vmm *vmm);

/* All of that on the function @bdf, after binding it to vfio-pci. */
int vmm_retrieve(struct vmm *vmm, const char *bdf, int session);

/* Map the memory where it was into a new @ioas, and allocate a HWPT of that. */
int vmm_rebuild(const struct vmm *vmm, __u32 *ioas, __u32 *hwpt);

#endif /* SELFTESTS_IOMMU_LIVEUPDATE_VMM_RETRIEVE_H */

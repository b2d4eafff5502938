/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The Ensoniq ES1370, which records silence into a ring for ever once it is
 * told to: DMA that needs no driver. Each function returns 0 or a negative
 * errno.
 */
#ifndef SELFTESTS_IOMMU_LIVEUPDATE_ES1370_H
#define SELFTESTS_IOMMU_LIVEUPDATE_ES1370_H

#include <stdbool.h>

#include "vfio_pci.h"

#define ES1370_RING_SIZE	4096

/* Record into the ES1370_RING_SIZE bytes at @iova, again and again. */
int es1370_start(const struct vfio_pci *dev, __u64 iova);

/*
 * Acknowledge the interrupt, if there is one, and interrupt once more after a
 * few milliseconds of recording.
 */
int es1370_interrupt(const struct vfio_pci *dev);

int es1370_stop(const struct vfio_pci *dev);

/*
 * Overwrite the ring, which is mapped at @ring here, and see whether the device
 * overwrites all of it in turn.
 */
bool es1370_dma_arrives(unsigned char *ring);

#endif /* SELFTESTS_IOMMU_LIVEUPDATE_ES1370_H */

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Interrupts of a PCI function, which a vfio character device signals through
 * eventfds. Each function returns 0 or a negative errno.
 */
#ifndef SELFTESTS_IOMMU_LIVEUPDATE_VFIO_IRQ_H
#define SELFTESTS_IOMMU_LIVEUPDATE_VFIO_IRQ_H

#include <stdbool.h>

#include "vfio_pci.h"

/* Signal @eventfd for @vector of VFIO_PCI_*_IRQ_INDEX @index, -1 for none. */
int vfio_irq_set(const struct vfio_pci *dev, __u32 index, __u32 vector,
		 int eventfd);

int vfio_irq_unmask_intx(const struct vfio_pci *dev);

/* Free all vectors of @index. */
int vfio_irq_disable(const struct vfio_pci *dev, __u32 index);

/* Whether the non-blocking @eventfd is signalled within five seconds. */
bool vfio_irq_arrives(int eventfd);

/* Whether the non-blocking @eventfd was signalled, now. */
bool vfio_irq_arrived(int eventfd);

#endif /* SELFTESTS_IOMMU_LIVEUPDATE_VFIO_IRQ_H */

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * An NVMe controller with its admin queue only, whose completions interrupt
 * through vector 0. Each function returns 0 or a negative errno.
 */
#ifndef SELFTESTS_IOMMU_LIVEUPDATE_NVME_ADMIN_H
#define SELFTESTS_IOMMU_LIVEUPDATE_NVME_ADMIN_H

#include <stdbool.h>

#include "vfio_pci.h"

/* What the queues and the data take of guest memory. */
#define NVME_ADMIN_MEMORY_SIZE	(3 * 4096)

/*
 * Enable the controller, with its queues at @iova. The guest memory there is
 * mapped at @guest here.
 */
int nvme_admin_start(const struct vfio_pci *dev, unsigned char *guest,
		     __u64 iova);

/*
 * Submit the command number @number, counted from 0, below 8: identify the
 * controller.
 */
int nvme_admin_identify(const struct vfio_pci *dev, unsigned char *guest,
			__u64 iova, unsigned int number);

/* Whether command @number completes without error within five seconds. */
bool nvme_admin_completes(const unsigned char *guest, unsigned int number);

#endif /* SELFTESTS_IOMMU_LIVEUPDATE_NVME_ADMIN_H */

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the kernel log says that it should not.
 */
#ifndef SELFTESTS_IOMMU_LIVEUPDATE_KERNEL_LOG_H
#define SELFTESTS_IOMMU_LIVEUPDATE_KERNEL_LOG_H

/**
 * struct kernel_log - complaints in the kernel log
 * @fd:		/dev/kmsg
 * @dma_faults:	messages about DMA that was not translated
 * @warnings:	WARN(), BUG() and what lockdep and the like have to say
 */
struct kernel_log {
	int fd;
	unsigned int dma_faults;
	unsigned int warnings;
};

/* Start at the first message since boot. Returns 0 or a negative errno. */
int kernel_log_open(struct kernel_log *log);

/* Count what is new. */
void kernel_log_read(struct kernel_log *log);

/* Wait up to ten seconds for a DMA fault. */
void kernel_log_wait_for_fault(struct kernel_log *log);

#endif /* SELFTESTS_IOMMU_LIVEUPDATE_KERNEL_LOG_H */

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Where the memory of a process is.
 */
#ifndef SELFTESTS_IOMMU_LIVEUPDATE_PAGE_FRAMES_H
#define SELFTESTS_IOMMU_LIVEUPDATE_PAGE_FRAMES_H

#include <errno.h>
#include <fcntl.h>
#include <linux/const.h>
#include <linux/types.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#define PAGEMAP_PRESENT		_BITULL(63)
#define PAGEMAP_FRAME_MASK	(_BITULL(55) - 1)

/*
 * Store the page frame numbers of the @count pages at @start. Needs privileges.
 * Return 0, -ENOENT if a page is not present, or another negative errno.
 */
static inline int page_frames(const void *start, size_t count, __u64 *frames)
{
	size_t size = count * sizeof(*frames);
	off_t pos = (uintptr_t)start / getpagesize() * sizeof(*frames);
	int fd = open("/proc/self/pagemap", O_RDONLY);
	ssize_t len;

	if (fd < 0)
		return -errno;
	len = pread(fd, frames, size, pos);
	close(fd);
	if (len != (ssize_t)size)
		return -EIO;

	for (size_t i = 0; i < count; i++) {
		if (!(frames[i] & PAGEMAP_PRESENT))
			return -ENOENT;
		frames[i] &= PAGEMAP_FRAME_MASK;
		/* What unprivileged readers get. */
		if (!frames[i])
			return -EPERM;
	}

	return 0;
}

#endif /* SELFTESTS_IOMMU_LIVEUPDATE_PAGE_FRAMES_H */

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Guest memory as a VMM has it: a memfd of fixed size.
 */
#ifndef SELFTESTS_IOMMU_LIVEUPDATE_GUEST_MEMORY_H
#define SELFTESTS_IOMMU_LIVEUPDATE_GUEST_MEMORY_H

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

/* What a memfd must carry before an iommufd that maps it can be preserved. */
#define GUEST_MEMORY_SEALS	(F_SEAL_SEAL | F_SEAL_GROW | F_SEAL_SHRINK)

#define GUEST_MEMORY_SIZE	(16 * 4096UL)

/* Inside the aperture of VT-d and of the mock domains, clear of MSIs. */
#define GUEST_IOVA		0x4000000UL

/* Return a memfd of GUEST_MEMORY_SIZE with @seals, or a negative errno. */
static inline int guest_memory_create(int seals)
{
	int fd = memfd_create("guest-memory", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int err;

	if (fd < 0)
		return -errno;
	if (ftruncate(fd, GUEST_MEMORY_SIZE) || fcntl(fd, F_ADD_SEALS, seals)) {
		err = -errno;
		close(fd);
		return err;
	}

	return fd;
}

#endif /* SELFTESTS_IOMMU_LIVEUPDATE_GUEST_MEMORY_H */

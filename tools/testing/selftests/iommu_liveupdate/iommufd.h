/* SPDX-License-Identifier: GPL-2.0 */
/*
 * iommufd ioctls. Each function returns 0 or a negative errno.
 */
#ifndef SELFTESTS_IOMMU_LIVEUPDATE_IOMMUFD_H
#define SELFTESTS_IOMMU_LIVEUPDATE_IOMMUFD_H

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <linux/iommufd.h>

#define IOMMUFD_DEV "/dev/iommu"

/* Return a file descriptor or a negative errno. */
static inline int iommufd_open(void)
{
	int fd = open(IOMMUFD_DEV, O_RDWR | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

static inline int iommufd_ioctl(int fd, unsigned long cmd, void *arg)
{
	return ioctl(fd, cmd, arg) ? -errno : 0;
}

static inline int iommufd_destroy(int fd, __u32 id)
{
	struct iommu_destroy arg = { .size = sizeof(arg), .id = id };

	return iommufd_ioctl(fd, IOMMU_DESTROY, &arg);
}

static inline int ioas_alloc(int fd, __u32 *ioas)
{
	struct iommu_ioas_alloc arg = { .size = sizeof(arg) };
	int ret = iommufd_ioctl(fd, IOMMU_IOAS_ALLOC, &arg);

	*ioas = arg.out_ioas_id;
	return ret;
}

static inline int ioas_map(int fd, __u32 ioas, void *va, size_t length,
			   __u64 iova)
{
	struct iommu_ioas_map arg = {
		.size = sizeof(arg),
		.flags = IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_READABLE |
			 IOMMU_IOAS_MAP_WRITEABLE,
		.ioas_id = ioas,
		.user_va = (uintptr_t)va,
		.length = length,
		.iova = iova,
	};

	return iommufd_ioctl(fd, IOMMU_IOAS_MAP, &arg);
}

/* Map the part of @file at @start with the @rights IOMMU_IOAS_MAP_*ABLE. */
static inline int ioas_map_file_part(int fd, __u32 ioas, int file, __u64 start,
				     size_t length, __u64 iova, __u32 rights)
{
	struct iommu_ioas_map_file arg = {
		.size = sizeof(arg),
		.flags = IOMMU_IOAS_MAP_FIXED_IOVA | rights,
		.ioas_id = ioas,
		.fd = file,
		.start = start,
		.length = length,
		.iova = iova,
	};

	return iommufd_ioctl(fd, IOMMU_IOAS_MAP_FILE, &arg);
}

static inline int ioas_map_file(int fd, __u32 ioas, int file, size_t length,
				__u64 iova)
{
	return ioas_map_file_part(fd, ioas, file, 0, length, iova,
				  IOMMU_IOAS_MAP_READABLE |
				  IOMMU_IOAS_MAP_WRITEABLE);
}

static inline int ioas_copy(int fd, __u32 dst_ioas, __u64 dst_iova,
			    __u32 src_ioas, __u64 src_iova, size_t length)
{
	struct iommu_ioas_copy arg = {
		.size = sizeof(arg),
		.flags = IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_READABLE |
			 IOMMU_IOAS_MAP_WRITEABLE,
		.dst_ioas_id = dst_ioas,
		.src_ioas_id = src_ioas,
		.length = length,
		.dst_iova = dst_iova,
		.src_iova = src_iova,
	};

	return iommufd_ioctl(fd, IOMMU_IOAS_COPY, &arg);
}

static inline int ioas_unmap(int fd, __u32 ioas, __u64 iova, __u64 length)
{
	struct iommu_ioas_unmap arg = {
		.size = sizeof(arg),
		.ioas_id = ioas,
		.iova = iova,
		.length = length,
	};

	return iommufd_ioctl(fd, IOMMU_IOAS_UNMAP, &arg);
}

static inline int ioas_unmap_all(int fd, __u32 ioas)
{
	return ioas_unmap(fd, ioas, 0, UINT64_MAX);
}

/* Make @ioas the one that the ioctls of a vfio container work on. */
static inline int ioas_set_vfio(int fd, __u32 ioas)
{
	struct iommu_vfio_ioas arg = {
		.size = sizeof(arg),
		.ioas_id = ioas,
		.op = IOMMU_VFIO_IOAS_SET,
	};

	return iommufd_ioctl(fd, IOMMU_VFIO_IOAS, &arg);
}

static inline int hwpt_alloc(int fd, __u32 dev, __u32 ioas, __u32 flags,
			     __u32 *hwpt)
{
	struct iommu_hwpt_alloc arg = {
		.size = sizeof(arg),
		.flags = flags,
		.dev_id = dev,
		.pt_id = ioas,
	};
	int ret = iommufd_ioctl(fd, IOMMU_HWPT_ALLOC, &arg);

	*hwpt = arg.out_hwpt_id;
	return ret;
}

static inline int hwpt_mark(int fd, __u32 hwpt, __u64 token)
{
	struct iommu_hwpt_liveupdate_mark_preserve arg = {
		.size = sizeof(arg),
		.hwpt_id = hwpt,
		.hwpt_token = token,
	};

	return iommufd_ioctl(fd, IOMMU_HWPT_LIVEUPDATE_MARK_PRESERVE, &arg);
}

/* Set @hwpt to the HWPT that the previous kernel preserved under @token. */
static inline int hwpt_restore(int fd, __u64 token, __u32 *hwpt)
{
	struct iommu_hwpt_liveupdate_restore arg = {
		.size = sizeof(arg),
		.hwpt_token = token,
	};
	int ret = iommufd_ioctl(fd, IOMMU_HWPT_LIVEUPDATE_RESTORE, &arg);

	*hwpt = arg.out_hwpt_id;
	return ret;
}

/* Compare two HWPTs. @iova and @reason say how they differ if 0 is returned. */
static inline int hwpt_verify(int fd, __u32 flags, __u32 restored, __u32 new_hwpt,
			      __u64 *iova, __u32 *reason)
{
	struct iommu_hwpt_liveupdate_verify arg = {
		.size = sizeof(arg),
		.flags = flags,
		.restored_hwpt_id = restored,
		.new_hwpt_id = new_hwpt,
	};
	int ret = iommufd_ioctl(fd, IOMMU_HWPT_LIVEUPDATE_VERIFY, &arg);

	*iova = arg.out_iova;
	*reason = arg.out_reason;
	return ret;
}

/* Return NULL, or what keeps HWPTs from being marked for preservation. */
static inline const char *hwpt_mark_missing(void)
{
	int fd = iommufd_open();
	int ret;

	if (fd < 0)
		return "no " IOMMUFD_DEV;
	ret = hwpt_mark(fd, 0, 0);
	close(fd);
	return ret == -ENOTTY ? "the kernel has no MARK_PRESERVE" : NULL;
}

#endif /* SELFTESTS_IOMMU_LIVEUPDATE_IOMMUFD_H */

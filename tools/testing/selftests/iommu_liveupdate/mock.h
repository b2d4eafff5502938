/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The mock devices of CONFIG_IOMMUFD_TEST. Each function returns 0 or a
 * negative errno.
 */
#ifndef SELFTESTS_IOMMU_LIVEUPDATE_MOCK_H
#define SELFTESTS_IOMMU_LIVEUPDATE_MOCK_H

#include "../../../../drivers/iommu/iommufd/iommufd_test.h"
#include "iommufd.h"

/**
 * struct mock - a mock device bound to an iommufd
 * @device:	id of the mock device, for mock_attach()
 * @bound:	id of its iommufd device object, for hwpt_alloc()
 * @auto_hwpt:	HWPT that the kernel made when the device was attached to an IOAS
 */
struct mock {
	__u32 device;
	__u32 bound;
	__u32 auto_hwpt;
};

/* Make a mock device and attach it to @ioas. */
static inline int mock_create(int fd, __u32 ioas, struct mock *mock)
{
	struct iommu_test_cmd arg = {
		.size = sizeof(arg),
		.op = IOMMU_TEST_OP_MOCK_DOMAIN,
		.id = ioas,
	};
	int ret = iommufd_ioctl(fd, IOMMU_TEST_CMD, &arg);

	if (ret)
		return ret;

	mock->device = arg.mock_domain.out_stdev_id;
	mock->bound = arg.mock_domain.out_idev_id;
	mock->auto_hwpt = arg.mock_domain.out_hwpt_id;
	return 0;
}

/* Replace what the device is attached to by the HWPT or IOAS @pt. */
static inline int mock_attach(int fd, const struct mock *mock, __u32 pt)
{
	struct iommu_test_cmd arg = {
		.size = sizeof(arg),
		.op = IOMMU_TEST_OP_MOCK_DOMAIN_REPLACE,
		.id = mock->device,
		.mock_domain_replace = { .pt_id = pt },
	};

	return iommufd_ioctl(fd, IOMMU_TEST_CMD, &arg);
}

/* Make an emulated device that uses @ioas. Returns a file descriptor. */
static inline int mock_access_create(int fd, __u32 ioas)
{
	struct iommu_test_cmd arg = {
		.size = sizeof(arg),
		.op = IOMMU_TEST_OP_CREATE_ACCESS,
		.id = ioas,
	};
	int ret = iommufd_ioctl(fd, IOMMU_TEST_CMD, &arg);

	return ret ?: (int)arg.create_access.out_access_fd;
}

/* Make a nested HWPT on top of @parent. */
static inline int mock_nested_alloc(int fd, const struct mock *mock,
				    __u32 parent, __u32 *hwpt)
{
	struct iommu_hwpt_selftest data = { .iotlb = IOMMU_TEST_IOTLB_DEFAULT };
	struct iommu_hwpt_alloc arg = {
		.size = sizeof(arg),
		.dev_id = mock->bound,
		.pt_id = parent,
		.data_type = IOMMU_HWPT_DATA_SELFTEST,
		.data_len = sizeof(data),
		.data_uptr = (uintptr_t)&data,
	};
	int ret = iommufd_ioctl(fd, IOMMU_HWPT_ALLOC, &arg);

	*hwpt = arg.out_hwpt_id;
	return ret;
}

/* Make a HWPT on @ioas that reports I/O page faults through a fault queue. */
static inline int mock_fault_hwpt_alloc(int fd, const struct mock *mock,
					__u32 ioas, __u32 *hwpt)
{
	struct iommu_fault_alloc fault = { .size = sizeof(fault) };
	struct iommu_hwpt_alloc arg = {
		.size = sizeof(arg),
		.flags = IOMMU_HWPT_FAULT_ID_VALID,
		.dev_id = mock->bound,
		.pt_id = ioas,
	};
	int ret = iommufd_ioctl(fd, IOMMU_FAULT_QUEUE_ALLOC, &fault);

	if (ret)
		return ret;

	arg.fault_id = fault.out_fault_id;
	ret = iommufd_ioctl(fd, IOMMU_HWPT_ALLOC, &arg);
	*hwpt = arg.out_hwpt_id;
	return ret;
}

#endif /* SELFTESTS_IOMMU_LIVEUPDATE_MOCK_H */

// SPDX-License-Identifier: GPL-2.0
/*
 * IOMMU_HWPT_LIVEUPDATE_MARK_PRESERVE: which HWPTs can be marked, and what
 * their tokens promise. What a preserved HWPT answers is in frozen.c.
 */
#include "mock.h"
#include "require.h"

#define TOKEN		0x1234567890abcdefULL
#define OTHER_TOKEN	0xfedcba0987654321ULL

FIXTURE(mark_preserve)
{
	int iommufd;
	struct mock mock;
	__u32 ioas;
	__u32 hwpt;
	__u32 other_hwpt;
};

FIXTURE_SETUP(mark_preserve)
{
	const char *reason = hwpt_mark_missing();
	int ret;

	if (reason)
		SKIP(return missing(_metadata), "%s", reason);
	self->iommufd = iommufd_open();

	ASSERT_EQ(0, ioas_alloc(self->iommufd, &self->ioas));
	ret = mock_create(self->iommufd, self->ioas, &self->mock);
	if (ret == -ENOTTY)
		SKIP(return missing(_metadata), "no mock devices");
	ASSERT_EQ(0, ret);
	ASSERT_EQ(0, hwpt_alloc(self->iommufd, self->mock.bound, self->ioas, 0,
				&self->hwpt));
	ASSERT_EQ(0, hwpt_alloc(self->iommufd, self->mock.bound, self->ioas, 0,
				&self->other_hwpt));
}

FIXTURE_TEARDOWN(mark_preserve)
{
	close(self->iommufd);
}

TEST_F(mark_preserve, paging_hwpt)
{
	EXPECT_EQ(0, hwpt_mark(self->iommufd, self->hwpt, TOKEN));
}

TEST_F(mark_preserve, attached_hwpt)
{
	ASSERT_EQ(0, mock_attach(self->iommufd, &self->mock, self->hwpt));
	EXPECT_EQ(0, hwpt_mark(self->iommufd, self->hwpt, TOKEN));
}

TEST_F(mark_preserve, unknown_id)
{
	__u32 gone;

	ASSERT_EQ(0, hwpt_alloc(self->iommufd, self->mock.bound, self->ioas, 0,
				&gone));
	EXPECT_EQ(0, hwpt_mark(self->iommufd, gone, TOKEN));

	ASSERT_EQ(0, iommufd_destroy(self->iommufd, gone));
	EXPECT_EQ(-ENOENT, hwpt_mark(self->iommufd, gone, TOKEN));
	EXPECT_EQ(-ENOENT, hwpt_mark(self->iommufd, 0, TOKEN));
	EXPECT_EQ(-ENOENT, hwpt_mark(self->iommufd, UINT32_MAX, TOKEN));
}

TEST_F(mark_preserve, not_a_hwpt)
{
	EXPECT_EQ(-ENOENT, hwpt_mark(self->iommufd, self->ioas, TOKEN));
	EXPECT_EQ(-ENOENT, hwpt_mark(self->iommufd, self->mock.bound, TOKEN));
	EXPECT_EQ(0, hwpt_mark(self->iommufd, self->hwpt, TOKEN));
}

TEST_F(mark_preserve, hwpt_of_another_iommufd)
{
	int other = iommufd_open();

	ASSERT_GE(other, 0);
	EXPECT_EQ(-ENOENT, hwpt_mark(other, self->hwpt, TOKEN));
	EXPECT_EQ(0, hwpt_mark(self->iommufd, self->hwpt, TOKEN));
	close(other);
}

TEST_F(mark_preserve, auto_domain)
{
	EXPECT_EQ(-EINVAL,
		  hwpt_mark(self->iommufd, self->mock.auto_hwpt, TOKEN));
	EXPECT_EQ(0, hwpt_mark(self->iommufd, self->hwpt, TOKEN));
}

TEST_F(mark_preserve, nest_parent)
{
	__u32 parent;

	ASSERT_EQ(0, hwpt_alloc(self->iommufd, self->mock.bound, self->ioas,
				IOMMU_HWPT_ALLOC_NEST_PARENT, &parent));
	EXPECT_EQ(-EOPNOTSUPP, hwpt_mark(self->iommufd, parent, TOKEN));
	EXPECT_EQ(0, hwpt_mark(self->iommufd, self->hwpt, TOKEN));
}

TEST_F(mark_preserve, nested)
{
	__u32 parent, nested;

	ASSERT_EQ(0, hwpt_alloc(self->iommufd, self->mock.bound, self->ioas,
				IOMMU_HWPT_ALLOC_NEST_PARENT, &parent));
	ASSERT_EQ(0, mock_nested_alloc(self->iommufd, &self->mock, parent,
				       &nested));
	EXPECT_EQ(-ENOENT, hwpt_mark(self->iommufd, nested, TOKEN));
	EXPECT_EQ(0, hwpt_mark(self->iommufd, self->hwpt, TOKEN));
}

TEST_F(mark_preserve, fault_capable)
{
	__u32 fault_hwpt;

	ASSERT_EQ(0, mock_fault_hwpt_alloc(self->iommufd, &self->mock,
					   self->ioas, &fault_hwpt));
	EXPECT_EQ(-EOPNOTSUPP, hwpt_mark(self->iommufd, fault_hwpt, TOKEN));
	EXPECT_EQ(0, hwpt_mark(self->iommufd, self->hwpt, TOKEN));
}

TEST_F(mark_preserve, token_used_by_another_hwpt)
{
	EXPECT_EQ(0, hwpt_mark(self->iommufd, self->hwpt, TOKEN));
	EXPECT_EQ(-EADDRINUSE,
		  hwpt_mark(self->iommufd, self->other_hwpt, TOKEN));
	EXPECT_EQ(0, hwpt_mark(self->iommufd, self->other_hwpt, OTHER_TOKEN));
}

TEST_F(mark_preserve, same_hwpt_again)
{
	EXPECT_EQ(0, hwpt_mark(self->iommufd, self->hwpt, TOKEN));
	EXPECT_EQ(0, hwpt_mark(self->iommufd, self->hwpt, TOKEN));
}

TEST_F(mark_preserve, replaced_token_is_free)
{
	EXPECT_EQ(0, hwpt_mark(self->iommufd, self->hwpt, TOKEN));
	EXPECT_EQ(0, hwpt_mark(self->iommufd, self->hwpt, OTHER_TOKEN));
	EXPECT_EQ(-EADDRINUSE,
		  hwpt_mark(self->iommufd, self->other_hwpt, OTHER_TOKEN));
	EXPECT_EQ(0, hwpt_mark(self->iommufd, self->other_hwpt, TOKEN));
}

TEST_F(mark_preserve, failed_replacement_keeps_the_token)
{
	__u32 third;

	ASSERT_EQ(0, hwpt_alloc(self->iommufd, self->mock.bound, self->ioas, 0,
				&third));
	EXPECT_EQ(0, hwpt_mark(self->iommufd, self->hwpt, TOKEN));
	EXPECT_EQ(0, hwpt_mark(self->iommufd, self->other_hwpt, OTHER_TOKEN));
	EXPECT_EQ(-EADDRINUSE,
		  hwpt_mark(self->iommufd, self->other_hwpt, TOKEN));
	EXPECT_EQ(-EADDRINUSE, hwpt_mark(self->iommufd, third, OTHER_TOKEN));
}

TEST_F(mark_preserve, destroyed_hwpt_frees_its_token)
{
	EXPECT_EQ(0, hwpt_mark(self->iommufd, self->hwpt, TOKEN));
	EXPECT_EQ(-EADDRINUSE,
		  hwpt_mark(self->iommufd, self->other_hwpt, TOKEN));
	ASSERT_EQ(0, iommufd_destroy(self->iommufd, self->hwpt));
	EXPECT_EQ(0, hwpt_mark(self->iommufd, self->other_hwpt, TOKEN));
}

TEST_F(mark_preserve, token_is_per_iommufd)
{
	int other = iommufd_open();
	__u32 other_ioas, other_hwpt;
	struct mock other_mock;

	ASSERT_GE(other, 0);
	ASSERT_EQ(0, ioas_alloc(other, &other_ioas));
	ASSERT_EQ(0, mock_create(other, other_ioas, &other_mock));
	ASSERT_EQ(0, hwpt_alloc(other, other_mock.bound, other_ioas, 0,
				&other_hwpt));

	EXPECT_EQ(0, hwpt_mark(self->iommufd, self->hwpt, TOKEN));
	EXPECT_EQ(-EADDRINUSE,
		  hwpt_mark(self->iommufd, self->other_hwpt, TOKEN));
	EXPECT_EQ(0, hwpt_mark(other, other_hwpt, TOKEN));
	close(other);
}

/* A caller that was built for another version of the struct. */
struct longer_mark {
	struct iommu_hwpt_liveupdate_mark_preserve mark;
	__u64 trailing;
};

static int mark_sized(int iommufd, __u32 hwpt, __u32 size, __u64 trailing)
{
	struct longer_mark arg = {
		.mark = {
			.size = size,
			.hwpt_id = hwpt,
			.hwpt_token = TOKEN,
		},
		.trailing = trailing,
	};

	return iommufd_ioctl(iommufd, IOMMU_HWPT_LIVEUPDATE_MARK_PRESERVE,
			     &arg);
}

TEST_F(mark_preserve, struct_without_the_token)
{
	const __u32 size = sizeof(struct iommu_hwpt_liveupdate_mark_preserve);

	EXPECT_EQ(-EINVAL, mark_sized(self->iommufd, self->hwpt, 4, 0));
	EXPECT_EQ(-EINVAL, mark_sized(self->iommufd, self->hwpt, 8, 0));
	EXPECT_EQ(-EINVAL, mark_sized(self->iommufd, self->hwpt, size - 1, 0));
	EXPECT_EQ(0, mark_sized(self->iommufd, self->hwpt, size, 0));
}

TEST_F(mark_preserve, struct_with_trailing_bytes)
{
	const __u32 size = sizeof(struct longer_mark);

	EXPECT_EQ(-E2BIG, mark_sized(self->iommufd, self->hwpt, size, 1));
	EXPECT_EQ(0, mark_sized(self->iommufd, self->hwpt, size, 0));
}

TEST(mark_preserve_layout)
{
	EXPECT_EQ(16, sizeof(struct iommu_hwpt_liveupdate_mark_preserve));
	EXPECT_EQ(4, offsetof(struct iommu_hwpt_liveupdate_mark_preserve,
			      hwpt_id));
	EXPECT_EQ(8, offsetof(struct iommu_hwpt_liveupdate_mark_preserve,
			      hwpt_token));
}

TEST_HARNESS_MAIN

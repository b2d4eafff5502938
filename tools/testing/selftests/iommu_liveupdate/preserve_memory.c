// SPDX-License-Identifier: GPL-2.0
/*
 * LIVEUPDATE_SESSION_PRESERVE_FD of an iommufd: what must be marked and what
 * the IOASes of the marked HWPTs may map.
 *
 * The device is a mock one. It is no PCI device, so ENODEV is the answer when
 * the kernel has nothing against the memory: every test leads there by taking
 * away what it was refused for.
 */
#include <sys/mount.h>

#include <libliveupdate.h>

#include "../kselftest_harness.h"

#include "guest_memory.h"
#include "mock.h"
#include "require.h"

#define HWPT_TOKEN	0x11
#define IOMMUFD_TOKEN	0x22
#define MEMORY_TOKEN	0x33
#define MEMORY2_TOKEN	0x44

#define SECOND_IOVA	(GUEST_IOVA + GUEST_MEMORY_SIZE)

FIXTURE(preserve_memory)
{
	int luo;
	int session;
	int iommufd;
	int memory;
	struct mock mock;
	__u32 ioas;
	__u32 hwpt;
};

/* A device attached to a marked HWPT that maps one sealed memfd. */
FIXTURE_SETUP(preserve_memory)
{
	int ret;

	self->luo = luo_open_device();
	REQUIRE(self->luo >= 0, "no " LUO_DEVICE);
	self->iommufd = iommufd_open();
	REQUIRE(self->iommufd >= 0, "no " IOMMUFD_DEV);
	REQUIRE(hwpt_mark(self->iommufd, 0, HWPT_TOKEN) != -ENOTTY,
		"the kernel has no MARK_PRESERVE");

	ASSERT_EQ(0, ioas_alloc(self->iommufd, &self->ioas));
	ret = mock_create(self->iommufd, self->ioas, MOCK_FLAGS_DEVICE_PASID,
			  &self->mock);
	REQUIRE(ret != -ENOTTY, "the kernel has no mock devices");
	ASSERT_EQ(0, ret);

	self->memory = guest_memory_create(GUEST_MEMORY_SEALS);
	ASSERT_GE(self->memory, 0);
	ASSERT_EQ(0, ioas_map_file(self->iommufd, self->ioas, self->memory,
				   GUEST_MEMORY_SIZE, GUEST_IOVA));
	ASSERT_EQ(0, hwpt_alloc(self->iommufd, self->mock.bound, self->ioas,
				IOMMU_HWPT_ALLOC_PASID, &self->hwpt));
	ASSERT_EQ(0, mock_attach(self->iommufd, &self->mock, self->hwpt));
	ASSERT_EQ(0, hwpt_mark(self->iommufd, self->hwpt, HWPT_TOKEN));

	self->session = luo_create_session(self->luo, "preserve-memory");
	ASSERT_GE(self->session, 0);
}

FIXTURE_TEARDOWN(preserve_memory)
{
	close(self->session);
	close(self->iommufd);
	close(self->memory);
	close(self->luo);
}

static int preserve_iommufd(const FIXTURE_DATA(preserve_memory) *self)
{
	return luo_session_preserve_fd(self->session, self->iommufd,
				       IOMMUFD_TOKEN);
}

static int preserve_memory(const FIXTURE_DATA(preserve_memory) *self)
{
	return luo_session_preserve_fd(self->session, self->memory,
				       MEMORY_TOKEN);
}

TEST_F(preserve_memory, not_a_pci_device)
{
	ASSERT_EQ(0, preserve_memory(self));
	EXPECT_EQ(-ENODEV, preserve_iommufd(self));
}

/* A refusal leaves nothing frozen and nothing behind. */
TEST_F(preserve_memory, refused_twice)
{
	ASSERT_EQ(0, preserve_memory(self));
	EXPECT_EQ(-ENODEV, preserve_iommufd(self));
	EXPECT_EQ(0, ioas_map_file(self->iommufd, self->ioas, self->memory,
				   GUEST_MEMORY_SIZE, SECOND_IOVA));
	EXPECT_EQ(0, ioas_unmap(self->iommufd, self->ioas, SECOND_IOVA,
				GUEST_MEMORY_SIZE));
	EXPECT_EQ(0, hwpt_mark(self->iommufd, self->hwpt, HWPT_TOKEN + 1));
	EXPECT_EQ(0, mock_attach(self->iommufd, &self->mock, self->ioas));
	EXPECT_EQ(0, mock_attach(self->iommufd, &self->mock, self->hwpt));
	EXPECT_EQ(-ENODEV, preserve_iommufd(self));
}

TEST_F(preserve_memory, nothing_marked)
{
	int other = iommufd_open();
	__u32 ioas, hwpt;
	struct mock mock;

	ASSERT_GE(other, 0);
	EXPECT_EQ(-ENODATA, luo_session_preserve_fd(self->session, other, 1));

	ASSERT_EQ(0, ioas_alloc(other, &ioas));
	ASSERT_EQ(0, mock_create(other, ioas, 0, &mock));
	ASSERT_EQ(0, hwpt_alloc(other, mock.bound, ioas, 0, &hwpt));
	ASSERT_EQ(0, mock_attach(other, &mock, hwpt));
	EXPECT_EQ(-ENODATA, luo_session_preserve_fd(self->session, other, 1));

	ASSERT_EQ(0, hwpt_mark(other, hwpt, HWPT_TOKEN));
	EXPECT_EQ(-ENODEV, luo_session_preserve_fd(self->session, other, 1));
	close(other);
}

TEST_F(preserve_memory, no_device_attached)
{
	ASSERT_EQ(0, preserve_memory(self));
	ASSERT_EQ(0, mock_attach(self->iommufd, &self->mock, self->ioas));
	EXPECT_EQ(-ENODATA, preserve_iommufd(self));

	ASSERT_EQ(0, mock_attach(self->iommufd, &self->mock, self->hwpt));
	EXPECT_EQ(-ENODEV, preserve_iommufd(self));
}

/* One attached HWPT does not make up for another one without a device. */
TEST_F(preserve_memory, no_device_attached_to_one)
{
	__u32 lonely;

	ASSERT_EQ(0, preserve_memory(self));
	ASSERT_EQ(0, hwpt_alloc(self->iommufd, self->mock.bound, self->ioas, 0,
				&lonely));
	ASSERT_EQ(0, hwpt_mark(self->iommufd, lonely, HWPT_TOKEN + 1));
	EXPECT_EQ(-ENODATA, preserve_iommufd(self));

	ASSERT_EQ(0, iommufd_destroy(self->iommufd, lonely));
	EXPECT_EQ(-ENODEV, preserve_iommufd(self));
}

TEST_F(preserve_memory, user_mapping)
{
	void *buffer = mmap(NULL, GUEST_MEMORY_SIZE, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ASSERT_NE(MAP_FAILED, buffer);
	ASSERT_EQ(0, preserve_memory(self));
	ASSERT_EQ(0, ioas_map(self->iommufd, self->ioas, buffer,
			      GUEST_MEMORY_SIZE, SECOND_IOVA));
	EXPECT_EQ(-EBADF, preserve_iommufd(self));

	ASSERT_EQ(0, ioas_unmap(self->iommufd, self->ioas, SECOND_IOVA,
				GUEST_MEMORY_SIZE));
	EXPECT_EQ(-ENODEV, preserve_iommufd(self));
}

/* The same memfd mapped by its user address is still user memory. */
TEST_F(preserve_memory, user_mapping_of_the_memfd)
{
	void *buffer = mmap(NULL, GUEST_MEMORY_SIZE, PROT_READ | PROT_WRITE,
			    MAP_SHARED, self->memory, 0);

	ASSERT_NE(MAP_FAILED, buffer);
	ASSERT_EQ(0, preserve_memory(self));
	ASSERT_EQ(0, ioas_map(self->iommufd, self->ioas, buffer,
			      GUEST_MEMORY_SIZE, SECOND_IOVA));
	EXPECT_EQ(-EBADF, preserve_iommufd(self));

	ASSERT_EQ(0, ioas_unmap(self->iommufd, self->ioas, SECOND_IOVA,
				GUEST_MEMORY_SIZE));
	EXPECT_EQ(-ENODEV, preserve_iommufd(self));
}

/* Only the IOASes of marked HWPTs matter. */
TEST_F(preserve_memory, user_mapping_in_an_unmarked_ioas)
{
	void *buffer = mmap(NULL, GUEST_MEMORY_SIZE, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	__u32 ioas;

	ASSERT_NE(MAP_FAILED, buffer);
	ASSERT_EQ(0, preserve_memory(self));
	ASSERT_EQ(0, ioas_alloc(self->iommufd, &ioas));
	ASSERT_EQ(0, ioas_map(self->iommufd, ioas, buffer, GUEST_MEMORY_SIZE,
			      SECOND_IOVA));
	EXPECT_EQ(-ENODEV, preserve_iommufd(self));
}

TEST_F(preserve_memory, iommufd_before_memfd)
{
	EXPECT_EQ(-EINVAL, preserve_iommufd(self));
	ASSERT_EQ(0, preserve_memory(self));
	EXPECT_EQ(-ENODEV, preserve_iommufd(self));
}

TEST_F(preserve_memory, one_of_two_memfds)
{
	int second = guest_memory_create(GUEST_MEMORY_SEALS);

	ASSERT_GE(second, 0);
	ASSERT_EQ(0, ioas_map_file(self->iommufd, self->ioas, second,
				   GUEST_MEMORY_SIZE, SECOND_IOVA));
	ASSERT_EQ(0, preserve_memory(self));
	EXPECT_EQ(-EINVAL, preserve_iommufd(self));

	ASSERT_EQ(0, luo_session_preserve_fd(self->session, second,
					     MEMORY2_TOKEN));
	EXPECT_EQ(-ENODEV, preserve_iommufd(self));
	close(second);
}

TEST_F(preserve_memory, memfd_in_another_session)
{
	int other = luo_create_session(self->luo, "preserve-memory-other");

	ASSERT_GE(other, 0);
	ASSERT_EQ(0, luo_session_preserve_fd(other, self->memory,
					     MEMORY_TOKEN));
	EXPECT_EQ(-EINVAL, preserve_iommufd(self));

	ASSERT_EQ(0, close(other));
	EXPECT_EQ(-EINVAL, preserve_iommufd(self));
	ASSERT_EQ(0, preserve_memory(self));
	EXPECT_EQ(-ENODEV, preserve_iommufd(self));
}

/* Return a file of a tmpfs that has a name there, which no memfd has. */
static int tmpfs_file_create(void)
{
	int fs = fsopen("tmpfs", FSOPEN_CLOEXEC);
	int mnt = -1, file = -1;

	if (fs >= 0 && !fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0))
		mnt = fsmount(fs, FSMOUNT_CLOEXEC, 0);
	if (mnt >= 0)
		file = openat(mnt, "file", O_CREAT | O_RDWR, 0600);
	close(mnt);
	close(fs);
	return file;
}

/* Such a file can be mapped for DMA, but it cannot be preserved. */
TEST_F(preserve_memory, file_of_a_tmpfs)
{
	int file = tmpfs_file_create();

	ASSERT_GE(file, 0);
	ASSERT_EQ(0, ftruncate(file, GUEST_MEMORY_SIZE));
	ASSERT_EQ(0, preserve_memory(self));
	ASSERT_EQ(0, ioas_map_file(self->iommufd, self->ioas, file,
				   GUEST_MEMORY_SIZE, SECOND_IOVA));
	EXPECT_EQ(-EINVAL, preserve_iommufd(self));

	ASSERT_EQ(0, ioas_unmap(self->iommufd, self->ioas, SECOND_IOVA,
				GUEST_MEMORY_SIZE));
	EXPECT_EQ(-ENODEV, preserve_iommufd(self));
	close(file);
}

/* Preserve the iommufd while it maps a second memfd with these @seals. */
static int preserve_with_seals(const FIXTURE_DATA(preserve_memory) *self,
			       int seals)
{
	int second = guest_memory_create(seals);
	int ret;

	if (second < 0)
		return second;

	ret = ioas_map_file(self->iommufd, self->ioas, second,
			    GUEST_MEMORY_SIZE, SECOND_IOVA);
	if (!ret)
		ret = luo_session_preserve_fd(self->session, second,
					      MEMORY2_TOKEN);
	if (!ret)
		ret = preserve_iommufd(self);
	close(second);
	return ret;
}

TEST_F(preserve_memory, all_seals)
{
	ASSERT_EQ(0, preserve_memory(self));
	EXPECT_EQ(-ENODEV, preserve_with_seals(self, GUEST_MEMORY_SEALS));
}

TEST_F(preserve_memory, no_seals)
{
	ASSERT_EQ(0, preserve_memory(self));
	EXPECT_EQ(-EPERM, preserve_with_seals(self, 0));
}

TEST_F(preserve_memory, without_seal_seal)
{
	ASSERT_EQ(0, preserve_memory(self));
	EXPECT_EQ(-EPERM, preserve_with_seals(self, GUEST_MEMORY_SEALS &
						    ~F_SEAL_SEAL));
}

TEST_F(preserve_memory, without_seal_grow)
{
	ASSERT_EQ(0, preserve_memory(self));
	EXPECT_EQ(-EPERM, preserve_with_seals(self, GUEST_MEMORY_SEALS &
						    ~F_SEAL_GROW));
}

TEST_F(preserve_memory, without_seal_shrink)
{
	ASSERT_EQ(0, preserve_memory(self));
	EXPECT_EQ(-EPERM, preserve_with_seals(self, GUEST_MEMORY_SEALS &
						    ~F_SEAL_SHRINK));
}

TEST_HARNESS_MAIN

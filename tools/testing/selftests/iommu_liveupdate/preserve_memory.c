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

#include "guest_memory.h"
#include "mock.h"
#include "require.h"

#define HWPT_TOKEN	0x11

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
	const char *reason = hwpt_mark_missing();
	int ret;

	if (reason)
		SKIP(return missing(_metadata), "%s", reason);
	self->luo = luo_open_device();
	if (self->luo < 0)
		SKIP(return missing(_metadata), "no " LUO_DEVICE);
	self->iommufd = iommufd_open();

	ASSERT_EQ(0, ioas_alloc(self->iommufd, &self->ioas));
	ret = mock_create(self->iommufd, self->ioas, &self->mock);
	if (ret == -ENOTTY)
		SKIP(return missing(_metadata), "no mock devices");
	ASSERT_EQ(0, ret);

	self->memory = guest_memory_create(GUEST_MEMORY_SEALS);
	ASSERT_GE(self->memory, 0);
	ASSERT_EQ(0, ioas_map_file(self->iommufd, self->ioas, self->memory,
				   GUEST_MEMORY_SIZE, GUEST_IOVA));
	ASSERT_EQ(0, hwpt_alloc(self->iommufd, self->mock.bound, self->ioas, 0,
				&self->hwpt));
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

static int preserve(int session, int fd)
{
	const __u64 token = fd;

	return luo_session_preserve_fd(session, fd, token);
}

TEST_F(preserve_memory, not_a_pci_device)
{
	ASSERT_EQ(0, preserve(self->session, self->memory));
	EXPECT_EQ(-ENODEV, preserve(self->session, self->iommufd));
}

/* A refusal leaves nothing frozen and nothing behind. */
TEST_F(preserve_memory, refused_twice)
{
	ASSERT_EQ(0, preserve(self->session, self->memory));
	EXPECT_EQ(-ENODEV, preserve(self->session, self->iommufd));
	EXPECT_EQ(0, ioas_map_file(self->iommufd, self->ioas, self->memory,
				   GUEST_MEMORY_SIZE, SECOND_IOVA));
	EXPECT_EQ(0, ioas_unmap(self->iommufd, self->ioas, SECOND_IOVA,
				GUEST_MEMORY_SIZE));
	EXPECT_EQ(0, hwpt_mark(self->iommufd, self->hwpt, HWPT_TOKEN + 1));
	EXPECT_EQ(0, mock_attach(self->iommufd, &self->mock, self->ioas));
	EXPECT_EQ(0, mock_attach(self->iommufd, &self->mock, self->hwpt));
	EXPECT_EQ(-ENODEV, preserve(self->session, self->iommufd));
}

TEST_F(preserve_memory, nothing_marked)
{
	int other = iommufd_open();
	__u32 ioas, hwpt;
	struct mock mock;

	ASSERT_GE(other, 0);
	EXPECT_EQ(-ENODATA, preserve(self->session, other));

	ASSERT_EQ(0, ioas_alloc(other, &ioas));
	ASSERT_EQ(0, mock_create(other, ioas, &mock));
	ASSERT_EQ(0, hwpt_alloc(other, mock.bound, ioas, 0, &hwpt));
	ASSERT_EQ(0, mock_attach(other, &mock, hwpt));
	EXPECT_EQ(-ENODATA, preserve(self->session, other));

	ASSERT_EQ(0, hwpt_mark(other, hwpt, HWPT_TOKEN));
	EXPECT_EQ(-ENODEV, preserve(self->session, other));
	close(other);
}

TEST_F(preserve_memory, no_device_attached)
{
	ASSERT_EQ(0, preserve(self->session, self->memory));
	ASSERT_EQ(0, mock_attach(self->iommufd, &self->mock, self->ioas));
	EXPECT_EQ(-ENODATA, preserve(self->session, self->iommufd));

	ASSERT_EQ(0, mock_attach(self->iommufd, &self->mock, self->hwpt));
	EXPECT_EQ(-ENODEV, preserve(self->session, self->iommufd));
}

/* One attached HWPT does not make up for another one without a device. */
TEST_F(preserve_memory, no_device_attached_to_one)
{
	__u32 lonely;

	ASSERT_EQ(0, preserve(self->session, self->memory));
	ASSERT_EQ(0, hwpt_alloc(self->iommufd, self->mock.bound, self->ioas, 0,
				&lonely));
	ASSERT_EQ(0, hwpt_mark(self->iommufd, lonely, HWPT_TOKEN + 1));
	EXPECT_EQ(-ENODATA, preserve(self->session, self->iommufd));

	ASSERT_EQ(0, iommufd_destroy(self->iommufd, lonely));
	EXPECT_EQ(-ENODEV, preserve(self->session, self->iommufd));
}

TEST_F(preserve_memory, user_mapping)
{
	void *buffer = mmap(NULL, GUEST_MEMORY_SIZE, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ASSERT_NE(MAP_FAILED, buffer);
	ASSERT_EQ(0, preserve(self->session, self->memory));
	ASSERT_EQ(0, ioas_map(self->iommufd, self->ioas, buffer,
			      GUEST_MEMORY_SIZE, SECOND_IOVA));
	EXPECT_EQ(-EBADF, preserve(self->session, self->iommufd));

	ASSERT_EQ(0, ioas_unmap(self->iommufd, self->ioas, SECOND_IOVA,
				GUEST_MEMORY_SIZE));
	EXPECT_EQ(-ENODEV, preserve(self->session, self->iommufd));
}

/* The same memfd mapped by its user address is still user memory. */
TEST_F(preserve_memory, user_mapping_of_the_memfd)
{
	void *buffer = mmap(NULL, GUEST_MEMORY_SIZE, PROT_READ | PROT_WRITE,
			    MAP_SHARED, self->memory, 0);

	ASSERT_NE(MAP_FAILED, buffer);
	ASSERT_EQ(0, preserve(self->session, self->memory));
	ASSERT_EQ(0, ioas_map(self->iommufd, self->ioas, buffer,
			      GUEST_MEMORY_SIZE, SECOND_IOVA));
	EXPECT_EQ(-EBADF, preserve(self->session, self->iommufd));

	ASSERT_EQ(0, ioas_unmap(self->iommufd, self->ioas, SECOND_IOVA,
				GUEST_MEMORY_SIZE));
	EXPECT_EQ(-ENODEV, preserve(self->session, self->iommufd));
}

/* Only the IOASes of marked HWPTs matter. */
TEST_F(preserve_memory, user_mapping_in_an_unmarked_ioas)
{
	void *buffer = mmap(NULL, GUEST_MEMORY_SIZE, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	__u32 ioas;

	ASSERT_NE(MAP_FAILED, buffer);
	ASSERT_EQ(0, preserve(self->session, self->memory));
	ASSERT_EQ(0, ioas_alloc(self->iommufd, &ioas));
	ASSERT_EQ(0, ioas_map(self->iommufd, ioas, buffer, GUEST_MEMORY_SIZE,
			      SECOND_IOVA));
	EXPECT_EQ(-ENODEV, preserve(self->session, self->iommufd));
}

/* An emulated device does its DMA by the CPU, which is about to stop. */
TEST_F(preserve_memory, emulated_device)
{
	int access;

	ASSERT_EQ(0, preserve(self->session, self->memory));
	access = mock_access_create(self->iommufd, self->ioas);
	ASSERT_GE(access, 0);
	EXPECT_EQ(-EOPNOTSUPP, preserve(self->session, self->iommufd));

	ASSERT_EQ(0, close(access));
	EXPECT_EQ(-ENODEV, preserve(self->session, self->iommufd));
}

/*
 * The device keeps the page it had when a hole is punched into the memfd, but
 * what is preserved with the memfd is the page that takes its place.
 */
TEST_F(preserve_memory, page_not_in_its_file)
{
	const long page = sysconf(_SC_PAGESIZE);

	ASSERT_EQ(0, fallocate(self->memory,
			       FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			       page, page));
	ASSERT_EQ(0, preserve(self->session, self->memory));
	EXPECT_EQ(-ESTALE, preserve(self->session, self->iommufd));

	ASSERT_EQ(0, ioas_unmap(self->iommufd, self->ioas, GUEST_IOVA,
				GUEST_MEMORY_SIZE));
	ASSERT_EQ(0, ioas_map_file(self->iommufd, self->ioas, self->memory,
				   GUEST_MEMORY_SIZE, GUEST_IOVA));
	EXPECT_EQ(-ENODEV, preserve(self->session, self->iommufd));
}

TEST_F(preserve_memory, iommufd_before_memfd)
{
	EXPECT_EQ(-EINVAL, preserve(self->session, self->iommufd));
	ASSERT_EQ(0, preserve(self->session, self->memory));
	EXPECT_EQ(-ENODEV, preserve(self->session, self->iommufd));
}

TEST_F(preserve_memory, one_of_two_memfds)
{
	int second = guest_memory_create(GUEST_MEMORY_SEALS);

	ASSERT_GE(second, 0);
	ASSERT_EQ(0, ioas_map_file(self->iommufd, self->ioas, second,
				   GUEST_MEMORY_SIZE, SECOND_IOVA));
	ASSERT_EQ(0, preserve(self->session, self->memory));
	EXPECT_EQ(-EINVAL, preserve(self->session, self->iommufd));

	ASSERT_EQ(0, preserve(self->session, second));
	EXPECT_EQ(-ENODEV, preserve(self->session, self->iommufd));
	close(second);
}

TEST_F(preserve_memory, memfd_in_another_session)
{
	int other = luo_create_session(self->luo, "preserve-memory-other");

	ASSERT_GE(other, 0);
	ASSERT_EQ(0, preserve(other, self->memory));
	EXPECT_EQ(-EINVAL, preserve(self->session, self->iommufd));

	ASSERT_EQ(0, close(other));
	EXPECT_EQ(-EINVAL, preserve(self->session, self->iommufd));
	ASSERT_EQ(0, preserve(self->session, self->memory));
	EXPECT_EQ(-ENODEV, preserve(self->session, self->iommufd));
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
	ASSERT_EQ(0, preserve(self->session, self->memory));
	ASSERT_EQ(0, ioas_map_file(self->iommufd, self->ioas, file,
				   GUEST_MEMORY_SIZE, SECOND_IOVA));
	EXPECT_EQ(-EINVAL, preserve(self->session, self->iommufd));

	ASSERT_EQ(0, ioas_unmap(self->iommufd, self->ioas, SECOND_IOVA,
				GUEST_MEMORY_SIZE));
	EXPECT_EQ(-ENODEV, preserve(self->session, self->iommufd));
	close(file);
}

/* What preserving everything answers when a memfd with these @seals is mapped. */
static int preserve_with_seals(int session, int iommufd, __u32 ioas, int seals)
{
	int memory = guest_memory_create(seals);
	int ret;

	if (memory < 0)
		return memory;

	ret = ioas_map_file(iommufd, ioas, memory, GUEST_MEMORY_SIZE,
			    SECOND_IOVA);
	if (!ret)
		ret = preserve(session, memory);
	if (!ret)
		ret = preserve(session, iommufd);
	close(memory);
	return ret;
}

TEST_F(preserve_memory, all_seals)
{
	ASSERT_EQ(0, preserve(self->session, self->memory));
	EXPECT_EQ(-ENODEV, preserve_with_seals(self->session, self->iommufd,
					       self->ioas, GUEST_MEMORY_SEALS));
}

TEST_F(preserve_memory, no_seals)
{
	ASSERT_EQ(0, preserve(self->session, self->memory));
	EXPECT_EQ(-EPERM, preserve_with_seals(self->session, self->iommufd,
					      self->ioas, 0));
}

TEST_F(preserve_memory, without_seal_seal)
{
	ASSERT_EQ(0, preserve(self->session, self->memory));
	EXPECT_EQ(-EPERM, preserve_with_seals(self->session, self->iommufd,
					      self->ioas,
					      GUEST_MEMORY_SEALS & ~F_SEAL_SEAL));
}

TEST_F(preserve_memory, without_seal_grow)
{
	ASSERT_EQ(0, preserve(self->session, self->memory));
	EXPECT_EQ(-EPERM, preserve_with_seals(self->session, self->iommufd,
					      self->ioas,
					      GUEST_MEMORY_SEALS & ~F_SEAL_GROW));
}

TEST_F(preserve_memory, without_seal_shrink)
{
	ASSERT_EQ(0, preserve(self->session, self->memory));
	EXPECT_EQ(-EPERM, preserve_with_seals(self->session, self->iommufd,
					      self->ioas,
					      GUEST_MEMORY_SEALS & ~F_SEAL_SHRINK));
}

TEST_HARNESS_MAIN

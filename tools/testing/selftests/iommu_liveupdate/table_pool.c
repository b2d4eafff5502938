// SPDX-License-Identifier: GPL-2.0
/*
 * IOMMU_HWPT_ALLOC_LIVEUPDATE: where the page tables of a HWPT come from, and
 * that all of that memory is given back. The oracle is what the kernel counts
 * as memory for IOMMUs.
 */
#include <pthread.h>
#include <stdatomic.h>

#include <libliveupdate.h>

#include "counters.h"
#include "mock.h"
#include "pci.h"
#include "require.h"
#include "vmm.h"

#define COUNTERS	"/sys/kernel/debug/iommu/liveupdate/counters"

/* What one table maps, and the number of pages in a block. */
#define TABLE_SPAN	(2UL << 20)
#define BLOCK_PAGES	512

/* Clear of what the VMM maps itself. */
#define FIRST_IOVA	(4UL << 30)

/**
 * struct pool - the counters of all pools
 * @blocks:	blocks
 * @pages:	pages in them
 * @used:	those of them that are tables
 */
struct pool {
	long blocks;
	long pages;
	long used;
};

static struct pool pool_read(void)
{
	return (struct pool) {
		.blocks = stat_read(COUNTERS, "pool_blocks"),
		.pages = stat_read(COUNTERS, "pool_pages"),
		.used = stat_read(COUNTERS, "pool_pages_in_use"),
	};
}

/* Pages for IOMMUs, or -1. */
static long iommu_pages(void)
{
	struct counters counters;

	return counters_read(&counters) ? -1 : counters.iommu_pages;
}

FIXTURE(table_pool)
{
	struct vmm vmm;
	/* TABLE_SPAN bytes. */
	int file;
	/* Maps nothing, with small pages only. */
	__u32 ioas;
	/* Before it had a HWPT. */
	long iommu_pages;
};

static int use_small_pages(int fd, __u32 ioas)
{
	struct iommu_option arg = {
		.size = sizeof(arg),
		.option_id = IOMMU_OPTION_HUGE_PAGES,
		.op = IOMMU_OPTION_OP_SET,
		.object_id = ioas,
	};

	return iommufd_ioctl(fd, IOMMU_OPTION, &arg);
}

FIXTURE_SETUP(table_pool)
{
	char bdf[PCI_BDF_SIZE];
	const char *reason = vmm_missing(bdf);
	struct pool pool;

	if (reason)
		SKIP(return missing(_metadata), "%s", reason);
	if (pool_read().blocks < 0)
		SKIP(return missing(_metadata), "no " COUNTERS);
	ASSERT_EQ(0, vmm_create(&self->vmm, bdf));
	ASSERT_EQ(0, vfio_pci_detach(&self->vmm.dev));
	ASSERT_EQ(0, iommufd_destroy(self->vmm.iommufd, self->vmm.hwpt));
	pool = pool_read();
	ASSERT_EQ(0, pool.blocks);
	ASSERT_EQ(0, pool.pages);
	ASSERT_EQ(0, pool.used);

	self->file = memfd_create("mapped", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	ASSERT_GE(self->file, 0);
	ASSERT_EQ(0, ftruncate(self->file, TABLE_SPAN));
	ASSERT_EQ(0, fcntl(self->file, F_ADD_SEALS, GUEST_MEMORY_SEALS));
	ASSERT_EQ(0, ioas_alloc(self->vmm.iommufd, &self->ioas));
	ASSERT_EQ(0, use_small_pages(self->vmm.iommufd, self->ioas));
	self->iommu_pages = iommu_pages();
	ASSERT_GT(self->iommu_pages, 0);
}

FIXTURE_TEARDOWN(table_pool)
{
	vmm_destroy(&self->vmm);
	close(self->file);
}

static int hwpt_with(const struct vmm *vmm, __u32 ioas, __u32 flags, __u32 *hwpt)
{
	return hwpt_alloc(vmm->iommufd, vmm->dev.id, ioas, flags, hwpt);
}

static __u64 table_iova(unsigned int table)
{
	return FIRST_IOVA + table * TABLE_SPAN;
}

/* Map one page in each of @count tables from @first on. */
static int map_scattered(int fd, __u32 ioas, int file, unsigned int first,
			 unsigned int count)
{
	int ret = 0;

	for (unsigned int i = first; !ret && i < first + count; i++)
		ret = ioas_map_file(fd, ioas, file, getpagesize(),
				    table_iova(i));
	return ret;
}

/* Map every page in each of the tables: when unmapped, they go. */
static int map_dense(int fd, __u32 ioas, int file, unsigned int first,
		     unsigned int count)
{
	int ret = 0;

	for (unsigned int i = first; !ret && i < first + count; i++)
		ret = ioas_map_file(fd, ioas, file, TABLE_SPAN, table_iova(i));
	return ret;
}

static int unmap(int fd, __u32 ioas, unsigned int first, unsigned int count)
{
	return ioas_unmap(fd, ioas, table_iova(first), count * TABLE_SPAN);
}

TEST_F(table_pool, nothing_before_a_mapping)
{
	__u32 hwpt;

	ASSERT_EQ(0, hwpt_with(&self->vmm, self->ioas,
			       IOMMU_HWPT_ALLOC_LIVEUPDATE, &hwpt));
	EXPECT_EQ(0, pool_read().blocks);
	/* The top. */
	EXPECT_EQ(self->iommu_pages + 1, iommu_pages());
}

TEST_F(table_pool, grows_by_blocks)
{
	__u32 hwpt;

	ASSERT_EQ(0, hwpt_with(&self->vmm, self->ioas,
			       IOMMU_HWPT_ALLOC_LIVEUPDATE, &hwpt));
	ASSERT_EQ(0, map_scattered(self->vmm.iommufd, self->ioas, self->file,
				   0, 1));
	EXPECT_EQ(1, pool_read().blocks);
	EXPECT_EQ(BLOCK_PAGES, pool_read().pages);
	EXPECT_EQ(self->iommu_pages + 1 + BLOCK_PAGES, iommu_pages());

	ASSERT_EQ(0, map_scattered(self->vmm.iommufd, self->ioas, self->file,
				   1, BLOCK_PAGES));
	EXPECT_EQ(2, pool_read().blocks);
	EXPECT_LE(BLOCK_PAGES + 1, pool_read().used);
	EXPECT_EQ(self->iommu_pages + 1 + 2 * BLOCK_PAGES, iommu_pages());

	ASSERT_EQ(0, iommufd_destroy(self->vmm.iommufd, hwpt));
	EXPECT_EQ(0, pool_read().blocks);
	EXPECT_EQ(0, pool_read().pages);
	EXPECT_EQ(0, pool_read().used);
	EXPECT_EQ(self->iommu_pages, iommu_pages());
}

/* The control: without the flag each table is a page of its own. */
TEST_F(table_pool, no_flag)
{
	__u32 hwpt;

	ASSERT_EQ(0, hwpt_with(&self->vmm, self->ioas, 0, &hwpt));
	ASSERT_EQ(0, map_scattered(self->vmm.iommufd, self->ioas, self->file,
				   0, 8));
	EXPECT_EQ(0, pool_read().blocks);
	EXPECT_LE(self->iommu_pages + 1 + 8, iommu_pages());
	EXPECT_GT(self->iommu_pages + 1 + 16, iommu_pages());
	ASSERT_EQ(0, iommufd_destroy(self->vmm.iommufd, hwpt));
	EXPECT_EQ(self->iommu_pages, iommu_pages());
}

/* All mappings of the IOAS are there when the HWPT is allocated. */
TEST_F(table_pool, filled_at_once)
{
	__u32 hwpt;

	ASSERT_EQ(0, map_scattered(self->vmm.iommufd, self->ioas, self->file,
				   0, 16));
	ASSERT_EQ(0, hwpt_with(&self->vmm, self->ioas,
			       IOMMU_HWPT_ALLOC_LIVEUPDATE, &hwpt));
	EXPECT_EQ(1, pool_read().blocks);
	EXPECT_LE(16, pool_read().used);
	EXPECT_EQ(self->iommu_pages + 1 + BLOCK_PAGES, iommu_pages());
}

TEST_F(table_pool, holes_are_filled_first)
{
	int fd = self->vmm.iommufd;
	__u32 hwpt;
	long used;

	ASSERT_EQ(0, hwpt_with(&self->vmm, self->ioas,
			       IOMMU_HWPT_ALLOC_LIVEUPDATE, &hwpt));
	ASSERT_EQ(0, map_dense(fd, self->ioas, self->file, 0, 4));
	/* The rest of the block, but for the tables of higher levels. */
	ASSERT_EQ(0, map_scattered(fd, self->ioas, self->file, 4,
				   BLOCK_PAGES - 8));
	used = pool_read().used;
	ASSERT_EQ(1, pool_read().blocks);

	for (int i = 0; i < 4; i++) {
		ASSERT_EQ(0, unmap(fd, self->ioas, 0, 4));
		EXPECT_EQ(used - 4, pool_read().used);
		ASSERT_EQ(0, map_dense(fd, self->ioas, self->file, 0, 4));
		EXPECT_EQ(used, pool_read().used);
		EXPECT_EQ(1, pool_read().blocks);
	}
}

TEST_F(table_pool, empty_blocks_go)
{
	int fd = self->vmm.iommufd;
	__u32 hwpt;

	ASSERT_EQ(0, hwpt_with(&self->vmm, self->ioas,
			       IOMMU_HWPT_ALLOC_LIVEUPDATE, &hwpt));
	/* The table of the next level for what comes in the end. */
	ASSERT_EQ(0, map_scattered(fd, self->ioas, self->file, BLOCK_PAGES, 1));
	ASSERT_EQ(0, map_scattered(fd, self->ioas, self->file, 0,
				   BLOCK_PAGES - 8));
	ASSERT_EQ(1, pool_read().blocks);
	ASSERT_EQ(0, map_dense(fd, self->ioas, self->file, BLOCK_PAGES + 1,
			       16));
	EXPECT_EQ(2, pool_read().blocks);

	ASSERT_EQ(0, unmap(fd, self->ioas, BLOCK_PAGES + 1, 16));
	EXPECT_EQ(1, pool_read().blocks);
	EXPECT_EQ(self->iommu_pages + 1 + BLOCK_PAGES, iommu_pages());
}

/* What exists when a HWPT is marked stays where it is. */
TEST_F(table_pool, marked_later)
{
	int fd = self->vmm.iommufd;
	long before;
	__u32 hwpt;

	ASSERT_EQ(0, hwpt_with(&self->vmm, self->ioas, 0, &hwpt));
	ASSERT_EQ(0, map_scattered(fd, self->ioas, self->file, 0, 8));
	before = iommu_pages();
	ASSERT_EQ(0, hwpt_mark(fd, hwpt, VMM_HWPT_TOKEN));
	EXPECT_EQ(0, pool_read().blocks);
	EXPECT_EQ(before, iommu_pages());

	ASSERT_EQ(0, map_scattered(fd, self->ioas, self->file, 8, 8));
	EXPECT_EQ(1, pool_read().blocks);
	EXPECT_EQ(8, pool_read().used);
	EXPECT_EQ(before + BLOCK_PAGES, iommu_pages());

	ASSERT_EQ(0, iommufd_destroy(fd, hwpt));
	EXPECT_EQ(0, pool_read().blocks);
	EXPECT_EQ(self->iommu_pages, iommu_pages());
}

TEST_F(table_pool, not_for_a_nest_parent)
{
	__u32 hwpt;

	EXPECT_EQ(-EOPNOTSUPP, hwpt_with(&self->vmm, self->ioas,
					 IOMMU_HWPT_ALLOC_LIVEUPDATE |
					 IOMMU_HWPT_ALLOC_NEST_PARENT, &hwpt));
	EXPECT_EQ(-EOPNOTSUPP, hwpt_with(&self->vmm, self->ioas,
					 IOMMU_HWPT_ALLOC_LIVEUPDATE |
					 IOMMU_HWPT_FAULT_ID_VALID, &hwpt));
	EXPECT_EQ(self->iommu_pages, iommu_pages());
}

/* How much KHO keeps for @tables tables, or a negative errno. */
static long preserved_entries(int fd, __u32 ioas, int file, int luo,
			      unsigned int tables)
{
	long entries, ret;
	int session;

	ret = map_scattered(fd, ioas, file, 0, tables);
	if (ret)
		return ret;
	session = luo_create_session(luo, "table-pool");
	if (session < 0)
		return session;
	entries = stat_read(COUNTERS, "kho_entries");
	ret = luo_session_preserve_fd(session, file, VMM_MEMORY_TOKEN);
	if (!ret)
		ret = luo_session_preserve_fd(session, fd, VMM_IOMMUFD_TOKEN);
	if (!ret)
		ret = stat_read(COUNTERS, "kho_entries") - entries;
	close(session);
	return ret;
}

TEST_F(table_pool, preserved_as_blocks)
{
	int luo = luo_open_device();
	long few, many;
	__u32 hwpt;

	if (luo < 0)
		SKIP(return missing(_metadata), "no " LUO_DEVICE);
	ASSERT_EQ(0, hwpt_with(&self->vmm, self->ioas,
			       IOMMU_HWPT_ALLOC_LIVEUPDATE, &hwpt));
	ASSERT_EQ(0, vfio_pci_attach(&self->vmm.dev, hwpt));
	ASSERT_EQ(0, hwpt_mark(self->vmm.iommufd, hwpt, VMM_HWPT_TOKEN));

	few = preserved_entries(self->vmm.iommufd, self->ioas, self->file, luo,
				1);
	ASSERT_LT(0, few);
	ASSERT_EQ(0, unmap(self->vmm.iommufd, self->ioas, 0, 1));
	many = preserved_entries(self->vmm.iommufd, self->ioas, self->file, luo,
				 BLOCK_PAGES - 8);
	EXPECT_EQ(few, many);

	/* Nothing is held once the session is closed. */
	ASSERT_EQ(0, vfio_pci_detach(&self->vmm.dev));
	ASSERT_EQ(0, iommufd_destroy(self->vmm.iommufd, hwpt));
	EXPECT_EQ(0, pool_read().blocks);
	EXPECT_EQ(self->iommu_pages, iommu_pages());
	close(luo);
}

/**
 * struct mapper - a thread that maps and unmaps
 * @fd:		iommufd
 * @ioas:	IOAS
 * @file:	what it maps
 * @first:	the first of its tables
 * @rounds:	how often it has done so
 * @ret:	0 or a negative errno
 * @thread:	the thread
 */
struct mapper {
	int fd;
	__u32 ioas;
	int file;
	unsigned int first;
	unsigned long rounds;
	int ret;
	pthread_t thread;
};

static atomic_bool stop;

static void *map_and_unmap(void *arg)
{
	struct mapper *mapper = arg;

	while (!mapper->ret && !atomic_load(&stop)) {
		mapper->ret = map_dense(mapper->fd, mapper->ioas, mapper->file,
					mapper->first, 3);
		if (!mapper->ret)
			mapper->ret = unmap(mapper->fd, mapper->ioas,
					    mapper->first, 3);
		mapper->rounds++;
	}
	return NULL;
}

/* HWPTs come, are marked and go while others change what they map. */
TEST_F_TIMEOUT(table_pool, races, 120)
{
	struct mapper mappers[3];
	int fd = self->vmm.iommufd;

	atomic_store(&stop, false);
	for (unsigned int i = 0; i < ARRAY_SIZE(mappers); i++) {
		mappers[i] = (struct mapper) {
			.fd = fd,
			.ioas = self->ioas,
			.file = self->file,
			.first = i * 4,
		};
		ASSERT_EQ(0, pthread_create(&mappers[i].thread, NULL,
					    map_and_unmap, &mappers[i]));
	}
	for (int i = 0; i < 100; i++) {
		__u32 hwpt, other;

		EXPECT_EQ(0, hwpt_with(&self->vmm, self->ioas, 0, &hwpt));
		EXPECT_EQ(0, hwpt_with(&self->vmm, self->ioas,
				       IOMMU_HWPT_ALLOC_LIVEUPDATE, &other));
		usleep(1000);
		EXPECT_EQ(0, hwpt_mark(fd, hwpt, VMM_HWPT_TOKEN));
		usleep(1000);
		EXPECT_EQ(0, iommufd_destroy(fd, other));
		EXPECT_EQ(0, iommufd_destroy(fd, hwpt));
	}
	atomic_store(&stop, true);
	for (unsigned int i = 0; i < ARRAY_SIZE(mappers); i++) {
		ASSERT_EQ(0, pthread_join(mappers[i].thread, NULL));
		EXPECT_EQ(0, mappers[i].ret);
		EXPECT_LT(0, mappers[i].rounds);
	}
	EXPECT_EQ(0, pool_read().blocks);
	EXPECT_EQ(0, pool_read().used);
	EXPECT_EQ(self->iommu_pages, iommu_pages());
}

TEST(driver_that_cannot_preserve)
{
	const char *reason = hwpt_mark_missing();
	__u32 ioas, hwpt;
	struct mock mock;
	int fd, ret;

	if (reason)
		SKIP(return missing(_metadata), "%s", reason);
	fd = iommufd_open();
	ASSERT_EQ(0, ioas_alloc(fd, &ioas));
	ret = mock_create(fd, ioas, &mock);
	if (ret == -ENOTTY)
		SKIP(return missing(_metadata), "no mock devices");
	ASSERT_EQ(0, ret);
	EXPECT_EQ(-EOPNOTSUPP, hwpt_alloc(fd, mock.bound, ioas,
					  IOMMU_HWPT_ALLOC_LIVEUPDATE, &hwpt));
	EXPECT_EQ(0, hwpt_alloc(fd, mock.bound, ioas, 0, &hwpt));
	close(fd);
}

TEST_HARNESS_MAIN

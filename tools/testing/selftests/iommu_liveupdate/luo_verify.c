// SPDX-License-Identifier: GPL-2.0
/*
 * IOMMU_HWPT_LIVEUPDATE_VERIFY: two HWPTs are equal whatever their page sizes
 * are, and every difference is found where it is.
 *
 * Three things are mapped: the memory of the VMM, a huge page, and one page of
 * the memory over and over, so that a comparison takes long.
 */
#include <pthread.h>
#include <signal.h>
#include <sys/time.h>

#include <libliveupdate.h>

#include "check.h"
#include "counters.h"
#include "es1370.h"
#include "iommufd.h"
#include "kernel_log.h"
#include "luo_vmm.h"
#include "pci.h"
#include "vmm_retrieve.h"

#define TEST_SESSION	"luo-verify"

#define PAGE		4096UL
#define NR_PAGES	(GUEST_MEMORY_SIZE / PAGE)
#define PAGE_IOVA(n)	(GUEST_IOVA + (n) * PAGE)
/* Next to the memory. */
#define EXTRA_IOVA	PAGE_IOVA(NR_PAGES)

/* Two pages in turn, which cannot be taken for a longer contiguous one. */
#define MANY_PAGES	10000
#define MANY_IOVA	0x10000000UL

#define HUGE_TOKEN	(VMM_MEMORY_TOKEN + 1)
#define HUGE_SIZE	(2UL << 20)
#define HUGE_IOVA	0x20000000UL
#define SHMEM_HUGE	"/sys/kernel/mm/transparent_hugepage/shmem_enabled"

#define READ_WRITE	(IOMMU_IOAS_MAP_READABLE | IOMMU_IOAS_MAP_WRITEABLE)

static int map_page(const struct vmm *vmm, __u32 ioas, int page, __u64 iova,
		    __u32 rights)
{
	return ioas_map_file_part(vmm->iommufd, ioas, vmm->memory, page * PAGE,
				  PAGE, iova, rights);
}

static void map_many(const struct vmm *vmm, __u32 ioas)
{
	for (int i = 0; i < MANY_PAGES; i++)
		MUST(map_page(vmm, ioas, 2 * (i & 1), MANY_IOVA + i * PAGE,
			      READ_WRITE));
}

static int huge_page_create(void)
{
	int fd = memfd_create("huge-page", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0)
		return -errno;
	if (ftruncate(fd, HUGE_SIZE) || fallocate(fd, 0, 0, HUGE_SIZE) ||
	    fcntl(fd, F_ADD_SEALS, GUEST_MEMORY_SEALS))
		return -errno;
	return fd;
}

static void prepare(const struct vmm *vmm, int unused, int session)
{
	int huge;

	MUST(sysfs_write(SHMEM_HUGE, "always"));
	huge = MUST(huge_page_create());
	MUST(ioas_map_file(vmm->iommufd, vmm->ioas, huge, HUGE_SIZE,
			   HUGE_IOVA));
	map_many(vmm, vmm->ioas);
	MUST(luo_session_preserve_fd(session, huge, HUGE_TOKEN));
}

static int ioas_disable_large_pages(int fd, __u32 ioas)
{
	struct iommu_option arg = {
		.size = sizeof(arg),
		.option_id = IOMMU_OPTION_HUGE_PAGES,
		.op = IOMMU_OPTION_OP_SET,
		.object_id = ioas,
		.val64 = 0,
	};

	return iommufd_ioctl(fd, IOMMU_OPTION, &arg);
}

/*
 * Build what the previous kernel had, out of single pages where a test is going
 * to change something. Returns the number of its table pages.
 */
static long build(const struct vmm *vmm, int huge, bool large_pages,
		  __u32 *ioas, __u32 *hwpt)
{
	struct counters before, after;

	MUST(counters_read(&before));
	MUST(ioas_alloc(vmm->iommufd, ioas));
	if (!large_pages)
		MUST(ioas_disable_large_pages(vmm->iommufd, *ioas));
	for (unsigned int i = 0; i < NR_PAGES; i++)
		MUST(map_page(vmm, *ioas, i, PAGE_IOVA(i), READ_WRITE));
	MUST(ioas_map_file(vmm->iommufd, *ioas, huge, HUGE_SIZE, HUGE_IOVA));
	map_many(vmm, *ioas);
	MUST(hwpt_alloc(vmm->iommufd, vmm->dev.id, *ioas, 0, hwpt));
	MUST(counters_read(&after));
	return after.iommu_pages - before.iommu_pages;
}

/* The page tables of the restored HWPT, without what else its pool had. */
static long restored_tables(void)
{
	FILE *file = fopen("/sys/kernel/debug/iommu/liveupdate/incoming", "r");
	long tables = -ENOENT;
	char line[256];

	if (!file)
		return -errno;
	while (fgets(line, sizeof(line), file))
		sscanf(line,
		       "domain %*u top table %*x level %*u input %*u bits, %ld",
		       &tables);
	fclose(file);
	return tables;
}

static void check_difference(const struct vmm *vmm, __u32 hwpt, __u32 flags,
			     __u32 reason, __u64 iova, const char *what)
{
	__u32 seen_reason = ~0U;
	__u64 seen_iova = ~0ULL;

	MUST(hwpt_verify(vmm->iommufd, flags, vmm->hwpt, hwpt, &seen_iova,
			 &seen_reason));
	if (seen_reason != reason || seen_iova != iova)
		ksft_print_msg("expected %u at %#llx, seen %u at %#llx\n",
			       reason, (unsigned long long)iova, seen_reason,
			       (unsigned long long)seen_iova);
	ksft_test_result(seen_reason == reason && seen_iova == iova, "%s\n",
			 what);
}

static void check_equal(const struct vmm *vmm, __u32 hwpt, const char *what)
{
	check_difference(vmm, hwpt, 0, IOMMU_HWPT_LIVEUPDATE_EQUAL, 0, what);
}

/* Map @page with @rights at the IOVA of page @n, instead of what is there. */
static void remap(const struct vmm *vmm, __u32 ioas, int n, int page,
		  __u32 rights)
{
	MUST(ioas_unmap(vmm->iommufd, ioas, PAGE_IOVA(n), PAGE));
	MUST(map_page(vmm, ioas, page, PAGE_IOVA(n), rights));
}

static void check_differences(const struct vmm *vmm, __u32 ioas, __u32 hwpt)
{
	const __u32 allow = IOMMU_HWPT_LIVEUPDATE_VERIFY_ALLOW_EXTRA;
	const __u64 last_iova = HUGE_IOVA + HUGE_SIZE;

	MUST(ioas_unmap(vmm->iommufd, ioas, PAGE_IOVA(5), PAGE));
	check_difference(vmm, hwpt, 0, IOMMU_HWPT_LIVEUPDATE_UNMAPPED,
			 PAGE_IOVA(5), "a page that is not mapped");
	MUST(map_page(vmm, ioas, 6, PAGE_IOVA(5), READ_WRITE));
	check_difference(vmm, hwpt, 0, IOMMU_HWPT_LIVEUPDATE_ADDRESS,
			 PAGE_IOVA(5), "another page");
	remap(vmm, ioas, 5, 5, IOMMU_IOAS_MAP_READABLE);
	check_difference(vmm, hwpt, 0, IOMMU_HWPT_LIVEUPDATE_RIGHTS,
			 PAGE_IOVA(5), "a page that cannot be written to");
	remap(vmm, ioas, 3, 4, READ_WRITE);
	check_difference(vmm, hwpt, 0, IOMMU_HWPT_LIVEUPDATE_ADDRESS,
			 PAGE_IOVA(3), "the first of two differences");
	remap(vmm, ioas, 3, 3, READ_WRITE);
	remap(vmm, ioas, 5, 5, READ_WRITE);
	check_equal(vmm, hwpt, "all of them undone");

	MUST(map_page(vmm, ioas, 0, EXTRA_IOVA, READ_WRITE));
	check_difference(vmm, hwpt, 0, IOMMU_HWPT_LIVEUPDATE_EXTRA, EXTRA_IOVA,
			 "a page more");
	check_difference(vmm, hwpt, allow, IOMMU_HWPT_LIVEUPDATE_EQUAL, 0,
			 "which may be allowed");
	MUST(ioas_unmap(vmm->iommufd, ioas, PAGE_IOVA(NR_PAGES - 1), PAGE));
	check_difference(vmm, hwpt, allow, IOMMU_HWPT_LIVEUPDATE_UNMAPPED,
			 PAGE_IOVA(NR_PAGES - 1), "but not a page less");
	MUST(map_page(vmm, ioas, NR_PAGES - 1, PAGE_IOVA(NR_PAGES - 1),
		      READ_WRITE));
	MUST(ioas_unmap(vmm->iommufd, ioas, EXTRA_IOVA, PAGE));

	MUST(map_page(vmm, ioas, 0, last_iova, READ_WRITE));
	check_difference(vmm, hwpt, 0, IOMMU_HWPT_LIVEUPDATE_EXTRA, last_iova,
			 "a page after everything else");
	MUST(ioas_unmap(vmm->iommufd, ioas, last_iova, PAGE));
	check_equal(vmm, hwpt, "all of that undone");
}

static void check_arguments(const struct vmm *vmm, __u32 ioas, __u32 hwpt)
{
	struct iommu_hwpt_liveupdate_verify arg = {
		.size = offsetof(struct iommu_hwpt_liveupdate_verify,
				 out_reason),
		.restored_hwpt_id = vmm->hwpt,
		.new_hwpt_id = hwpt,
	};
	const int fd = vmm->iommufd;
	const __u32 nothing = ~0U;
	__u32 reason;
	__u64 iova;

	check(-ENOENT, hwpt_verify(fd, 0, hwpt, hwpt, &iova, &reason),
	      "a new HWPT for the restored one");
	check(-ENOENT, hwpt_verify(fd, 0, vmm->hwpt, vmm->hwpt, &iova, &reason),
	      "a restored HWPT for the new one");
	check(-ENOENT, hwpt_verify(fd, 0, hwpt, vmm->hwpt, &iova, &reason),
	      "both in the wrong place");
	check(-ENOENT, hwpt_verify(fd, 0, vmm->hwpt, ioas, &iova, &reason),
	      "an IOAS for the new HWPT");
	check(-ENOENT, hwpt_verify(fd, 0, nothing, hwpt, &iova, &reason),
	      "no restored HWPT");
	check(-ENOENT, hwpt_verify(fd, 0, vmm->hwpt, nothing, &iova, &reason),
	      "no new HWPT");
	check(-EOPNOTSUPP, hwpt_verify(fd, 2, vmm->hwpt, hwpt, &iova, &reason),
	      "an unknown flag");
	check(-EINVAL, iommufd_ioctl(fd, IOMMU_HWPT_LIVEUPDATE_VERIFY, &arg),
	      "a structure that is too short");
	arg.size = sizeof(arg);
	arg.__reserved = 1;
	check(-EOPNOTSUPP, iommufd_ioctl(fd, IOMMU_HWPT_LIVEUPDATE_VERIFY, &arg),
	      "a reserved field that is not zero");
	arg.__reserved = 0;
	check(0, iommufd_ioctl(fd, IOMMU_HWPT_LIVEUPDATE_VERIFY, &arg),
	      "none of that");
}

static void ignore_signal(int signal)
{
}

/* A signal every millisecond hits a comparison sooner or later. */
static void check_interrupt(const struct vmm *vmm, __u32 hwpt)
{
	const struct itimerval off = {}, every_millisecond = {
		.it_interval.tv_usec = 1000,
		.it_value.tv_usec = 1000,
	};
	const struct sigaction action = { .sa_handler = ignore_signal };
	int ret = 0, others = 0;
	__u32 reason;
	__u64 iova;

	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &every_millisecond, NULL);
	for (int i = 0; ret != -EINTR && i < 10000; i++) {
		ret = hwpt_verify(vmm->iommufd, 0, vmm->hwpt, hwpt, &iova,
				  &reason);
		others += ret && ret != -EINTR;
	}
	setitimer(ITIMER_REAL, &off, NULL);
	check(-EINTR, ret, "a signal interrupts");
	check(0, others, "there is no other error");
	check_equal(vmm, hwpt, "nothing has changed");
}

struct mapper {
	pthread_t thread;
	const struct vmm *vmm;
	__u32 ioas;
	bool stop;
	int rounds;
	int failed;
};

static void *map_and_unmap(void *arg)
{
	struct mapper *mapper = arg;
	const struct vmm *vmm = mapper->vmm;

	while (!__atomic_load_n(&mapper->stop, __ATOMIC_RELAXED)) {
		mapper->failed += map_page(vmm, mapper->ioas, 0, EXTRA_IOVA,
					   READ_WRITE) != 0;
		mapper->failed += ioas_unmap(vmm->iommufd, mapper->ioas,
					     EXTRA_IOVA, PAGE) != 0;
		__atomic_fetch_add(&mapper->rounds, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

/* A page comes and goes: it is there or not, and nothing else is different. */
static void check_concurrent_mapping(const struct vmm *vmm, __u32 ioas,
				     __u32 hwpt)
{
	struct mapper mapper = { .vmm = vmm, .ioas = ioas };
	int wrong = 0, extra = 0, compared = 0, ret = 0;
	__u32 reason;
	__u64 iova;

	MUST(-pthread_create(&mapper.thread, NULL, map_and_unmap, &mapper));
	while (!ret && compared < 10000 &&
	       (compared < 200 || !extra || extra == compared ||
		__atomic_load_n(&mapper.rounds, __ATOMIC_RELAXED) < 200)) {
		ret = hwpt_verify(vmm->iommufd, 0, vmm->hwpt, hwpt, &iova,
				  &reason);
		compared++;
		if (reason == IOMMU_HWPT_LIVEUPDATE_EXTRA && iova == EXTRA_IOVA)
			extra++;
		else
			wrong += reason != IOMMU_HWPT_LIVEUPDATE_EQUAL;
	}
	__atomic_store_n(&mapper.stop, true, __ATOMIC_RELAXED);
	pthread_join(mapper.thread, NULL);

	ksft_print_msg("%d of %d comparisons met %d mappings\n", extra,
		       compared, mapper.rounds);
	check(0, ret, "comparing while something is mapped");
	check(0, mapper.failed, "mapping while something is compared");
	check(0, wrong, "the difference is what was mapped");
	check(true, extra && extra < compared, "it was met, and not always");
	check_equal(vmm, hwpt, "in the end there is none");
}

static void stage_2(int luo, const char *bdf)
{
	__u32 ioas, hwpt, small_ioas, small_hwpt;
	struct kernel_log log;
	long tables, small_tables;
	int session, huge;
	struct vmm vmm;

	ksft_print_header();
	ksft_set_plan(37);
	MUST(kernel_log_open(&log));
	session = MUST(luo_retrieve_session(luo, TEST_SESSION));
	huge = MUST(luo_session_retrieve_fd(session, HUGE_TOKEN));
	MUST(vmm_retrieve(&vmm, bdf, session));

	tables = build(&vmm, huge, true, &ioas, &hwpt);
	small_tables = build(&vmm, huge, false, &small_ioas, &small_hwpt);
	check(tables + 1, small_tables,
	      "small pages need a table more than a huge one");
	check_equal(&vmm, hwpt, "equal with the same page sizes");
	check_equal(&vmm, small_hwpt, "equal with other page sizes");
	MUST(ioas_unmap(vmm.iommufd, small_ioas, HUGE_IOVA, HUGE_SIZE));
	check_difference(&vmm, small_hwpt, 0, IOMMU_HWPT_LIVEUPDATE_UNMAPPED,
			 HUGE_IOVA, "not without the huge page");
	MUST(iommufd_destroy(vmm.iommufd, small_hwpt));
	MUST(iommufd_destroy(vmm.iommufd, small_ioas));

	check_differences(&vmm, ioas, hwpt);
	check_arguments(&vmm, ioas, hwpt);
	check_interrupt(&vmm, hwpt);
	check_concurrent_mapping(&vmm, ioas, hwpt);

	check(true, es1370_dma_arrives(vmm.guest), "all of that under DMA");
	MUST(vfio_pci_attach(&vmm.dev, hwpt));
	check(true, es1370_dma_arrives(vmm.guest), "which goes on after a swap");
	check(tables, restored_tables(), "the restored HWPT had a huge page");
	MUST(iommufd_destroy(vmm.iommufd, vmm.hwpt));
	MUST(luo_session_finish(session));
	kernel_log_read(&log);
	check(0, log.dma_faults, "no DMA faulted");
	vmm_destroy(&vmm);
	close(huge);

	kernel_log_read(&log);
	check(0, log.warnings, "no warning");
	ksft_finished();
}

int main(int argc, char *argv[])
{
	static const struct luo_vmm_test test = {
		.session = TEST_SESSION,
		.prepare = prepare,
		.stage_2 = stage_2,
	};

	return luo_vmm_main(argc, argv, &test);
}

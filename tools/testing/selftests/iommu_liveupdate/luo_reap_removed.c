// SPDX-License-Identifier: GPL-2.0
/*
 * A device that is taken away after the live update, before anything was
 * retrieved: FINISH frees the page tables that nobody has restored.
 */
#include <limits.h>
#include <stdio.h>

#include <libliveupdate.h>

#include "check.h"
#include "counters.h"
#include "es1370.h"
#include "iommufd.h"
#include "kernel_log.h"
#include "luo_vmm.h"
#include "pci.h"
#include "vmm_retrieve.h"

#define TEST_SESSION	"luo-reap-removed"

/*
 * FINISH gives back more than page tables, but far less than these: every
 * gigabyte with a mapping has two tables of its own.
 */
#define GIGABYTE	0x40000000UL
#define MAPPED_GIGABYTES	256

static int map_far_apart(int iommufd, __u32 ioas, int memory)
{
	int ret = 0;

	for (unsigned long i = 1; !ret && i <= MAPPED_GIGABYTES; i++)
		ret = ioas_map_file(iommufd, ioas, memory, GUEST_MEMORY_SIZE,
				    i * GIGABYTE);
	return ret;
}

static void prepare(const struct vmm *vmm, int unused_luo, int unused_session)
{
	MUST(map_far_apart(vmm->iommufd, vmm->ioas, vmm->memory));
}

static int pci_remove(const char *bdf)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/remove", bdf);
	return sysfs_write(path, "1");
}

static void stage_2(int luo, const char *bdf)
{
	struct counters start, before, after, fresh;
	struct kernel_log log;
	struct vmm vmm;
	long tables;
	__u32 id;
	int session;

	ksft_print_header();
	ksft_set_plan(17);
	MUST(kernel_log_open(&log));
	MUST(counters_read(&start));
	session = MUST(luo_retrieve_session(luo, TEST_SESSION));
	MUST(vmm_retrieve_memory(&vmm, session));
	check(true, es1370_dma_arrives(vmm.guest), "DMA goes on");
	kernel_log_read(&log);
	check(0, log.dma_faults, "no DMA faulted");

	check(0, pci_remove(bdf), "remove the function");
	check(false, es1370_dma_arrives(vmm.guest), "which ends DMA");
	check(-ENODEV, vmm_retrieve_device(&vmm, session),
	      "its file cannot be retrieved");
	check(-EBUSY, luo_session_finish(session), "no FINISH without iommufd");
	check(0, vmm_retrieve_iommufd(&vmm, session),
	      "its iommufd can be retrieved");
	MUST(counters_read(&before));
	check(0, luo_session_finish(session), "FINISH");
	MUST(counters_read(&after));
	check(-ENOENT, hwpt_restore(vmm.iommufd, VMM_HWPT_TOKEN, &id),
	      "no RESTORE after that");
	check(start.domain_ids - 1, after.domain_ids, "a domain id is free");
	check(true, before.iommu_pages > after.iommu_pages,
	      "its pages are not in use");
	check(before.iommu_pages - after.iommu_pages,
	      before.secondary_pages - after.secondary_pages,
	      "nor counted as page tables");
	munmap(vmm.guest, GUEST_MEMORY_SIZE);
	close(vmm.memory);
	close(vmm.iommufd);

	MUST(sysfs_write("/sys/bus/pci/rescan", "1"));
	MUST(vmm_create(&vmm, bdf));
	MUST(counters_read(&fresh));
	check(start.domain_ids, fresh.domain_ids, "as many domain ids as before");
	MUST(map_far_apart(vmm.iommufd, vmm.ioas, vmm.memory));
	tables = fresh.iommu_pages;
	MUST(counters_read(&fresh));
	tables = fresh.iommu_pages - tables;
	check(true, tables >= 2 * MAPPED_GIGABYTES, "such a HWPT has many pages");
	check(true, before.iommu_pages - after.iommu_pages >= tables &&
	      after.total - before.total >= tables,
	      "all of them were given back");
	MUST(es1370_start(&vmm.dev, GUEST_IOVA));
	check(true, es1370_dma_arrives(vmm.guest), "the function works again");
	vmm_destroy(&vmm);

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

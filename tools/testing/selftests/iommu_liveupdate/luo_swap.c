// SPDX-License-Identifier: GPL-2.0
/*
 * Replacing page tables under DMA: the restored ones by new ones, and these by
 * each other, over and over. Then the restored ones are freed, and everything is
 * as if there had been no live update.
 */
#include <libliveupdate.h>

#include "check.h"
#include "counters.h"
#include "es1370.h"
#include "iommufd.h"
#include "kernel_log.h"
#include "luo_vmm.h"
#include "vmm_retrieve.h"

#define TEST_SESSION	"luo-swap"
#define SWAPS		1000
#define SWAPS_PER_CHECK	100

static void swap_often(const struct vmm *vmm, const __u32 hwpts[2])
{
	int failed = 0, arrived = 0;

	for (int i = 0; i < SWAPS; i++) {
		failed += vfio_pci_attach(&vmm->dev, hwpts[i & 1]) != 0;
		if (i % SWAPS_PER_CHECK == 0)
			arrived += es1370_dma_arrives(vmm->guest);
	}
	check(0, failed, "every swap succeeded");
	check(SWAPS / SWAPS_PER_CHECK, arrived, "DMA arrived in between");
	check(true, es1370_dma_arrives(vmm->guest), "and after the last swap");
}

/* The control of the absence of faults: with nothing mapped they are seen. */
static void swap_to_nothing(const struct vmm *vmm, struct kernel_log *log)
{
	__u32 ioas, hwpt;

	MUST(ioas_alloc(vmm->iommufd, &ioas));
	MUST(hwpt_alloc(vmm->iommufd, vmm->dev.id, ioas, 0, &hwpt));
	MUST(vfio_pci_attach(&vmm->dev, hwpt));
	kernel_log_wait_for_fault(log);
	check(true, log->dma_faults > 0, "DMA faults if nothing is mapped");
	check(false, es1370_dma_arrives(vmm->guest), "and does not arrive");
}

/*
 * What is in use while a device is attached to one HWPT cannot depend on how it
 * came to that. So the values after a live update, when the restored HWPT is
 * destroyed and the device is attached to one that was built anew, have to be
 * those of a VMM that was created afterwards on the same function. What leaked
 * would be counted on both sides, therefore the steps are compared as well:
 *
 * - What is freed with the restored HWPT is as much as an equal HWPT takes. Its
 *   pages are not among the pages of this kernel before, see counters.h, and
 *   they are not among the pages for IOMMUs afterwards.
 * - Its domain id was the one of the device. With the new HWPT there is one more
 *   until the restored one is destroyed.
 */
static void stage_2(int luo, const char *bdf)
{
	struct counters start, attached, before, after, fresh;
	__u32 restored, hwpts[2], ioas[2];
	struct kernel_log log;
	struct vmm vmm;
	long tables;
	int session;

	ksft_print_header();
	ksft_set_plan(22);
	MUST(kernel_log_open(&log));
	session = MUST(luo_retrieve_session(luo, TEST_SESSION));
	MUST(vmm_retrieve(&vmm, bdf, session));
	restored = vmm.hwpt;

	MUST(counters_read(&start));
	MUST(vmm_rebuild(&vmm, &ioas[0], &hwpts[0]));
	MUST(counters_read(&before));
	tables = before.iommu_pages - start.iommu_pages;
	check(true, tables > 0, "the tables of a HWPT are counted");
	check(tables, before.secondary_pages - start.secondary_pages,
	      "as page tables");
	MUST(vmm_rebuild(&vmm, &ioas[1], &hwpts[1]));

	check(true, es1370_dma_arrives(vmm.guest), "DMA goes on after the kexec");
	swap_often(&vmm, hwpts);
	kernel_log_read(&log);
	check(0, log.dma_faults, "no DMA faulted");

	MUST(vfio_pci_attach(&vmm.dev, hwpts[0]));
	MUST(iommufd_destroy(vmm.iommufd, hwpts[1]));
	MUST(iommufd_destroy(vmm.iommufd, ioas[1]));
	MUST(counters_read(&before));
	check(start.domain_ids + 1, before.domain_ids,
	      "the restored HWPT has a domain id");
	check(0, iommufd_destroy(vmm.iommufd, restored), "DESTROY");
	MUST(counters_read(&after));
	check(start.domain_ids, after.domain_ids, "its domain id is free");
	check(tables, after.total - before.total, "its pages are given back");
	check(before.iommu_pages - tables, after.iommu_pages, "and not in use");
	check(before.secondary_pages - tables, after.secondary_pages,
	      "nor counted as page tables");
	check(true, es1370_dma_arrives(vmm.guest), "DMA goes on without it");

	check(0, luo_session_finish(session), "FINISH");
	MUST(counters_read(&attached));
	check(true, es1370_dma_arrives(vmm.guest), "DMA goes on after it");
	swap_to_nothing(&vmm, &log);
	vmm_destroy(&vmm);

	MUST(vmm_create(&vmm, bdf));
	MUST(counters_read(&fresh));
	check(fresh.iommu_pages, attached.iommu_pages,
	      "as many pages as without a live update");
	check(fresh.secondary_pages, attached.secondary_pages,
	      "as many page tables");
	check(fresh.domain_ids, attached.domain_ids, "as many domain ids");
	vmm_destroy(&vmm);

	kernel_log_read(&log);
	check(0, log.warnings, "no warning");
	ksft_finished();
}

int main(int argc, char *argv[])
{
	static const struct luo_vmm_test test = {
		.session = TEST_SESSION,
		.stage_2 = stage_2,
	};

	return luo_vmm_main(argc, argv, &test);
}

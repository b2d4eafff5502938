// SPDX-License-Identifier: GPL-2.0
/*
 * Getting rid of everything when the VMM does not come back. All the reaper
 * knows are the names: of the session, and the tokens in it.
 *
 * It does the last two steps the other way round than luo_swap: FINISH, then
 * DESTROY of the restored HWPT.
 */
#include <libliveupdate.h>

#include "check.h"
#include "counters.h"
#include "es1370.h"
#include "iommufd.h"
#include "kernel_log.h"
#include "luo_vmm.h"
#include "vmm_retrieve.h"

#define TEST_SESSION	"luo-reap"

static void stage_2(int luo, const char *bdf)
{
	struct counters start, before, after, fresh;
	struct kernel_log log;
	struct vmm vmm;
	long tables;
	__u32 id;
	int session;

	ksft_print_header();
	ksft_set_plan(22);
	MUST(kernel_log_open(&log));
	MUST(counters_read(&start));
	session = MUST(luo_retrieve_session(luo, TEST_SESSION));
	MUST(vmm_retrieve(&vmm, bdf, session));
	check(true, es1370_dma_arrives(vmm.guest), "DMA goes on");
	check(-EBUSY, luo_session_finish(session), "no FINISH while attached");
	kernel_log_read(&log);
	check(0, log.dma_faults, "no DMA faulted");

	check(0, vfio_pci_detach(&vmm.dev), "detach");
	check(false, es1370_dma_arrives(vmm.guest), "which ends DMA");
	kernel_log_wait_for_fault(&log);
	check(true, log.dma_faults > 0, "as the IOMMU has noticed");
	check(0, luo_session_finish(session), "FINISH");
	check(0, hwpt_restore(vmm.iommufd, VMM_HWPT_TOKEN, &id),
	      "the restored HWPT is still there");
	check(vmm.hwpt, id, "under its token");

	MUST(counters_read(&before));
	check(0, iommufd_destroy(vmm.iommufd, vmm.hwpt), "DESTROY");
	MUST(counters_read(&after));
	check(start.domain_ids - 1, after.domain_ids, "its domain id is free");
	tables = after.total - before.total;
	check(before.iommu_pages - tables, after.iommu_pages,
	      "its pages are not in use");
	check(before.secondary_pages - tables, after.secondary_pages,
	      "nor counted as page tables");
	check(-ENOENT, hwpt_restore(vmm.iommufd, VMM_HWPT_TOKEN, &id),
	      "no RESTORE any more");
	check(true, iommufd_destroy(vmm.iommufd, vmm.hwpt) == -ENOENT,
	      "nor anything to destroy");
	vmm_destroy(&vmm);
	close(session);
	check(-ENOENT, luo_retrieve_session(luo, TEST_SESSION),
	      "the session is gone");

	/* The function is as good as new: reset, and free for anybody. */
	MUST(vmm_create(&vmm, bdf));
	MUST(counters_read(&fresh));
	check(start.domain_ids, fresh.domain_ids,
	      "as many domain ids as before the reaper came");
	check(start.iommu_pages, fresh.iommu_pages,
	      "a new HWPT takes as many pages as were given back");
	check(start.secondary_pages, fresh.secondary_pages,
	      "and no more page tables");
	check(false, es1370_dma_arrives(vmm.guest), "no DMA by itself");
	MUST(es1370_start(&vmm.dev, GUEST_IOVA));
	check(true, es1370_dma_arrives(vmm.guest), "but if it is told to");
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

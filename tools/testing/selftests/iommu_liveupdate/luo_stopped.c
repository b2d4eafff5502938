// SPDX-License-Identifier: GPL-2.0
/*
 * A reboot into a kernel that cannot take over, by its own account, with "stop"
 * in on_incompatible: the old kernel stops the device. What was handed over is
 * given back by the new one, which in truth understands all of it.
 */
#include <libliveupdate.h>

#include "check.h"
#include "counters.h"
#include "es1370.h"
#include "kernel_log.h"
#include "luo_vmm.h"
#include "pci.h"
#include "vmm_retrieve.h"

#define TEST_SESSION	"luo-stopped"
#define POLICY		"/sys/kernel/iommu_liveupdate/on_incompatible"

static void prepare(const struct vmm *vmm, int luo, int session)
{
	MUST(sysfs_write(POLICY, "stop"));
}

static void stage_2(int luo, const char *bdf)
{
	struct counters before, after;
	struct kernel_log log;
	struct vmm vmm;
	int session;

	ksft_print_header();
	ksft_set_plan(11);
	MUST(kernel_log_open(&log));
	session = MUST(luo_retrieve_session(luo, TEST_SESSION));
	check(0, vmm_retrieve_memory(&vmm, session), "memory comes back");
	check(false, es1370_dma_arrives(vmm.guest), "no DMA");
	kernel_log_read(&log);
	check(0, log.dma_faults, "not even one that faults");

	MUST(pci_bind_group(bdf, "vfio-pci"));
	check(-EBADMSG, vmm_retrieve_iommufd(&vmm, session),
	      "no iommufd comes back");
	check(-EBADMSG, vmm_retrieve_device(&vmm, session),
	      "nor the file of the device");
	munmap(vmm.guest, GUEST_MEMORY_SIZE);
	close(vmm.memory);
	MUST(counters_read(&before));
	check(0, luo_session_finish(session), "FINISH");
	MUST(counters_read(&after));
	check(true, after.total > before.total, "gives memory back");
	close(session);

	/* The function is as good as new. */
	check(0, vmm_create(&vmm, bdf), "the function is free");
	check(0, es1370_start(&vmm.dev, GUEST_IOVA), "and can be told to DMA");
	check(true, es1370_dma_arrives(vmm.guest), "which arrives");
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

// SPDX-License-Identifier: GPL-2.0
/*
 * What was preserved comes back: in another order than the one it was preserved
 * in, to nobody else, and while DMA goes on.
 *
 * Every other test here retrieves the memory, the iommufd and the device in this
 * order. Here the device comes before the iommufd, and in a second session, that
 * of an NVMe controller, also before the memory.
 */
#include <libliveupdate.h>

#include "check.h"
#include "counters.h"
#include "es1370.h"
#include "iommufd.h"
#include "kernel_log.h"
#include "luo_vmm.h"
#include "pci.h"
#include "vmm_retrieve.h"

#define TEST_SESSION	"luo-retrieve"
#define OTHER_SESSION	"luo-retrieve-other"

static int find_other(char *bdf)
{
	return pci_find(PCI_VENDOR_REDHAT, PCI_DEVICE_NVME, PCI_GROUP_SINGLE,
			bdf);
}

static void preserve_other(const struct vmm *unused, int luo, int unused_session)
{
	char bdf[PCI_BDF_SIZE];
	struct vmm vmm;
	int session;

	MUST(find_other(bdf));
	MUST(vmm_create(&vmm, bdf));
	session = MUST(luo_create_session(luo, OTHER_SESSION));
	MUST(vmm_preserve(&vmm, session));
}

/* The other session as far as it can be retrieved without its device. */
static int retrieve_other(int luo, struct vmm *other)
{
	char bdf[PCI_BDF_SIZE];
	int session;

	MUST(find_other(bdf));
	MUST(pci_bind_group(bdf, "vfio-pci"));
	session = MUST(luo_retrieve_session(luo, OTHER_SESSION));
	check(0, vmm_retrieve_device(other, session), "a device comes first");
	check(0, vmm_retrieve_iommufd(other, session), "then its iommufd");
	check(-EBUSY, luo_session_finish(session), "no FINISH without memory");
	check(0, vmm_retrieve_memory(other, session), "its memory comes last");
	return session;
}

static void finish_other(int session, struct vmm *other)
{
	MUST(vmm_restore(other));
	check(-EBUSY, luo_session_finish(session),
	      "no FINISH of the other session while attached");
	MUST(vfio_pci_detach(&other->dev));
	check(0, luo_session_finish(session), "FINISH once it is detached");
	vmm_destroy(other);
}

/* Retrieve everything again: these are other descriptors of the same files. */
static void retrieve_again(int session, const struct vmm *vmm)
{
	struct vmm again = *vmm;
	__u32 ioas;

	MUST(vmm_retrieve_memory(&again, session));
	again.guest[GUEST_MEMORY_SIZE - 1] = 0x5a;
	check(0x5a, vmm->guest[GUEST_MEMORY_SIZE - 1], "the same memory again");

	MUST(vmm_retrieve_iommufd(&again, session));
	MUST(ioas_alloc(vmm->iommufd, &ioas));
	check(0, iommufd_destroy(again.iommufd, ioas), "the same iommufd again");

	MUST(vmm_retrieve_device(&again, session));
	again.dev.id = 0;
	check(0, vfio_pci_bind(&again.dev, again.iommufd),
	      "the same device again, which is bound already");
	check(vmm->dev.id, again.dev.id, "under the same id");
	MUST(es1370_stop(&again.dev));
	check(false, es1370_dma_arrives(vmm->guest), "it can be stopped");
	MUST(es1370_start(&vmm->dev, GUEST_IOVA));
	check(true, es1370_dma_arrives(vmm->guest), "and started again");

	close(again.dev.fd);
	munmap(again.guest, GUEST_MEMORY_SIZE);
	close(again.memory);
	close(again.iommufd);
}

static void stage_2(int luo, const char *bdf)
{
	int session, other_session, foreign;
	struct counters before, after;
	struct vfio_pci opened;
	struct vmm vmm, other;
	struct kernel_log log;
	__u32 ioas, hwpt;
	long tables;

	ksft_print_header();
	ksft_set_plan(39);
	MUST(kernel_log_open(&log));
	session = MUST(luo_retrieve_session(luo, TEST_SESSION));
	check(-EBUSY, luo_session_finish(session), "no FINISH of a new session");
	check(0, vmm_retrieve_memory(&vmm, session), "the memory comes first");
	check(true, es1370_dma_arrives(vmm.guest), "DMA went on");
	check(-EBUSY, luo_session_finish(session), "no FINISH with memory only");

	check(-EAGAIN, vmm_retrieve_device(&vmm, session),
	      "no device before vfio-pci is bound to it");
	MUST(pci_bind_group(bdf, "vfio-pci"));
	check(-EBUSY, vfio_pci_open_node(bdf), "its node cannot be opened");
	check(0, vmm_retrieve_device(&vmm, session), "but it can be retrieved");
	check(-EBUSY, luo_session_finish(session), "no FINISH without iommufd");

	foreign = MUST(iommufd_open());
	check(-EPERM, vfio_pci_bind(&vmm.dev, foreign), "BIND to a new iommufd");
	opened.fd = MUST(vfio_pci_open_node(bdf));
	check(-EPERM, vfio_pci_bind(&opened, foreign),
	      "nor through its node, which can be opened by now");
	close(opened.fd);
	close(foreign);
	other_session = retrieve_other(luo, &other);
	check(-EPERM, vfio_pci_bind(&vmm.dev, other.iommufd),
	      "BIND to the iommufd of another session");
	check(true, es1370_dma_arrives(vmm.guest), "DMA went on all the time");

	check(0, vmm_retrieve_iommufd(&vmm, session), "the iommufd comes last");
	check(-EBUSY, luo_session_finish(session), "no FINISH before BIND");
	check(0, vfio_pci_bind(&vmm.dev, vmm.iommufd), "BIND to its iommufd");
	check(-EBUSY, luo_session_finish(session), "no FINISH before RESTORE");
	check(0, hwpt_restore(vmm.iommufd, VMM_HWPT_TOKEN, &vmm.hwpt), "RESTORE");
	check(-EBUSY, luo_session_finish(session), "no FINISH before attaching");
	check(0, vfio_pci_attach(&vmm.dev, vmm.hwpt), "attach");
	check(-EBUSY, luo_session_finish(session), "no FINISH while attached");
	check(true, es1370_dma_arrives(vmm.guest), "DMA still goes on");
	retrieve_again(session, &vmm);

	MUST(counters_read(&before));
	MUST(vmm_rebuild(&vmm, &ioas, &hwpt));
	MUST(counters_read(&after));
	tables = after.iommu_pages - before.iommu_pages;
	check(0, vfio_pci_attach(&vmm.dev, hwpt), "replace");
	check(0, luo_session_finish(session), "FINISH at last");
	check(true, es1370_dma_arrives(vmm.guest), "DMA goes on after it");
	MUST(counters_read(&before));
	vmm_destroy(&vmm);
	MUST(counters_read(&after));
	check(tables, after.total - before.total,
	      "closing the iommufd frees the restored page tables");
	finish_other(other_session, &other);

	kernel_log_read(&log);
	check(0, log.dma_faults, "no DMA faulted");
	check(0, log.warnings, "no warning");
	ksft_finished();
}

int main(int argc, char *argv[])
{
	static const struct luo_vmm_test test = {
		.session = TEST_SESSION,
		.prepare = preserve_other,
		.stage_2 = stage_2,
	};

	return luo_vmm_main(argc, argv, &test);
}

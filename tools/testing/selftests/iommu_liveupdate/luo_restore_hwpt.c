// SPDX-License-Identifier: GPL-2.0
/*
 * IOMMU_HWPT_LIVEUPDATE_RESTORE, and what can be done to a HWPT that it gives:
 * attaching its device, replacing it and destroying it, and nothing else.
 */
#include <pthread.h>

#include <libliveupdate.h>

#include "check.h"
#include "es1370.h"
#include "iommufd.h"
#include "kernel_log.h"
#include "luo_vmm.h"
#include "pci.h"
#include "vmm_retrieve.h"

#define TEST_SESSION	"luo-restore-hwpt"

#define UNKNOWN_TOKEN	(VMM_HWPT_TOKEN + 1)

/* Each of these differs in one thing from the call that succeeds afterwards. */
static void check_arguments(int iommufd)
{
	struct {
		struct iommu_hwpt_liveupdate_restore arg;
		__u64 more;
	} longer = {
		.arg.size = sizeof(longer),
		.arg.hwpt_token = VMM_HWPT_TOKEN,
	};
	struct iommu_hwpt_liveupdate_restore arg = {
		.size = offsetof(struct iommu_hwpt_liveupdate_restore,
				 out_hwpt_id),
		.hwpt_token = VMM_HWPT_TOKEN,
	};
	int ordinary = MUST(iommufd_open());
	__u32 hwpt;

	check(-ENOENT, hwpt_restore(ordinary, VMM_HWPT_TOKEN, &hwpt),
	      "RESTORE in an ordinary iommufd");
	close(ordinary);
	check(-ENOENT, hwpt_restore(iommufd, UNKNOWN_TOKEN, &hwpt),
	      "an unknown token");
	check(-EINVAL,
	      iommufd_ioctl(iommufd, IOMMU_HWPT_LIVEUPDATE_RESTORE, &arg),
	      "a structure that is too short");
	arg.size = sizeof(arg);
	arg.flags = 1;
	check(-EOPNOTSUPP,
	      iommufd_ioctl(iommufd, IOMMU_HWPT_LIVEUPDATE_RESTORE, &arg),
	      "a flag");
	arg.flags = 0;
	arg.__reserved = 1;
	check(-EOPNOTSUPP,
	      iommufd_ioctl(iommufd, IOMMU_HWPT_LIVEUPDATE_RESTORE, &arg),
	      "a reserved field that is not zero");
	longer.more = 1;
	check(-E2BIG,
	      iommufd_ioctl(iommufd, IOMMU_HWPT_LIVEUPDATE_RESTORE, &longer),
	      "more than the kernel knows, and not zero");
	longer.more = 0;
	check(0, iommufd_ioctl(iommufd, IOMMU_HWPT_LIVEUPDATE_RESTORE, &longer),
	      "more than the kernel knows, but zero");
	MUST(iommufd_destroy(iommufd, longer.arg.out_hwpt_id));
}

#define RACE_ROUNDS	5000

struct racer {
	pthread_t thread;
	int iommufd;
	bool *met;
	int wrong;
};

/* Go on until the two have met. */
static void *restore_and_destroy(void *arg)
{
	struct racer *racer = arg;

	for (int i = 0; i < RACE_ROUNDS ||
	     (i < 100 * RACE_ROUNDS &&
	      !__atomic_load_n(racer->met, __ATOMIC_RELAXED)); i++) {
		__u32 hwpt;
		int ret = hwpt_restore(racer->iommufd, VMM_HWPT_TOKEN, &hwpt);

		if (!ret)
			ret = iommufd_destroy(racer->iommufd, hwpt);
		racer->wrong += ret && ret != -EBUSY && ret != -ENOENT;
		if (ret)
			__atomic_store_n(racer->met, true, __ATOMIC_RELAXED);
	}
	return NULL;
}

/* Two that restore and destroy the same HWPT while a device goes on with it. */
static void check_race(int iommufd)
{
	struct racer racers[2] = {};
	bool met = false;

	for (int i = 0; i < 2; i++) {
		racers[i].iommufd = iommufd;
		racers[i].met = &met;
		MUST(-pthread_create(&racers[i].thread, NULL,
				     restore_and_destroy, &racers[i]));
	}
	for (int i = 0; i < 2; i++)
		pthread_join(racers[i].thread, NULL);
	check(true, met, "two that restore and destroy have met");
	check(0, racers[0].wrong + racers[1].wrong, "and were told so");
}

static int set_dirty_tracking(int iommufd, __u32 hwpt)
{
	struct iommu_hwpt_set_dirty_tracking arg = {
		.size = sizeof(arg),
		.flags = IOMMU_HWPT_DIRTY_TRACKING_ENABLE,
		.hwpt_id = hwpt,
	};

	return iommufd_ioctl(iommufd, IOMMU_HWPT_SET_DIRTY_TRACKING, &arg);
}

static int get_dirty_bitmap(int iommufd, __u32 hwpt)
{
	__u64 bitmap = 0;
	struct iommu_hwpt_get_dirty_bitmap arg = {
		.size = sizeof(arg),
		.hwpt_id = hwpt,
		.iova = GUEST_IOVA,
		.length = GUEST_MEMORY_SIZE,
		.page_size = 4096,
		.data = (uintptr_t)&bitmap,
	};

	return iommufd_ioctl(iommufd, IOMMU_HWPT_GET_DIRTY_BITMAP, &arg);
}

static int invalidate(int iommufd, __u32 hwpt)
{
	struct iommu_hwpt_invalidate arg = {
		.size = sizeof(arg),
		.hwpt_id = hwpt,
	};

	return iommufd_ioctl(iommufd, IOMMU_HWPT_INVALIDATE, &arg);
}

/* It is neither an IOAS nor a HWPT of one. */
static void check_refusals(const struct vmm *vmm, __u32 restored)
{
	const int iommufd = vmm->iommufd;
	__u32 hwpt;

	check(-ENOENT, hwpt_mark(iommufd, restored, VMM_HWPT_TOKEN),
	      "it cannot be marked");
	check(-EINVAL, hwpt_alloc(iommufd, vmm->dev.id, restored, 0, &hwpt),
	      "no HWPT on top of it");
	check(-ENOENT, ioas_map_file(iommufd, restored, vmm->memory,
				     GUEST_MEMORY_SIZE, GUEST_IOVA),
	      "nothing can be mapped");
	check(-ENOENT, ioas_unmap_all(iommufd, restored),
	      "nothing can be unmapped");
	check(-ENOENT, set_dirty_tracking(iommufd, restored),
	      "no dirty tracking");
	check(-ENOENT, get_dirty_bitmap(iommufd, restored), "no dirty bits");
	check(-EINVAL, invalidate(iommufd, restored), "no invalidation");
}

/* A device that was never attached to it stays out. */
static void check_other_device(int iommufd, __u32 restored, __u32 other_pt)
{
	char bdf[PCI_BDF_SIZE];
	struct vfio_pci dev;

	MUST(pci_find(PCI_VENDOR_REDHAT, PCI_DEVICE_NVME, PCI_GROUP_SINGLE,
		      bdf));
	MUST(pci_bind_group(bdf, "vfio-pci"));
	MUST(vfio_pci_open(&dev, bdf, iommufd));
	check(-EINVAL, vfio_pci_attach(&dev, restored),
	      "another device cannot be attached");
	check(0, vfio_pci_attach(&dev, other_pt),
	      "but to what is not restored it can");
	check(-EINVAL, vfio_pci_attach(&dev, restored),
	      "nor from there to the restored one");
	close(dev.fd);
}

static void stage_2(int luo, const char *bdf)
{
	struct kernel_log log;
	__u32 ioas, hwpt, id;
	struct vmm vmm;
	int session;

	ksft_print_header();
	ksft_set_plan(38);
	MUST(kernel_log_open(&log));
	session = MUST(luo_retrieve_session(luo, TEST_SESSION));
	MUST(pci_bind_group(bdf, "vfio-pci"));
	MUST(vmm_retrieve_memory(&vmm, session));
	MUST(vmm_retrieve_iommufd(&vmm, session));
	MUST(vmm_retrieve_device(&vmm, session));
	check_arguments(vmm.iommufd);
	check_race(vmm.iommufd);

	/* The device goes on with it, but not yet through the iommufd. */
	MUST(hwpt_restore(vmm.iommufd, VMM_HWPT_TOKEN, &vmm.hwpt));
	check(0, iommufd_destroy(vmm.iommufd, vmm.hwpt),
	      "DESTROY before the device is attached");
	check(true, es1370_dma_arrives(vmm.guest), "which leaves DMA alone");
	check(0, hwpt_restore(vmm.iommufd, VMM_HWPT_TOKEN, &vmm.hwpt),
	      "RESTORE after that");
	check(0, hwpt_restore(vmm.iommufd, VMM_HWPT_TOKEN, &id),
	      "RESTORE once more");
	check(vmm.hwpt, id, "gives the same HWPT");

	MUST(vfio_pci_bind(&vmm.dev, vmm.iommufd));
	MUST(vmm_rebuild(&vmm, &ioas, &hwpt));
	check(0, vfio_pci_attach(&vmm.dev, vmm.hwpt), "attach");
	check(-EBUSY, iommufd_destroy(vmm.iommufd, vmm.hwpt),
	      "no DESTROY while attached");
	check(0, vfio_pci_attach(&vmm.dev, vmm.hwpt),
	      "attach where it is attached");
	check_refusals(&vmm, vmm.hwpt);
	check_other_device(vmm.iommufd, vmm.hwpt, ioas);
	check(-EADDRINUSE, hwpt_mark(vmm.iommufd, hwpt, VMM_HWPT_TOKEN),
	      "its token is taken");
	check(true, es1370_dma_arrives(vmm.guest), "DMA goes on");

	check(0, vfio_pci_attach(&vmm.dev, hwpt), "it can be replaced");
	check(-EINVAL, vfio_pci_attach(&vmm.dev, vmm.hwpt),
	      "it cannot replace another");
	check(true, es1370_dma_arrives(vmm.guest), "DMA goes on with the other");
	kernel_log_read(&log);
	check(0, log.dma_faults, "no DMA faulted");

	MUST(vfio_pci_detach(&vmm.dev));
	check(-EINVAL, vfio_pci_attach(&vmm.dev, vmm.hwpt),
	      "a detached device cannot come back to it");
	check(0, iommufd_destroy(vmm.iommufd, vmm.hwpt), "DESTROY");
	check(-ENOENT, hwpt_restore(vmm.iommufd, VMM_HWPT_TOKEN, &id),
	      "no RESTORE after that");
	check(0, hwpt_mark(vmm.iommufd, hwpt, VMM_HWPT_TOKEN),
	      "its token is free");
	MUST(luo_session_finish(session));
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

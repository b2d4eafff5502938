// SPDX-License-Identifier: GPL-2.0
/*
 * The memory of a session keeps its content and its pages as long as a device
 * may use it, until FINISH.
 */
#include <libliveupdate.h>

#include "check.h"
#include "es1370.h"
#include "iommufd.h"
#include "kernel_log.h"
#include "luo_vmm.h"
#include "pci.h"
#include "vmm_retrieve.h"

#define TEST_SESSION	"luo-memory"

/* The device writes to the first page only. */
#define FILLED		ES1370_RING_SIZE
#define FILLED_SIZE	(GUEST_MEMORY_SIZE - FILLED)

static unsigned char byte_at(size_t offset)
{
	return offset / 4096 + 1;
}

static void fill(const struct vmm *vmm, int unused_luo, int unused_session)
{
	for (size_t i = FILLED; i < GUEST_MEMORY_SIZE; i++)
		vmm->guest[i] = byte_at(i);
}

static int count_wrong_bytes(const struct vmm *vmm)
{
	int wrong = 0;

	for (size_t i = FILLED; i < GUEST_MEMORY_SIZE; i++)
		wrong += vmm->guest[i] != byte_at(i);
	return wrong;
}

static int punch_hole(int fd, off_t offset, off_t size)
{
	return fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset,
			 size) ? -errno : 0;
}

static int punch_hole_elsewhere(int fd)
{
	char path[32];
	int again, ret;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	again = open(path, O_RDWR);
	if (again < 0)
		return -errno;
	ret = punch_hole(again, 0, GUEST_MEMORY_SIZE);
	close(again);
	return ret;
}

/* Truncation is no test: the seals that a preserved memfd has refuse it. */
static void check_frozen(const struct vmm *vmm, const char *when)
{
	ksft_print_msg("%s:\n", when);
	check(-EPERM, punch_hole(vmm->memory, 0, 4096),
	      "no hole where the device writes");
	check(-EPERM, punch_hole(vmm->memory, FILLED, FILLED_SIZE),
	      "no hole where it could write");
	check(-EPERM, punch_hole_elsewhere(vmm->memory),
	      "no hole through another open file");
	check(-EPERM,
	      madvise(vmm->guest, GUEST_MEMORY_SIZE, MADV_REMOVE) ? -errno : 0,
	      "no hole through the mapping");
	check(true, es1370_dma_arrives(vmm->guest), "DMA arrives");
	check(0, count_wrong_bytes(vmm), "the content is what it was");
}

static void stage_2(int luo, const char *bdf)
{
	int session, unrelated;
	struct kernel_log log;
	__u32 ioas, hwpt;
	struct vmm vmm;

	ksft_print_header();
	ksft_set_plan(24);
	MUST(kernel_log_open(&log));
	session = MUST(luo_retrieve_session(luo, TEST_SESSION));
	MUST(vmm_retrieve_memory(&vmm, session));
	check_frozen(&vmm, "retrieved");
	unrelated = MUST(guest_memory_create(GUEST_MEMORY_SEALS));
	check(0, punch_hole(unrelated, 0, GUEST_MEMORY_SIZE),
	      "a hole in memory that was not preserved");
	close(unrelated);

	MUST(pci_bind_group(bdf, "vfio-pci"));
	MUST(vmm_retrieve_iommufd(&vmm, session));
	MUST(vmm_retrieve_device(&vmm, session));
	MUST(vmm_restore(&vmm));
	check_frozen(&vmm, "attached");

	MUST(vmm_rebuild(&vmm, &ioas, &hwpt));
	MUST(vfio_pci_attach(&vmm.dev, hwpt));
	MUST(iommufd_destroy(vmm.iommufd, vmm.hwpt));
	check_frozen(&vmm, "replaced");

	MUST(luo_session_finish(session));
	check(0, punch_hole(vmm.memory, FILLED, FILLED_SIZE),
	      "a hole after FINISH");
	check(FILLED_SIZE, count_wrong_bytes(&vmm), "where the content is gone");
	check(true, es1370_dma_arrives(vmm.guest), "DMA arrives next to it");
	kernel_log_read(&log);
	check(0, log.dma_faults, "no DMA faulted");
	vmm_destroy(&vmm);

	kernel_log_read(&log);
	check(0, log.warnings, "no warning");
	ksft_finished();
}

int main(int argc, char *argv[])
{
	static const struct luo_vmm_test test = {
		.session = TEST_SESSION,
		.prepare = fill,
		.stage_2 = stage_2,
	};

	return luo_vmm_main(argc, argv, &test);
}

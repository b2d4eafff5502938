// SPDX-License-Identifier: GPL-2.0
/*
 * A device that goes on and is unplugged while its user has it: the user is
 * asked to let go of it, as for every other VFIO device.
 */
#include <limits.h>
#include <sys/eventfd.h>
#include <sys/wait.h>

#include <libliveupdate.h>

#include <linux/vfio.h>

#include "check.h"
#include "es1370.h"
#include "kernel_log.h"
#include "luo_vmm.h"
#include "pci.h"
#include "vfio_irq.h"
#include "vmm_retrieve.h"

#define TEST_SESSION	"luo-unplug-bound"

static void stage_2(int luo, const char *bdf)
{
	const int session = MUST(luo_retrieve_session(luo, TEST_SESSION));
	const int request = MUST(eventfd(0, EFD_NONBLOCK));
	char path[PATH_MAX];
	struct vmm vmm;
	struct kernel_log log;
	int status;
	pid_t pid;

	ksft_print_header();
	ksft_set_plan(9);
	MUST(kernel_log_open(&log));
	MUST(vmm_retrieve(&vmm, bdf, session));
	MUST(vfio_irq_set(&vmm.dev, VFIO_PCI_REQ_IRQ_INDEX, 0, request));

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/remove", bdf);
	pid = MUST(fork());
	if (!pid) {
		close(vmm.dev.fd);
		close(session);
		_exit(sysfs_write(path, "1") ? 1 : 0);
	}
	check(true, vfio_irq_arrives(request), "the device is requested");
	check(true, es1370_dma_arrives(vmm.guest), "DMA goes on meanwhile");
	check(-EBUSY, luo_session_finish(session),
	      "the session cannot finish meanwhile");

	check(0, vfio_pci_detach(&vmm.dev), "the device can be detached");
	check(false, es1370_dma_arrives(vmm.guest), "that ends DMA");
	check(0, waitpid(pid, &status, WNOHANG), "the device is still there");
	check(0, luo_session_finish(session), "the session can finish");
	close(session);
	close(vmm.dev.fd);
	MUST(waitpid(pid, &status, 0));
	check(0, status, "the device is gone");
	kernel_log_read(&log);
	check(0, log.warnings, "no warning in the kernel log");
	ksft_finished();
}

int main(int argc, char *argv[])
{
	const struct luo_vmm_test test = {
		.session = TEST_SESSION,
		.stage_2 = stage_2,
	};

	return luo_vmm_main(argc, argv, &test);
}

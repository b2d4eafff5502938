// SPDX-License-Identifier: GPL-2.0
/*
 * A device that goes on and is unplugged, or loses its driver, before its user
 * is back: LUO holds the retrieved file, for which nobody waits.
 */
#include <limits.h>
#include <signal.h>
#include <sys/wait.h>

#include <libliveupdate.h>

#include <linux/vfio.h>

#include "check.h"
#include "es1370.h"
#include "iommufd.h"
#include "kernel_log.h"
#include "luo_vmm.h"
#include "pci.h"
#include "vmm_retrieve.h"

#define TEST_SESSION	"luo-unplug"

/* Whether writing to the file @name of the function @bdf succeeds, and ends. */
static bool sysfs_write_ends(const char *bdf, const char *name,
			     const char *value)
{
	char path[PATH_MAX];
	int status;
	pid_t pid;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/%s", bdf, name);
	pid = MUST(fork());
	if (!pid)
		_exit(sysfs_write(path, value) ? 1 : 0);
	for (int tries = 0; tries < 500; tries++) {
		if (waitpid(pid, &status, WNOHANG) == pid)
			return WIFEXITED(status) && !WEXITSTATUS(status);
		usleep(10000);
	}
	kill(pid, SIGKILL);
	return false;
}

/* Its user may come back through the node then, since the file is of no use. */
static void check_driver_gone(struct vmm *vmm, const char *bdf)
{
	struct vfio_pci dev;
	int other;

	check(true, sysfs_write_ends(bdf, "driver/unbind", bdf),
	      "vfio-pci can be unbound");
	check(-ENODEV, vfio_pci_bind(&vmm->dev, vmm->iommufd),
	      "the retrieved file cannot be bound");
	check(true, es1370_dma_arrives(vmm->guest),
	      "DMA goes on without a driver");

	MUST(pci_bind(bdf, "vfio-pci"));
	check(-ENODEV, vfio_pci_bind(&vmm->dev, vmm->iommufd),
	      "the retrieved file cannot be bound after all");
	dev.fd = MUST(vfio_pci_open_node(bdf));
	other = MUST(iommufd_open());
	check(-EPERM, vfio_pci_bind(&dev, other),
	      "the node cannot be bound to another iommufd");
	close(dev.fd);
	close(other);
	check(true, es1370_dma_arrives(vmm->guest), "DMA goes on");
}

static void check_unplugged(struct vmm *vmm, int session, const char *bdf)
{
	check(true, sysfs_write_ends(bdf, "remove", "1"),
	      "the device can be unplugged");
	check(false, es1370_dma_arrives(vmm->guest), "that ends DMA");
	check(-ENODEV, vfio_pci_bind(&vmm->dev, vmm->iommufd),
	      "its file cannot be bound");
	close(vmm->dev.fd);
	MUST(vmm_retrieve_device(vmm, session));
	check(-ENODEV, vfio_pci_bind(&vmm->dev, vmm->iommufd),
	      "neither if it is retrieved again");
	check(0, luo_session_finish(session), "the session can finish");
	close(session);
	check(-ENODEV, vfio_pci_bind(&vmm->dev, vmm->iommufd),
	      "the file outlives the session");
	close(vmm->dev.fd);
}

static void stage_2(int luo, const char *bdf)
{
	const int session = MUST(luo_retrieve_session(luo, TEST_SESSION));
	struct kernel_log log;
	struct vmm vmm;

	ksft_print_header();
	ksft_set_plan(14);
	MUST(kernel_log_open(&log));
	MUST(pci_bind(bdf, "vfio-pci"));
	MUST(vmm_retrieve_memory(&vmm, session));
	MUST(vmm_retrieve_iommufd(&vmm, session));
	MUST(vmm_retrieve_device(&vmm, session));
	check(true, es1370_dma_arrives(vmm.guest), "retrieved under DMA");

	check_driver_gone(&vmm, bdf);
	check_unplugged(&vmm, session, bdf);
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

// SPDX-License-Identifier: GPL-2.0
/*
 * Interrupts of devices that go on: masked when the kernel ends, set up anew by
 * the VMM in the next one, and signalled once for what may have been lost.
 *
 * Stage 1 preserves an ES1370, which has INTx, and an NVMe controller, which has
 * MSI-X. Then the kernel is replaced, and stage 2 is the test proper.
 */
#include <limits.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>

#include <libliveupdate.h>

#include <linux/pci_regs.h>
#include <linux/vfio.h>

#include "check.h"
#include "es1370.h"
#include "nvme_admin.h"
#include "pci.h"
#include "vfio_irq.h"
#include "vmm_retrieve.h"

#define STATE_SESSION	"luo-interrupts-state"
#define STATE_TOKEN	999

#define INTX		VFIO_PCI_INTX_IRQ_INDEX
#define MSIX		VFIO_PCI_MSIX_IRQ_INDEX

struct machine {
	struct vmm vmm;
	char bdf[PCI_BDF_SIZE];
	int session;
};

static struct machine sound = { .session = -1 };
static struct machine disk = { .session = -1 };

static void find_devices(void)
{
	if (!pci_find(PCI_VENDOR_ENSONIQ, PCI_DEVICE_ES1370, PCI_GROUP_SINGLE,
		      sound.bdf) &&
	    !pci_find(PCI_VENDOR_REDHAT, PCI_DEVICE_NVME, PCI_GROUP_SINGLE,
		      disk.bdf))
		return;
	if (getenv("IOMMU_LIVEUPDATE_STRICT"))
		ksft_exit_fail_msg("no ES1370 or no NVMe controller\n");
	ksft_exit_skip("no ES1370 or no NVMe controller\n");
}

static void run_stage_1(int luo)
{
	ksft_print_header();
	ksft_set_plan(2);
	find_devices();
	MUST(vmm_create(&sound.vmm, sound.bdf));
	MUST(vmm_create(&disk.vmm, disk.bdf));
	MUST(vfio_irq_set(&sound.vmm.dev, INTX, 0, MUST(eventfd(0, 0))));
	MUST(vfio_irq_set(&disk.vmm.dev, MSIX, 0, MUST(eventfd(0, 0))));
	MUST(es1370_start(&sound.vmm.dev, GUEST_IOVA));
	MUST(nvme_admin_start(&disk.vmm.dev, disk.vmm.guest, GUEST_IOVA));
	MUST(nvme_admin_identify(&disk.vmm.dev, disk.vmm.guest, GUEST_IOVA, 0));
	check(true, nvme_admin_completes(disk.vmm.guest, 0),
	      "the first command completes");

	create_state_file(luo, STATE_SESSION, STATE_TOKEN, 2);
	sound.session = MUST(luo_create_session(luo, "luo-interrupts-sound"));
	disk.session = MUST(luo_create_session(luo, "luo-interrupts-disk"));
	MUST(vmm_preserve(&sound.vmm, sound.session));
	MUST(vmm_preserve(&disk.vmm, disk.session));
	check(true, es1370_dma_arrives(sound.vmm.guest), "preserved under DMA");
	fflush(stdout);

	daemonize_and_wait();
}

/* Read the register at @offset as it is in the device. */
static __u16 config_read(const char *bdf, unsigned int offset)
{
	char path[PATH_MAX];
	__u16 value = 0;
	int fd;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/config", bdf);
	fd = MUST(open(path, O_RDONLY));
	if (pread(fd, &value, sizeof(value), offset) != sizeof(value))
		ksft_exit_fail_msg("%s: cannot read\n", path);
	close(fd);
	return value;
}

static unsigned int config_find_cap(const char *bdf, __u8 id)
{
	unsigned int pos = config_read(bdf, PCI_CAPABILITY_LIST) & 0xfc;

	while (pos) {
		const __u16 header = config_read(bdf, pos);

		if ((header & 0xff) == id)
			return pos;
		pos = header >> 8 & 0xfc;
	}
	return 0;
}

static void check_silent(void)
{
	const __u16 command = config_read(disk.bdf, PCI_COMMAND);
	const unsigned int msix = config_find_cap(disk.bdf, PCI_CAP_ID_MSIX);
	const __u16 flags = config_read(disk.bdf, msix + PCI_MSIX_FLAGS);

	check(PCI_COMMAND_MASTER | PCI_COMMAND_INTX_DISABLE,
	      command & (PCI_COMMAND_MASTER | PCI_COMMAND_INTX_DISABLE),
	      "NVMe is a bus master without INTx");
	check(PCI_MSIX_FLAGS_MASKALL,
	      flags & (PCI_MSIX_FLAGS_MASKALL | PCI_MSIX_FLAGS_ENABLE),
	      "NVMe has MSI-X masked and off");
	check(PCI_COMMAND_MASTER | PCI_COMMAND_INTX_DISABLE,
	      config_read(sound.bdf, PCI_COMMAND) &
	      (PCI_COMMAND_MASTER | PCI_COMMAND_INTX_DISABLE),
	      "ES1370 is a bus master without INTx");
}

/* The last thing that binding does is to write to the pointer from userspace. */
static void check_failing_bind(void)
{
	const struct vfio_device_bind_iommufd bind = {
		.argsz = sizeof(bind),
		.iommufd = sound.vmm.iommufd,
	};
	void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (page == MAP_FAILED)
		ksft_exit_fail_msg("mmap\n");
	memcpy(page, &bind, sizeof(bind));
	if (mprotect(page, 4096, PROT_READ))
		ksft_exit_fail_msg("mprotect\n");
	check(-EFAULT,
	      ioctl(sound.vmm.dev.fd, VFIO_DEVICE_BIND_IOMMUFD, page) ?
	      -errno : 0, "binding fails at the last step");
	munmap(page, 4096);
	check(true, es1370_dma_arrives(sound.vmm.guest),
	      "DMA goes on after a bind that failed");
}

static void retrieve(int luo, struct machine *machine, const char *name)
{
	machine->session = MUST(luo_retrieve_session(luo, name));
	MUST(pci_bind(machine->bdf, "vfio-pci"));
	MUST(vmm_retrieve_memory(&machine->vmm, machine->session));
	MUST(vmm_retrieve_iommufd(&machine->vmm, machine->session));
	MUST(vmm_retrieve_device(&machine->vmm, machine->session));
}

static void check_intx(void)
{
	const struct vfio_pci *dev = &sound.vmm.dev;
	const int event = MUST(eventfd(0, EFD_NONBLOCK));

	MUST(vfio_irq_set(dev, INTX, 0, event));
	check(true, vfio_irq_arrived(event), "INTx is signalled");
	MUST(vfio_irq_disable(dev, INTX));
	MUST(vfio_irq_set(dev, INTX, 0, event));
	check(false, vfio_irq_arrived(event), "INTx is not signalled again");
	MUST(es1370_interrupt(dev));
	check(true, vfio_irq_arrives(event), "INTx works");
}

static void check_msix(void)
{
	const struct vfio_pci *dev = &disk.vmm.dev;
	unsigned char *guest = disk.vmm.guest;
	const int first = MUST(eventfd(0, EFD_NONBLOCK));
	const int second = MUST(eventfd(0, EFD_NONBLOCK));

	MUST(vfio_irq_set(dev, MSIX, 0, first));
	check(true, vfio_irq_arrived(first), "MSI-X vector 0 is signalled");
	MUST(vfio_irq_set(dev, MSIX, 1, second));
	check(true, vfio_irq_arrived(second), "MSI-X vector 1 is signalled");
	MUST(vfio_irq_set(dev, MSIX, 1, -1));
	MUST(vfio_irq_set(dev, MSIX, 1, second));
	check(false, vfio_irq_arrived(first) || vfio_irq_arrived(second),
	      "no vector is signalled again");

	/* Whoever binds it again may be the next VMM. */
	MUST(vfio_irq_disable(dev, MSIX));
	MUST(vfio_pci_bind(&disk.vmm.dev, disk.vmm.iommufd));
	MUST(vfio_irq_set(dev, MSIX, 0, first));
	check(true, vfio_irq_arrived(first), "unless the device is bound again");

	/* The queues are where they were, so the controller was not reset. */
	MUST(nvme_admin_identify(dev, guest, GUEST_IOVA, 1));
	check(true, nvme_admin_completes(guest, 1), "a command completes");
	check(true, vfio_irq_arrives(first), "MSI-X works");
}

/* The next user finds a device that was reset, and no signals. */
static void check_next_user(void)
{
	const int event = MUST(eventfd(0, EFD_NONBLOCK));
	struct vfio_pci *dev = &disk.vmm.dev;
	unsigned char *guest = disk.vmm.guest;
	__u32 ioas, hwpt;

	MUST(vmm_rebuild(&disk.vmm, &ioas, &hwpt));
	MUST(vfio_pci_attach(dev, hwpt));
	check(0, luo_session_finish(disk.session), "the session can finish");
	close(disk.session);
	close(dev->fd);

	check(0, vfio_pci_open(dev, disk.bdf, disk.vmm.iommufd),
	      "the node can be opened");
	MUST(vfio_pci_attach(dev, hwpt));
	MUST(vfio_irq_set(dev, MSIX, 0, event));
	check(false, vfio_irq_arrived(event), "nothing is signalled");
	/* Were it enabled still, this would complete. */
	MUST(vfio_pci_enable_dma(dev));
	MUST(nvme_admin_identify(dev, guest, GUEST_IOVA, 2));
	check(false, vfio_irq_arrives(event), "the controller was reset");
	close(dev->fd);
}

static void run_stage_2(int luo, int state_session)
{
	ksft_print_header();
	ksft_set_plan(19);
	find_devices();
	check_silent();
	retrieve(luo, &sound, "luo-interrupts-sound");
	retrieve(luo, &disk, "luo-interrupts-disk");
	check_failing_bind();
	MUST(vmm_restore(&sound.vmm));
	MUST(vmm_restore(&disk.vmm));
	check_intx();
	check_msix();
	check(true, es1370_dma_arrives(sound.vmm.guest), "DMA goes on");
	check_next_user();
	close(state_session);
	ksft_finished();
}

int main(int argc, char *argv[])
{
	return luo_test(argc, argv, STATE_SESSION, run_stage_1, run_stage_2);
}

// SPDX-License-Identifier: GPL-2.0
/*
 * LIVEUPDATE_SESSION_PRESERVE_FD of a VFIO device: what it depends on, and that
 * a live update which is called off leaves the device as it was.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <sys/eventfd.h>

#include <libliveupdate.h>

#include <linux/pci_regs.h>
#include <linux/vfio.h>

#include "es1370.h"
#include "iommufd.h"
#include "kexec_image.h"
#include "nvme_admin.h"
#include "pci.h"
#include "require.h"
#include "vfio_irq.h"
#include "vmm.h"

FIXTURE(preserve_cdev)
{
	int luo;
	int session;
	char bdf[PCI_BDF_SIZE];
	struct vmm vmm;
};

FIXTURE_SETUP(preserve_cdev)
{
	const char *reason = vmm_missing(self->bdf);

	if (reason)
		SKIP(return missing(_metadata), "%s", reason);
	self->luo = luo_open_device();
	if (self->luo < 0)
		SKIP(return missing(_metadata), "no " LUO_DEVICE);
	self->session = luo_create_session(self->luo, "preserve-cdev");
	ASSERT_GE(self->session, 0);
	ASSERT_EQ(0, vmm_create(&self->vmm, self->bdf));
	ASSERT_EQ(0, es1370_start(&self->vmm.dev, GUEST_IOVA));
}

FIXTURE_TEARDOWN(preserve_cdev)
{
	close(self->session);
	vmm_destroy(&self->vmm);
	close(self->luo);
	kexec_image_unload();
}

static int preserve_device(const struct vmm *vmm, int session)
{
	return luo_session_preserve_fd(session, vmm->dev.fd, VMM_DEVICE_TOKEN);
}

TEST_F(preserve_cdev, before_its_iommufd)
{
	EXPECT_EQ(-EINVAL, preserve_device(&self->vmm, self->session));
	ASSERT_EQ(0, vmm_preserve_iommufd(&self->vmm, self->session));
	EXPECT_EQ(0, preserve_device(&self->vmm, self->session));
	EXPECT_TRUE(es1370_dma_arrives(self->vmm.guest));
}

TEST_F(preserve_cdev, without_its_iommufd)
{
	int other = luo_create_session(self->luo, "preserve-cdev-other");

	ASSERT_GE(other, 0);
	ASSERT_EQ(0, vmm_preserve_iommufd(&self->vmm, other));
	EXPECT_EQ(-EINVAL, preserve_device(&self->vmm, self->session));
	EXPECT_EQ(0, preserve_device(&self->vmm, other));
	close(other);
}

TEST_F(preserve_cdev, twice)
{
	ASSERT_EQ(0, vmm_preserve_iommufd(&self->vmm, self->session));
	ASSERT_EQ(0, preserve_device(&self->vmm, self->session));
	EXPECT_EQ(-EBUSY, luo_session_preserve_fd(self->session,
						  self->vmm.dev.fd,
						  VMM_DEVICE_TOKEN + 1));
}

/* It is bound to the iommufd that is preserved, but nothing of it is. */
TEST_F(preserve_cdev, hwpt_not_preserved)
{
	char bdf[PCI_BDF_SIZE];
	struct vfio_pci other;

	if (pci_find(PCI_VENDOR_REDHAT, PCI_DEVICE_NVME, PCI_GROUP_SINGLE, bdf))
		SKIP(return missing(_metadata), "no NVMe controller");
	ASSERT_EQ(0, pci_bind(bdf, "vfio-pci"));
	ASSERT_EQ(0, vfio_pci_open(&other, bdf, self->vmm.iommufd));
	ASSERT_EQ(0, vmm_preserve_iommufd(&self->vmm, self->session));
	EXPECT_EQ(-EINVAL, luo_session_preserve_fd(self->session, other.fd,
						   VMM_DEVICE_TOKEN));
	close(self->session);

	ASSERT_EQ(0, vfio_pci_attach(&other, self->vmm.ioas));
	self->session = luo_create_session(self->luo, "preserve-cdev");
	ASSERT_EQ(0, vmm_preserve_iommufd(&self->vmm, self->session));
	EXPECT_EQ(-EINVAL, luo_session_preserve_fd(self->session, other.fd,
						   VMM_DEVICE_TOKEN));
	EXPECT_EQ(0, preserve_device(&self->vmm, self->session));
	close(other.fd);
}

/* There is no handler for what is not bound to an iommufd. */
TEST_F(preserve_cdev, not_bound)
{
	char bdf[PCI_BDF_SIZE];
	int fd;

	if (pci_find(PCI_VENDOR_REDHAT, PCI_DEVICE_NVME, PCI_GROUP_SINGLE, bdf))
		SKIP(return missing(_metadata), "no NVMe controller");
	ASSERT_EQ(0, pci_bind(bdf, "vfio-pci"));
	fd = vfio_pci_open_node(bdf);
	ASSERT_GE(fd, 0);
	EXPECT_EQ(-ENOENT, luo_session_preserve_fd(self->session, fd,
						   VMM_DEVICE_TOKEN));
	close(fd);
}

/* The next kernel would reset it on the way to D0. */
TEST_F(preserve_cdev, asleep)
{
	const struct vfio_device_feature sleep = {
		.argsz = sizeof(sleep),
		.flags = VFIO_DEVICE_FEATURE_SET |
			 VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY,
	};
	const struct vfio_device_feature wake_up = {
		.argsz = sizeof(wake_up),
		.flags = VFIO_DEVICE_FEATURE_SET |
			 VFIO_DEVICE_FEATURE_LOW_POWER_EXIT,
	};

	ASSERT_EQ(0, vmm_preserve_iommufd(&self->vmm, self->session));
	ASSERT_EQ(0, ioctl(self->vmm.dev.fd, VFIO_DEVICE_FEATURE, &sleep));
	EXPECT_EQ(-EBUSY, preserve_device(&self->vmm, self->session));
	ASSERT_EQ(0, ioctl(self->vmm.dev.fd, VFIO_DEVICE_FEATURE, &wake_up));
	EXPECT_EQ(0, preserve_device(&self->vmm, self->session));
}

TEST_F(preserve_cdev, cancel_and_again)
{
	for (int i = 0; i < 3; i++) {
		ASSERT_EQ(0, vmm_preserve(&self->vmm, self->session));
		EXPECT_TRUE(es1370_dma_arrives(self->vmm.guest));
		ASSERT_EQ(0, close(self->session));
		self->session = luo_create_session(self->luo, "preserve-cdev");
		ASSERT_GE(self->session, 0);
	}
}

/* Nobody would get the device back. */
TEST_F(preserve_cdev, kexec_without_it)
{
	int ret = kexec_image_load_kernel("");

	if (ret == -ENOENT)
		SKIP(return missing(_metadata), "no kernel to load");
	ASSERT_EQ(0, ret);
	ASSERT_EQ(0, vmm_preserve_iommufd(&self->vmm, self->session));
	EXPECT_EQ(-EINVAL, kexec_image_start());
	EXPECT_TRUE(es1370_dma_arrives(self->vmm.guest));
}

/*
 * A kexec that is called off when the first session, with two devices, has been
 * frozen, since the second one lacks its device.
 */
FIXTURE(called_off)
{
	int luo;
	int session;
	int incomplete;
	int eventfd;
	struct vmm vmm;
	struct vmm other;
};

FIXTURE_VARIANT(called_off)
{
	__u16 vendor, device, other_vendor, other_device;
};

FIXTURE_VARIANT_ADD(called_off, intx)
{
	.vendor = PCI_VENDOR_ENSONIQ,
	.device = PCI_DEVICE_ES1370,
	.other_vendor = PCI_VENDOR_REDHAT,
	.other_device = PCI_DEVICE_NVME,
};

FIXTURE_VARIANT_ADD(called_off, msix)
{
	.vendor = PCI_VENDOR_REDHAT,
	.device = PCI_DEVICE_NVME,
	.other_vendor = PCI_VENDOR_ENSONIQ,
	.other_device = PCI_DEVICE_ES1370,
};

FIXTURE_SETUP(called_off)
{
	char bdf[PCI_BDF_SIZE], other_bdf[PCI_BDF_SIZE];
	const char *reason = vmm_missing(bdf);
	int ret;

	if (reason)
		SKIP(return missing(_metadata), "%s", reason);
	if (pci_find(variant->vendor, variant->device, PCI_GROUP_SINGLE, bdf) ||
	    pci_find(variant->other_vendor, variant->other_device,
		     PCI_GROUP_SINGLE, other_bdf))
		SKIP(return missing(_metadata), "no ES1370 or no NVMe");
	self->luo = luo_open_device();
	if (self->luo < 0)
		SKIP(return missing(_metadata), "no " LUO_DEVICE);
	ret = kexec_image_load_kernel("");
	if (ret == -ENOENT)
		SKIP(return missing(_metadata), "no kernel to load");
	ASSERT_EQ(0, ret);
	ASSERT_EQ(0, vmm_create(&self->vmm, bdf));
	ASSERT_EQ(0, vmm_create(&self->other, other_bdf));
	self->eventfd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	ASSERT_GE(self->eventfd, 0);

	self->session = luo_create_session(self->luo, "called-off");
	self->incomplete = luo_create_session(self->luo, "incomplete");
	ASSERT_GE(self->incomplete, 0);
	ASSERT_EQ(0, vmm_preserve(&self->vmm, self->session));
	ASSERT_EQ(0, vmm_preserve_iommufd(&self->other, self->incomplete));
}

FIXTURE_TEARDOWN(called_off)
{
	close(self->incomplete);
	close(self->session);
	vmm_destroy(&self->other);
	vmm_destroy(&self->vmm);
	close(self->eventfd);
	close(self->luo);
	kexec_image_unload();
}

TEST_F(called_off, interrupts_arrive)
{
	const struct vfio_pci *dev = &self->vmm.dev;
	unsigned char *guest = self->vmm.guest;

	if (variant->device == PCI_DEVICE_ES1370) {
		ASSERT_EQ(0, vfio_irq_set(dev, VFIO_PCI_INTX_IRQ_INDEX, 0,
					  self->eventfd));
		ASSERT_EQ(0, es1370_start(dev, GUEST_IOVA));
		ASSERT_EQ(0, es1370_interrupt(dev));
		EXPECT_TRUE(vfio_irq_arrives(self->eventfd));
		/* Not recording with interrupts acknowledges this one. */
		ASSERT_EQ(0, es1370_start(dev, GUEST_IOVA));
		ASSERT_EQ(0, vfio_irq_unmask_intx(dev));

		ASSERT_EQ(-EINVAL, kexec_image_start());
		EXPECT_FALSE(vfio_irq_arrived(self->eventfd));
		for (int i = 0; i < 3; i++) {
			ASSERT_EQ(0, es1370_interrupt(dev));
			EXPECT_TRUE(vfio_irq_arrives(self->eventfd));
			ASSERT_EQ(0, es1370_start(dev, GUEST_IOVA));
			ASSERT_EQ(0, vfio_irq_unmask_intx(dev));
		}
		return;
	}

	ASSERT_EQ(0, vfio_irq_set(dev, VFIO_PCI_MSIX_IRQ_INDEX, 0,
				  self->eventfd));
	ASSERT_EQ(0, nvme_admin_start(dev, guest, GUEST_IOVA));
	ASSERT_EQ(0, nvme_admin_identify(dev, guest, GUEST_IOVA, 0));
	EXPECT_TRUE(vfio_irq_arrives(self->eventfd));

	ASSERT_EQ(-EINVAL, kexec_image_start());
	for (int i = 1; i < 4; i++) {
		ASSERT_EQ(0, nvme_admin_identify(dev, guest, GUEST_IOVA, i));
		EXPECT_TRUE(nvme_admin_completes(guest, i));
		EXPECT_TRUE(vfio_irq_arrives(self->eventfd));
	}
}

/* What was refused while the device was frozen no longer is. */
TEST_F(called_off, reset_and_interrupts_can_be_changed)
{
	const struct vfio_pci *dev = &self->vmm.dev;
	const __u32 index = variant->device == PCI_DEVICE_NVME ?
		VFIO_PCI_MSIX_IRQ_INDEX : VFIO_PCI_INTX_IRQ_INDEX;

	ASSERT_EQ(-EINVAL, kexec_image_start());
	EXPECT_EQ(0, vfio_irq_set(dev, index, 0, self->eventfd));
	EXPECT_EQ(0, vfio_irq_disable(dev, index));
	EXPECT_EQ(0, vfio_pci_enable_dma(dev));
	if (variant->device == PCI_DEVICE_NVME)
		EXPECT_EQ(0, ioctl(dev->fd, VFIO_DEVICE_RESET));
}

/* A thread that does what would unmask interrupts, over and over. */
struct unmasker {
	const struct vfio_pci *dev;
	atomic_bool stop;
	atomic_ulong refused;
	int error;
};

static void *unmask(void *arg)
{
	struct unmasker *unmasker = arg;
	const struct vfio_pci *dev = unmasker->dev;

	while (!unmasker->stop) {
		int unmasked = vfio_irq_unmask_intx(dev);
		int written = vfio_pci_enable_dma(dev);

		if (unmasked == -EBUSY || written == -EBUSY)
			unmasker->refused++;
		if (unmasked && unmasked != -EBUSY)
			unmasker->error = unmasked;
		if (written && written != -EBUSY)
			unmasker->error = written;
	}
	return NULL;
}

/* It is refused while the device is frozen, and at no other time. */
TEST_F_TIMEOUT(called_off, unmasking_is_refused_meanwhile, 120)
{
	const struct vfio_pci *dev = &self->vmm.dev;
	struct unmasker unmasker = { .dev = dev };
	pthread_t thread;

	if (variant->device != PCI_DEVICE_ES1370)
		return;
	ASSERT_EQ(0, vfio_irq_set(dev, VFIO_PCI_INTX_IRQ_INDEX, 0,
				  self->eventfd));
	ASSERT_EQ(0, es1370_start(dev, GUEST_IOVA));
	ASSERT_EQ(0, pthread_create(&thread, NULL, unmask, &unmasker));
	for (int i = 0; i < 1000 && !unmasker.refused; i++)
		EXPECT_EQ(-EINVAL, kexec_image_start());
	unmasker.stop = true;
	ASSERT_EQ(0, pthread_join(thread, NULL));
	EXPECT_GT(unmasker.refused, 0);
	EXPECT_EQ(0, unmasker.error);

	EXPECT_EQ(0, vfio_irq_unmask_intx(dev));
	ASSERT_EQ(0, es1370_interrupt(dev));
	EXPECT_TRUE(vfio_irq_arrives(self->eventfd));
}

TEST_HARNESS_MAIN

// SPDX-License-Identifier: GPL-2.0
/*
 * reboot(LINUX_REBOOT_CMD_KEXEC) that would lose what is preserved: refused,
 * after which this kernel goes on as if nobody had asked.
 *
 * A test that fails here may well start the image, which ends the run; the
 * messages of the image are the proof then.
 */
#include <libliveupdate.h>

#include "es1370.h"
#include "iommufd.h"
#include "kexec_image.h"
#include "pci.h"
#include "require.h"
#include "vmm.h"

FIXTURE(no_handover)
{
	int luo;
	int session;
	int memory;
};

FIXTURE_SETUP(no_handover)
{
	int ret = kexec_image_load_stub();

	if (ret == -EOPNOTSUPP)
		SKIP(return missing(_metadata), "no image for this machine");
	ASSERT_EQ(0, ret);
	self->luo = luo_open_device();
	if (self->luo < 0)
		SKIP(return missing(_metadata), "no " LUO_DEVICE);
	self->session = luo_create_session(self->luo, "no-handover");
	ASSERT_GE(self->session, 0);
	self->memory = guest_memory_create(GUEST_MEMORY_SEALS);
	ASSERT_GE(self->memory, 0);
}

FIXTURE_TEARDOWN(no_handover)
{
	close(self->session);
	close(self->memory);
	close(self->luo);
	kexec_image_unload();
}

/* An image of kexec_load(2) takes nothing over. */
TEST_F(no_handover, memfd)
{
	int second = guest_memory_create(GUEST_MEMORY_SEALS);

	ASSERT_GE(second, 0);
	ASSERT_EQ(0, luo_session_preserve_fd(self->session, self->memory,
					     VMM_MEMORY_TOKEN));
	EXPECT_EQ(-ENOEXEC, kexec_image_start());

	/* The session is neither frozen nor lost. */
	EXPECT_EQ(0, luo_session_preserve_fd(self->session, second,
					     VMM_MEMORY_TOKEN + 1));
	EXPECT_EQ(-ENOEXEC, kexec_image_start());
	ASSERT_EQ(0, close(self->session));

	self->session = luo_create_session(self->luo, "no-handover");
	ASSERT_GE(self->session, 0);
	EXPECT_EQ(0, luo_session_preserve_fd(self->session, self->memory,
					     VMM_MEMORY_TOKEN));
	close(second);
}

FIXTURE(preserved_device)
{
	int luo;
	int session;
	char bdf[PCI_BDF_SIZE];
	struct vmm vmm;
};

FIXTURE_SETUP(preserved_device)
{
	const char *reason = vmm_missing(self->bdf);

	if (reason)
		SKIP(return missing(_metadata), "%s", reason);
	self->luo = luo_open_device();
	if (self->luo < 0)
		SKIP(return missing(_metadata), "no " LUO_DEVICE);
	ASSERT_EQ(0, vmm_create(&self->vmm, self->bdf));
	ASSERT_EQ(0, es1370_start(&self->vmm.dev, GUEST_IOVA));
	self->session = luo_create_session(self->luo, "preserved-device");
	ASSERT_GE(self->session, 0);
	ASSERT_EQ(0, vmm_preserve(&self->vmm, self->session));
}

FIXTURE_TEARDOWN(preserved_device)
{
	close(self->session);
	vmm_destroy(&self->vmm);
	close(self->luo);
	kexec_image_unload();
}

TEST_F(preserved_device, no_handover)
{
	ASSERT_EQ(0, kexec_image_load_stub());
	EXPECT_EQ(-ENOEXEC, kexec_image_start());
	EXPECT_TRUE(es1370_dma_arrives(self->vmm.guest));
}

/* Preserve again, without the file of the device. */
static int preserve_without_file(int luo, int *session, const struct vmm *vmm)
{
	close(*session);
	*session = luo_create_session(luo, "preserved-device");
	return *session < 0 ? *session : vmm_preserve_iommufd(vmm, *session);
}

/* Nobody could get the device back. */
TEST_F(preserved_device, without_file)
{
	int ret = kexec_image_load_kernel("");

	if (ret == -ENOENT)
		SKIP(return missing(_metadata), "no kernel to load");
	ASSERT_EQ(0, ret);
	ASSERT_EQ(0, preserve_without_file(self->luo, &self->session,
					   &self->vmm));
	EXPECT_EQ(-EINVAL, kexec_image_start());
	EXPECT_TRUE(es1370_dma_arrives(self->vmm.guest));
}

/* The session holds a file that was preserved, so the device goes on. */
TEST_F(preserved_device, closed_but_preserved)
{
	ASSERT_EQ(0, close(self->vmm.dev.fd));
	EXPECT_TRUE(es1370_dma_arrives(self->vmm.guest));
	ASSERT_EQ(0, close(self->session));
	EXPECT_FALSE(es1370_dma_arrives(self->vmm.guest));
}

/*
 * Once its file is closed a device is detached and reset. What is preserved is
 * no longer what the hardware does.
 */
TEST_F(preserved_device, closed)
{
	const __u64 iova = GUEST_IOVA + GUEST_MEMORY_SIZE;
	int ret = kexec_image_load_kernel("");

	if (ret == -ENOENT)
		SKIP(return missing(_metadata), "no kernel to load");
	ASSERT_EQ(0, ret);
	ASSERT_EQ(0, preserve_without_file(self->luo, &self->session,
					   &self->vmm));
	ASSERT_EQ(0, close(self->vmm.dev.fd));
	EXPECT_EQ(-ENODEV, kexec_image_start());

	/* Preserved and frozen still, and refused again. */
	EXPECT_EQ(-EBUSY, ioas_map_file(self->vmm.iommufd, self->vmm.ioas,
					self->vmm.memory, GUEST_MEMORY_SIZE,
					iova));
	EXPECT_EQ(-ENODEV, kexec_image_start());
	ASSERT_EQ(0, close(self->session));

	/* Then all is as before. */
	EXPECT_EQ(0, ioas_map_file(self->vmm.iommufd, self->vmm.ioas,
				   self->vmm.memory, GUEST_MEMORY_SIZE, iova));
	ASSERT_EQ(0, vfio_pci_open(&self->vmm.dev, self->bdf,
				   self->vmm.iommufd));
	ASSERT_EQ(0, vfio_pci_attach(&self->vmm.dev, self->vmm.hwpt));
	ASSERT_EQ(0, es1370_start(&self->vmm.dev, GUEST_IOVA));
	EXPECT_TRUE(es1370_dma_arrives(self->vmm.guest));

	self->session = luo_create_session(self->luo, "preserved-device");
	ASSERT_GE(self->session, 0);
	EXPECT_EQ(0, vmm_preserve(&self->vmm, self->session));
	EXPECT_TRUE(es1370_dma_arrives(self->vmm.guest));
}

TEST_HARNESS_MAIN

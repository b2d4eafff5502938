// SPDX-License-Identifier: GPL-2.0
/*
 * LIVEUPDATE_SESSION_PRESERVE_FD of an iommufd: the devices that may be
 * attached to the marked HWPTs.
 *
 * QEMU has all the devices that the tests look for: two functions of an ES1370
 * in one slot share a group, virtio-rng-pci has ATS with ats=on behind an
 * intel-iommu with device-iotlb=on, and nvme has SR-IOV with sriov_max_vfs=1.
 */
#include <libliveupdate.h>

#include <linux/pci_regs.h>

#include "mock.h"
#include "pci.h"
#include "require.h"
#include "vmm.h"

#define ENABLE_SRIOV	"/sys/module/vfio_pci/parameters/enable_sriov"

FIXTURE(preserve_device)
{
	int luo;
	int session;
	char bdf[PCI_BDF_SIZE];
	struct vmm vmm;
};

FIXTURE_SETUP(preserve_device)
{
	const char *reason = hwpt_mark_missing();

	if (reason)
		SKIP(return missing(_metadata), "%s", reason);
	self->luo = luo_open_device();
	if (self->luo < 0)
		SKIP(return missing(_metadata), "no " LUO_DEVICE);
	self->session = luo_create_session(self->luo, "preserve-device");
	ASSERT_GE(self->session, 0);
}

/* The files of the VMM are closed by the exit that follows. */
FIXTURE_TEARDOWN(preserve_device)
{
	close(self->session);
	close(self->luo);
}

/* What every refusal below is compared with. */
TEST_F(preserve_device, single_function)
{
	const char *reason = vmm_missing(self->bdf);

	if (reason)
		SKIP(return missing(_metadata), "%s", reason);
	ASSERT_EQ(0, vmm_create(&self->vmm, self->bdf));
	EXPECT_EQ(0, vmm_preserve(&self->vmm, self->session));
}

/* A mock device next to it is refused as it would be alone. */
TEST_F(preserve_device, not_every_device_is_pci)
{
	const char *reason = vmm_missing(self->bdf);
	__u32 hwpt, ioas;
	struct mock mock;
	int ret;

	if (reason)
		SKIP(return missing(_metadata), "%s", reason);
	ASSERT_EQ(0, vmm_create(&self->vmm, self->bdf));
	ASSERT_EQ(0, ioas_alloc(self->vmm.iommufd, &ioas));
	ret = mock_create(self->vmm.iommufd, ioas, &mock);
	if (ret == -ENOTTY)
		SKIP(return missing(_metadata), "no mock devices");
	ASSERT_EQ(0, ret);
	ASSERT_EQ(0, hwpt_alloc(self->vmm.iommufd, mock.bound, ioas, 0,
				&hwpt));
	ASSERT_EQ(0, mock_attach(self->vmm.iommufd, &mock, hwpt));
	ASSERT_EQ(0, hwpt_mark(self->vmm.iommufd, hwpt, VMM_HWPT_TOKEN + 1));
	EXPECT_EQ(-ENODEV, vmm_preserve(&self->vmm, self->session));

	ASSERT_EQ(0, mock_attach(self->vmm.iommufd, &mock, ioas));
	ASSERT_EQ(0, iommufd_destroy(self->vmm.iommufd, hwpt));
	EXPECT_EQ(0, luo_session_preserve_fd(self->session, self->vmm.iommufd,
					     VMM_IOMMUFD_TOKEN));
}

TEST_F(preserve_device, shared_group)
{
	if (pci_find(PCI_VENDOR_ENSONIQ, PCI_DEVICE_ES1370, PCI_GROUP_SHARED,
		     self->bdf))
		SKIP(return missing(_metadata), "no ES1370 in a shared group");
	ASSERT_EQ(0, vmm_create(&self->vmm, self->bdf));
	EXPECT_EQ(-EOPNOTSUPP, vmm_preserve(&self->vmm, self->session));
}

TEST_F(preserve_device, ats)
{
	if (pci_find_ext_cap(PCI_EXT_CAP_ID_ATS, self->bdf))
		SKIP(return missing(_metadata), "no function with ATS");
	ASSERT_EQ(0, vmm_create(&self->vmm, self->bdf));
	EXPECT_EQ(-EOPNOTSUPP, vmm_preserve(&self->vmm, self->session));
}

TEST_F(preserve_device, virtual_function)
{
	char vf[PCI_BDF_SIZE];

	if (pci_find_sriov(self->bdf))
		SKIP(return missing(_metadata), "no function with SR-IOV");
	ASSERT_EQ(0, pci_bind(self->bdf, "nvme"));
	ASSERT_EQ(0, pci_set_numvfs(self->bdf, "1"));
	ASSERT_EQ(0, pci_find_vf(self->bdf, vf));
	ASSERT_EQ(0, vmm_create(&self->vmm, vf));
	EXPECT_EQ(-EOPNOTSUPP, vmm_preserve(&self->vmm, self->session));
	vmm_destroy(&self->vmm);
	EXPECT_EQ(0, pci_set_numvfs(self->bdf, "0"));
}

TEST_F(preserve_device, physical_function)
{
	if (pci_find_sriov(self->bdf))
		SKIP(return missing(_metadata), "no function with SR-IOV");
	ASSERT_EQ(0, sysfs_write(ENABLE_SRIOV, "1"));
	ASSERT_EQ(0, vmm_create(&self->vmm, self->bdf));
	ASSERT_EQ(0, pci_set_numvfs(self->bdf, "1"));
	EXPECT_EQ(-EOPNOTSUPP, vmm_preserve(&self->vmm, self->session));

	ASSERT_EQ(0, pci_set_numvfs(self->bdf, "0"));
	EXPECT_EQ(0, luo_session_preserve_fd(self->session, self->vmm.iommufd,
					     VMM_IOMMUFD_TOKEN));
}

TEST_HARNESS_MAIN

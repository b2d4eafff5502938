// SPDX-License-Identifier: GPL-2.0
/*
 * From LIVEUPDATE_SESSION_PRESERVE_FD of an iommufd until its session is
 * closed, what the device can reach does not change: every operation that would
 * change it answers EBUSY, and the device goes on. The same operation works
 * before and after.
 */
#include <libliveupdate.h>

#include "../kselftest_harness.h"

#include "es1370.h"
#include "iommufd.h"
#include "pci.h"
#include "require.h"
#include "vmm.h"

/* Mapped besides the memory at GUEST_IOVA, where the device records. */
#define EXTRA_IOVA	(GUEST_IOVA + GUEST_MEMORY_SIZE)
#define FREE_IOVA	(EXTRA_IOVA + GUEST_MEMORY_SIZE)

/*
 * A VMM with a second mapping and with an IOAS and a HWPT that are not marked.
 */
FIXTURE(frozen)
{
	int luo;
	int session;
	struct vmm vmm;
	__u32 other_ioas;
	__u32 other_hwpt;
};

static int map_user(const FIXTURE_DATA(frozen) *self)
{
	return ioas_map(self->vmm.iommufd, self->vmm.ioas, self->vmm.guest,
			GUEST_MEMORY_SIZE, FREE_IOVA);
}

static int map_file(const FIXTURE_DATA(frozen) *self)
{
	return ioas_map_file(self->vmm.iommufd, self->vmm.ioas,
			     self->vmm.memory, GUEST_MEMORY_SIZE, FREE_IOVA);
}

static int copy_into(const FIXTURE_DATA(frozen) *self)
{
	return ioas_copy(self->vmm.iommufd, self->vmm.ioas, FREE_IOVA,
			 self->other_ioas, GUEST_IOVA, GUEST_MEMORY_SIZE);
}

static int unmap_free(const FIXTURE_DATA(frozen) *self)
{
	return ioas_unmap(self->vmm.iommufd, self->vmm.ioas, FREE_IOVA,
			  GUEST_MEMORY_SIZE);
}

static int unmap_extra(const FIXTURE_DATA(frozen) *self)
{
	return ioas_unmap(self->vmm.iommufd, self->vmm.ioas, EXTRA_IOVA,
			  GUEST_MEMORY_SIZE);
}

static int map_extra(const FIXTURE_DATA(frozen) *self)
{
	return ioas_map_file(self->vmm.iommufd, self->vmm.ioas,
			     self->vmm.memory, GUEST_MEMORY_SIZE, EXTRA_IOVA);
}

static int unmap_all(const FIXTURE_DATA(frozen) *self)
{
	return ioas_unmap_all(self->vmm.iommufd, self->vmm.ioas);
}

static int map_all(const FIXTURE_DATA(frozen) *self)
{
	int ret = ioas_map_file(self->vmm.iommufd, self->vmm.ioas,
				self->vmm.memory, GUEST_MEMORY_SIZE,
				GUEST_IOVA);

	return ret ?: map_extra(self);
}

static int detach(const FIXTURE_DATA(frozen) *self)
{
	return vfio_pci_detach(&self->vmm.dev);
}

static int attach(const FIXTURE_DATA(frozen) *self)
{
	return vfio_pci_attach(&self->vmm.dev, self->vmm.hwpt);
}

static int replace_by_hwpt(const FIXTURE_DATA(frozen) *self)
{
	return vfio_pci_attach(&self->vmm.dev, self->other_hwpt);
}

static int replace_by_ioas(const FIXTURE_DATA(frozen) *self)
{
	return vfio_pci_attach(&self->vmm.dev, self->other_ioas);
}

static int mark_again(const FIXTURE_DATA(frozen) *self)
{
	return hwpt_mark(self->vmm.iommufd, self->vmm.hwpt,
			 VMM_HWPT_TOKEN + 1);
}

static int mark_back(const FIXTURE_DATA(frozen) *self)
{
	return hwpt_mark(self->vmm.iommufd, self->vmm.hwpt, VMM_HWPT_TOKEN);
}

FIXTURE_SETUP(frozen)
{
	char bdf[PCI_BDF_SIZE];
	int iommufd;

	iommufd = iommufd_open();
	REQUIRE(iommufd >= 0, "no " IOMMUFD_DEV);
	REQUIRE(hwpt_mark(iommufd, 0, 1) != -ENOTTY,
		"the kernel has no MARK_PRESERVE");
	close(iommufd);

	self->luo = luo_open_device();
	REQUIRE(self->luo >= 0, "no " LUO_DEVICE);
	REQUIRE(!pci_find(PCI_VENDOR_ENSONIQ, PCI_DEVICE_ES1370,
			  PCI_GROUP_SINGLE, bdf), "no ES1370");
	ASSERT_EQ(0, vmm_create(&self->vmm, bdf));
	ASSERT_EQ(0, map_extra(self));

	ASSERT_EQ(0, ioas_alloc(self->vmm.iommufd, &self->other_ioas));
	ASSERT_EQ(0, ioas_map_file(self->vmm.iommufd, self->other_ioas,
				   self->vmm.memory, GUEST_MEMORY_SIZE,
				   GUEST_IOVA));
	ASSERT_EQ(0, hwpt_alloc(self->vmm.iommufd, self->vmm.dev.id,
				self->other_ioas, 0, &self->other_hwpt));

	self->session = luo_create_session(self->luo, "frozen");
	ASSERT_GE(self->session, 0);
}

FIXTURE_TEARDOWN(frozen)
{
	close(self->session);
	vmm_destroy(&self->vmm);
	close(self->luo);
}

typedef int (*frozen_op)(const FIXTURE_DATA(frozen) *self);

/* @op is refused while preserved; @undo leads back to the state before it. */
static void check_frozen(struct __test_metadata *_metadata,
			 const FIXTURE_DATA(frozen) *self, frozen_op op,
			 frozen_op undo)
{
	ASSERT_EQ(0, op(self));
	ASSERT_EQ(0, undo(self));

	ASSERT_EQ(0, es1370_start(&self->vmm.dev, GUEST_IOVA));
	ASSERT_EQ(0, vmm_preserve(&self->vmm, self->session));
	EXPECT_EQ(-EBUSY, op(self));
	EXPECT_TRUE(es1370_dma_arrives(self->vmm.guest));

	ASSERT_EQ(0, close(self->session));
	EXPECT_TRUE(es1370_dma_arrives(self->vmm.guest));
	ASSERT_EQ(0, es1370_stop(&self->vmm.dev));
	EXPECT_EQ(0, op(self));
	EXPECT_EQ(0, undo(self));
}

TEST_F(frozen, map)
{
	check_frozen(_metadata, self, map_user, unmap_free);
}

TEST_F(frozen, map_file)
{
	check_frozen(_metadata, self, map_file, unmap_free);
}

TEST_F(frozen, copy_into)
{
	check_frozen(_metadata, self, copy_into, unmap_free);
}

TEST_F(frozen, unmap)
{
	check_frozen(_metadata, self, unmap_extra, map_extra);
}

TEST_F(frozen, unmap_all)
{
	check_frozen(_metadata, self, unmap_all, map_all);
}

TEST_F(frozen, detach)
{
	check_frozen(_metadata, self, detach, attach);
}

TEST_F(frozen, replace_by_hwpt)
{
	check_frozen(_metadata, self, replace_by_hwpt, attach);
}

TEST_F(frozen, replace_by_ioas)
{
	check_frozen(_metadata, self, replace_by_ioas, attach);
}

TEST_F(frozen, mark_preserve)
{
	check_frozen(_metadata, self, mark_again, mark_back);
}

/*
 * The kernel detaches a device whose file is closed, which takes away the
 * reason why its HWPT and IOAS could not be destroyed anyway.
 */
TEST_F(frozen, destroy)
{
	ASSERT_EQ(0, vmm_preserve(&self->vmm, self->session));
	ASSERT_EQ(0, iommufd_destroy(self->vmm.iommufd, self->other_hwpt));
	ASSERT_EQ(0, close(self->vmm.dev.fd));
	EXPECT_EQ(-EBUSY, iommufd_destroy(self->vmm.iommufd, self->vmm.hwpt));
	EXPECT_EQ(-EBUSY, iommufd_destroy(self->vmm.iommufd, self->vmm.ioas));

	ASSERT_EQ(0, close(self->session));
	EXPECT_EQ(0, iommufd_destroy(self->vmm.iommufd, self->vmm.hwpt));
	EXPECT_EQ(0, iommufd_destroy(self->vmm.iommufd, self->vmm.ioas));
}

/* What is not preserved stays as it was. */
TEST_F(frozen, other_ioas)
{
	ASSERT_EQ(0, vmm_preserve(&self->vmm, self->session));
	EXPECT_EQ(0, ioas_map_file(self->vmm.iommufd, self->other_ioas,
				   self->vmm.memory, GUEST_MEMORY_SIZE,
				   EXTRA_IOVA));
	EXPECT_EQ(0, ioas_copy(self->vmm.iommufd, self->other_ioas, FREE_IOVA,
			       self->vmm.ioas, GUEST_IOVA, GUEST_MEMORY_SIZE));
	EXPECT_EQ(0, ioas_unmap_all(self->vmm.iommufd, self->other_ioas));
	EXPECT_EQ(0, iommufd_destroy(self->vmm.iommufd, self->other_hwpt));
	EXPECT_EQ(0, iommufd_destroy(self->vmm.iommufd, self->other_ioas));
	EXPECT_EQ(-EBUSY, map_file(self));
}

TEST_HARNESS_MAIN

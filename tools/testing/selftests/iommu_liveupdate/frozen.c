// SPDX-License-Identifier: GPL-2.0
/*
 * From LIVEUPDATE_SESSION_PRESERVE_FD of an iommufd until its session is
 * closed, what the device can reach does not change: every operation that would
 * change it answers EBUSY, and the device goes on. The same operation works
 * before and after.
 */
#include <linux/vfio.h>

#include <libliveupdate.h>

#include "es1370.h"
#include "mock.h"
#include "pci.h"
#include "require.h"
#include "vmm.h"

/* Mapped besides the memory at GUEST_IOVA, where the device records. */
#define EXTRA_IOVA	(GUEST_IOVA + GUEST_MEMORY_SIZE)
#define FREE_IOVA	(EXTRA_IOVA + GUEST_MEMORY_SIZE)

/**
 * struct set_up - what the operations work on
 * @vmm:	maps its memory at EXTRA_IOVA too
 * @other_ioas:	of the same iommufd, maps the memory at GUEST_IOVA
 * @other_hwpt:	of @other_ioas, not marked
 */
struct set_up {
	struct vmm vmm;
	__u32 other_ioas;
	__u32 other_hwpt;
};

static int map_user(const struct set_up *s)
{
	return ioas_map(s->vmm.iommufd, s->vmm.ioas, s->vmm.guest,
			GUEST_MEMORY_SIZE, FREE_IOVA);
}

static int map_file(const struct set_up *s)
{
	return ioas_map_file(s->vmm.iommufd, s->vmm.ioas,
			     s->vmm.memory, GUEST_MEMORY_SIZE, FREE_IOVA);
}

/* The ioctls of a vfio container, which iommufd has too. */
static int vfio_map(const struct set_up *s)
{
	struct vfio_iommu_type1_dma_map arg = {
		.argsz = sizeof(arg),
		.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
		.vaddr = (uintptr_t)s->vmm.guest,
		.iova = FREE_IOVA,
		.size = GUEST_MEMORY_SIZE,
	};

	return iommufd_ioctl(s->vmm.iommufd, VFIO_IOMMU_MAP_DMA, &arg);
}

static int vfio_unmap(const struct set_up *s)
{
	struct vfio_iommu_type1_dma_unmap arg = {
		.argsz = sizeof(arg),
		.iova = EXTRA_IOVA,
		.size = GUEST_MEMORY_SIZE,
	};

	return iommufd_ioctl(s->vmm.iommufd, VFIO_IOMMU_UNMAP_DMA, &arg);
}

static int copy_into(const struct set_up *s)
{
	return ioas_copy(s->vmm.iommufd, s->vmm.ioas, FREE_IOVA,
			 s->other_ioas, GUEST_IOVA, GUEST_MEMORY_SIZE);
}

static int unmap_free(const struct set_up *s)
{
	return ioas_unmap(s->vmm.iommufd, s->vmm.ioas, FREE_IOVA,
			  GUEST_MEMORY_SIZE);
}

static int unmap_extra(const struct set_up *s)
{
	return ioas_unmap(s->vmm.iommufd, s->vmm.ioas, EXTRA_IOVA,
			  GUEST_MEMORY_SIZE);
}

static int map_extra(const struct set_up *s)
{
	return ioas_map_file(s->vmm.iommufd, s->vmm.ioas,
			     s->vmm.memory, GUEST_MEMORY_SIZE, EXTRA_IOVA);
}

static int unmap_all(const struct set_up *s)
{
	return ioas_unmap_all(s->vmm.iommufd, s->vmm.ioas);
}

static int map_all(const struct set_up *s)
{
	int ret = ioas_map_file(s->vmm.iommufd, s->vmm.ioas,
				s->vmm.memory, GUEST_MEMORY_SIZE,
				GUEST_IOVA);

	return ret ?: map_extra(s);
}

static int detach(const struct set_up *s)
{
	return vfio_pci_detach(&s->vmm.dev);
}

static int attach(const struct set_up *s)
{
	return vfio_pci_attach(&s->vmm.dev, s->vmm.hwpt);
}

static int replace_by_hwpt(const struct set_up *s)
{
	return vfio_pci_attach(&s->vmm.dev, s->other_hwpt);
}

static int replace_by_ioas(const struct set_up *s)
{
	return vfio_pci_attach(&s->vmm.dev, s->other_ioas);
}

static int mark_again(const struct set_up *s)
{
	return hwpt_mark(s->vmm.iommufd, s->vmm.hwpt,
			 VMM_HWPT_TOKEN + 1);
}

static int mark_back(const struct set_up *s)
{
	return hwpt_mark(s->vmm.iommufd, s->vmm.hwpt, VMM_HWPT_TOKEN);
}

FIXTURE(frozen)
{
	int luo;
	int session;
	struct set_up s;
};

FIXTURE_SETUP(frozen)
{
	char bdf[PCI_BDF_SIZE];
	const char *reason = vmm_missing(bdf);

	if (reason)
		SKIP(return missing(_metadata), "%s", reason);
	self->luo = luo_open_device();
	if (self->luo < 0)
		SKIP(return missing(_metadata), "no " LUO_DEVICE);
	ASSERT_EQ(0, vmm_create(&self->s.vmm, bdf));
	ASSERT_EQ(0, map_extra(&self->s));

	ASSERT_EQ(0, ioas_alloc(self->s.vmm.iommufd, &self->s.other_ioas));
	ASSERT_EQ(0, ioas_map_file(self->s.vmm.iommufd, self->s.other_ioas,
				   self->s.vmm.memory, GUEST_MEMORY_SIZE,
				   GUEST_IOVA));
	ASSERT_EQ(0, hwpt_alloc(self->s.vmm.iommufd, self->s.vmm.dev.id,
				self->s.other_ioas, 0, &self->s.other_hwpt));

	self->session = luo_create_session(self->luo, "frozen");
	ASSERT_GE(self->session, 0);
}

FIXTURE_TEARDOWN(frozen)
{
	close(self->session);
	vmm_destroy(&self->s.vmm);
	close(self->luo);
}

/* @op is refused while preserved; @undo leads back to the state before it. */
static void check_frozen(struct __test_metadata *_metadata, int session,
			 const struct set_up *s,
			 int (*op)(const struct set_up *s),
			 int (*undo)(const struct set_up *s))
{
	ASSERT_EQ(0, op(s));
	ASSERT_EQ(0, undo(s));

	ASSERT_EQ(0, es1370_start(&s->vmm.dev, GUEST_IOVA));
	ASSERT_EQ(0, vmm_preserve(&s->vmm, session));
	EXPECT_EQ(-EBUSY, op(s));
	EXPECT_TRUE(es1370_dma_arrives(s->vmm.guest));

	ASSERT_EQ(0, close(session));
	EXPECT_TRUE(es1370_dma_arrives(s->vmm.guest));
	ASSERT_EQ(0, es1370_stop(&s->vmm.dev));
	EXPECT_EQ(0, op(s));
	EXPECT_EQ(0, undo(s));
}

TEST_F(frozen, map)
{
	check_frozen(_metadata, self->session, &self->s, map_user, unmap_free);
}

TEST_F(frozen, map_file)
{
	check_frozen(_metadata, self->session, &self->s, map_file, unmap_free);
}

TEST_F(frozen, vfio_map)
{
	ASSERT_EQ(0, ioas_set_vfio(self->s.vmm.iommufd, self->s.vmm.ioas));
	check_frozen(_metadata, self->session, &self->s, vfio_map, unmap_free);
}

TEST_F(frozen, vfio_unmap)
{
	ASSERT_EQ(0, ioas_set_vfio(self->s.vmm.iommufd, self->s.vmm.ioas));
	check_frozen(_metadata, self->session, &self->s, vfio_unmap, map_extra);
}

TEST_F(frozen, copy_into)
{
	check_frozen(_metadata, self->session, &self->s, copy_into, unmap_free);
}

TEST_F(frozen, unmap)
{
	check_frozen(_metadata, self->session, &self->s, unmap_extra, map_extra);
}

TEST_F(frozen, unmap_all)
{
	check_frozen(_metadata, self->session, &self->s, unmap_all, map_all);
}

TEST_F(frozen, detach)
{
	check_frozen(_metadata, self->session, &self->s, detach, attach);
}

TEST_F(frozen, replace_by_hwpt)
{
	check_frozen(_metadata, self->session, &self->s, replace_by_hwpt, attach);
}

TEST_F(frozen, replace_by_ioas)
{
	check_frozen(_metadata, self->session, &self->s, replace_by_ioas, attach);
}

TEST_F(frozen, mark_preserve)
{
	check_frozen(_metadata, self->session, &self->s, mark_again, mark_back);
}

/* The same goes for every HWPT of the iommufd. */
TEST_F(frozen, mark_preserve_other)
{
	ASSERT_EQ(0, vmm_preserve(&self->s.vmm, self->session));
	EXPECT_EQ(-EBUSY, hwpt_mark(self->s.vmm.iommufd, self->s.other_hwpt,
				    VMM_HWPT_TOKEN + 1));

	ASSERT_EQ(0, close(self->session));
	EXPECT_EQ(0, hwpt_mark(self->s.vmm.iommufd, self->s.other_hwpt,
			       VMM_HWPT_TOKEN + 1));
}

/* A device that comes later can be attached to what is not preserved only. */
TEST_F(frozen, second_device)
{
	const struct vmm *vmm = &self->s.vmm;
	struct vfio_pci second;
	char bdf[PCI_BDF_SIZE];

	if (pci_find(PCI_VENDOR_REDHAT, PCI_DEVICE_NVME, PCI_GROUP_SINGLE, bdf))
		SKIP(return missing(_metadata),
		     "no NVMe controller alone in its IOMMU group");
	ASSERT_EQ(0, pci_bind_group(bdf, "vfio-pci"));
	ASSERT_EQ(0, vfio_pci_open(&second, bdf, vmm->iommufd));
	ASSERT_EQ(0, vfio_pci_attach(&second, vmm->hwpt));
	ASSERT_EQ(0, vfio_pci_detach(&second));

	ASSERT_EQ(0, vmm_preserve(vmm, self->session));
	EXPECT_EQ(-EBUSY, vfio_pci_attach(&second, vmm->hwpt));
	ASSERT_EQ(0, vfio_pci_attach(&second, self->s.other_hwpt));
	EXPECT_EQ(-EBUSY, vfio_pci_attach(&second, vmm->hwpt));
	ASSERT_EQ(0, vfio_pci_detach(&second));

	ASSERT_EQ(0, close(self->session));
	EXPECT_EQ(0, vfio_pci_attach(&second, vmm->hwpt));
	close(second.fd);
}

TEST_F(frozen, emulated_device)
{
	int access = mock_access_create(self->s.vmm.iommufd, self->s.vmm.ioas);

	if (access == -ENOTTY)
		SKIP(return missing(_metadata), "no mock devices");
	ASSERT_GE(access, 0);
	ASSERT_EQ(0, close(access));

	ASSERT_EQ(0, vmm_preserve(&self->s.vmm, self->session));
	EXPECT_EQ(-EBUSY, mock_access_create(self->s.vmm.iommufd,
					     self->s.vmm.ioas));

	ASSERT_EQ(0, close(self->session));
	access = mock_access_create(self->s.vmm.iommufd, self->s.vmm.ioas);
	EXPECT_GE(access, 0);
	close(access);
}

/*
 * The kernel detaches a device whose file is closed, which takes away the
 * reason why its HWPT and IOAS could not be destroyed anyway.
 */
TEST_F(frozen, destroy)
{
	ASSERT_EQ(0, vmm_preserve(&self->s.vmm, self->session));
	ASSERT_EQ(0, iommufd_destroy(self->s.vmm.iommufd, self->s.other_hwpt));
	ASSERT_EQ(0, close(self->s.vmm.dev.fd));
	EXPECT_EQ(-EBUSY, iommufd_destroy(self->s.vmm.iommufd, self->s.vmm.hwpt));
	EXPECT_EQ(-EBUSY, iommufd_destroy(self->s.vmm.iommufd, self->s.vmm.ioas));

	ASSERT_EQ(0, close(self->session));
	EXPECT_EQ(0, iommufd_destroy(self->s.vmm.iommufd, self->s.vmm.hwpt));
	EXPECT_EQ(0, iommufd_destroy(self->s.vmm.iommufd, self->s.vmm.ioas));
}

/* What is not preserved stays as it was. */
TEST_F(frozen, other_ioas)
{
	ASSERT_EQ(0, vmm_preserve(&self->s.vmm, self->session));
	EXPECT_EQ(0, ioas_map_file(self->s.vmm.iommufd, self->s.other_ioas,
				   self->s.vmm.memory, GUEST_MEMORY_SIZE,
				   EXTRA_IOVA));
	EXPECT_EQ(0, ioas_copy(self->s.vmm.iommufd, self->s.other_ioas, FREE_IOVA,
			       self->s.vmm.ioas, GUEST_IOVA, GUEST_MEMORY_SIZE));
	EXPECT_EQ(0, ioas_unmap_all(self->s.vmm.iommufd, self->s.other_ioas));
	EXPECT_EQ(0, iommufd_destroy(self->s.vmm.iommufd, self->s.other_hwpt));
	EXPECT_EQ(0, iommufd_destroy(self->s.vmm.iommufd, self->s.other_ioas));
	EXPECT_EQ(-EBUSY, map_file(&self->s));
}

TEST_HARNESS_MAIN

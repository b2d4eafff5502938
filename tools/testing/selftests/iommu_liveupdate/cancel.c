// SPDX-License-Identifier: GPL-2.0
/*
 * Closing the session before the kexec cancels the live update: nothing is
 * left behind, and the next one can begin.
 */
#include <libliveupdate.h>

#include "counters.h"
#include "es1370.h"
#include "iommufd.h"
#include "pci.h"
#include "require.h"
#include "vmm.h"

#define ROUNDS		1024

/* Less than one page for each round. The kernel frees areas of vmalloc late. */
#define MEMORY_NOISE_KB	(ROUNDS * 4 / 2)

FIXTURE(cancel)
{
	int luo;
	struct vmm vmm;
};

FIXTURE_SETUP(cancel)
{
	char bdf[PCI_BDF_SIZE];
	const char *reason = vmm_missing(bdf);

	if (reason)
		SKIP(return missing(_metadata), "%s", reason);
	self->luo = luo_open_device();
	if (self->luo < 0)
		SKIP(return missing(_metadata), "no " LUO_DEVICE);
	ASSERT_EQ(0, vmm_create(&self->vmm, bdf));
	ASSERT_EQ(0, es1370_start(&self->vmm.dev, GUEST_IOVA));
}

FIXTURE_TEARDOWN(cancel)
{
	vmm_destroy(&self->vmm);
	close(self->luo);
}

/* Preserve, and cancel by closing the session. */
static int preserve_and_cancel(int luo, const struct vmm *vmm)
{
	int session = luo_create_session(luo, "cancel");
	int ret;

	if (session < 0)
		return session;
	ret = vmm_preserve(vmm, session);
	close(session);
	return ret;
}

/* The control of every es1370_dma_arrives() here: it sees that DMA stops. */
TEST_F(cancel, dma_that_stops_is_seen)
{
	EXPECT_TRUE(es1370_dma_arrives(self->vmm.guest));
	ASSERT_EQ(0, es1370_stop(&self->vmm.dev));
	EXPECT_FALSE(es1370_dma_arrives(self->vmm.guest));
	ASSERT_EQ(0, es1370_start(&self->vmm.dev, GUEST_IOVA));
	EXPECT_TRUE(es1370_dma_arrives(self->vmm.guest));
}

TEST_F(cancel, preserve_again)
{
	for (int i = 0; i < 4; i++) {
		EXPECT_EQ(0, preserve_and_cancel(self->luo, &self->vmm));
		EXPECT_TRUE(es1370_dma_arrives(self->vmm.guest));
	}
}

/* Without a cancel the second attempt fails. */
TEST_F(cancel, preserve_twice)
{
	int session = luo_create_session(self->luo, "cancel-first");
	int second = luo_create_session(self->luo, "cancel-second");

	ASSERT_GE(session, 0);
	ASSERT_GE(second, 0);
	ASSERT_EQ(0, vmm_preserve(&self->vmm, session));
	EXPECT_EQ(-EBUSY, luo_session_preserve_fd(second, self->vmm.iommufd,
						  VMM_IOMMUFD_TOKEN));
	ASSERT_EQ(0, close(session));
	EXPECT_EQ(0, vmm_preserve(&self->vmm, second));
	ASSERT_EQ(0, close(second));
}

/* A process that dies cancels what it had begun. */
TEST_F(cancel, killed)
{
	int session = luo_create_session(self->luo, "cancel-killed");
	int status;
	pid_t pid;

	ASSERT_GE(session, 0);
	pid = fork();
	ASSERT_GE(pid, 0);
	if (!pid) {
		if (vmm_preserve(&self->vmm, session))
			_exit(1);
		raise(SIGKILL);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_TRUE(WIFSIGNALED(status));
	EXPECT_EQ(-EBUSY, hwpt_mark(self->vmm.iommufd, self->vmm.hwpt,
				    VMM_HWPT_TOKEN));

	ASSERT_EQ(0, close(session));
	EXPECT_EQ(0, hwpt_mark(self->vmm.iommufd, self->vmm.hwpt,
			       VMM_HWPT_TOKEN));
	EXPECT_EQ(0, preserve_and_cancel(self->luo, &self->vmm));
}

TEST_F_TIMEOUT(cancel, leaks_nothing, 120)
{
	struct counters before, after;
	long available;

	/* The first round may fill caches. */
	ASSERT_EQ(0, preserve_and_cancel(self->luo, &self->vmm));
	ASSERT_EQ(0, counters_read(&before));
	available = stat_read("/proc/meminfo", "MemAvailable:");
	ASSERT_GT(available, 0);

	for (int i = 0; i < ROUNDS; i++)
		ASSERT_EQ(0, preserve_and_cancel(self->luo, &self->vmm));

	ASSERT_EQ(0, counters_read(&after));
	EXPECT_EQ(before.iommu_pages, after.iommu_pages);
	EXPECT_EQ(before.secondary_pages, after.secondary_pages);
	EXPECT_EQ(before.domain_ids, after.domain_ids);
	EXPECT_GE(stat_read("/proc/meminfo", "MemAvailable:"),
		  available - MEMORY_NOISE_KB);
	EXPECT_TRUE(es1370_dma_arrives(self->vmm.guest));
}

TEST_HARNESS_MAIN

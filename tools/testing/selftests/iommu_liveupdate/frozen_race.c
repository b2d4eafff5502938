// SPDX-License-Identifier: GPL-2.0
/*
 * LIVEUPDATE_SESSION_PRESERVE_FD of an iommufd that other threads are changing:
 * what was looked at stays as it was. Of the operations that begin after it
 * returned and end before the session is closed, none succeeds.
 */
#include <pthread.h>
#include <stdatomic.h>

#include <libliveupdate.h>

#include "../kselftest_harness.h"

#include "iommufd.h"
#include "pci.h"
#include "require.h"
#include "vmm.h"

#define ROUNDS		200

#define MAP_IOVA	(GUEST_IOVA + GUEST_MEMORY_SIZE)
#define COPY_IOVA	(MAP_IOVA + GUEST_MEMORY_SIZE)
#define PROBE_IOVA	MAP_IOVA

/**
 * struct set_up - what the operations work on
 * @vmm:	as usual
 * @other_ioas:	of the same iommufd, maps the memory at GUEST_IOVA
 * @other_hwpt:	of @other_ioas, not marked
 */
struct set_up {
	struct vmm vmm;
	__u32 other_ioas;
	__u32 other_hwpt;
};

typedef int (*race_op)(const struct set_up *s);

static int map(const struct set_up *s)
{
	return ioas_map_file(s->vmm.iommufd, s->vmm.ioas,
			     s->vmm.memory, GUEST_MEMORY_SIZE, MAP_IOVA);
}

static int unmap(const struct set_up *s)
{
	return ioas_unmap(s->vmm.iommufd, s->vmm.ioas, MAP_IOVA,
			  GUEST_MEMORY_SIZE);
}

static int copy(const struct set_up *s)
{
	return ioas_copy(s->vmm.iommufd, s->vmm.ioas, COPY_IOVA,
			 s->other_ioas, GUEST_IOVA, GUEST_MEMORY_SIZE);
}

static int unmap_copy(const struct set_up *s)
{
	return ioas_unmap(s->vmm.iommufd, s->vmm.ioas, COPY_IOVA,
			  GUEST_MEMORY_SIZE);
}

static int detach(const struct set_up *s)
{
	return vfio_pci_detach(&s->vmm.dev);
}

static int attach(const struct set_up *s)
{
	return vfio_pci_attach(&s->vmm.dev, s->vmm.hwpt);
}

static int attach_other(const struct set_up *s)
{
	return vfio_pci_attach(&s->vmm.dev, s->other_hwpt);
}

static int mark_again(const struct set_up *s)
{
	return hwpt_mark(s->vmm.iommufd, s->vmm.hwpt, VMM_HWPT_TOKEN + 1);
}

static int mark_back(const struct set_up *s)
{
	return hwpt_mark(s->vmm.iommufd, s->vmm.hwpt, VMM_HWPT_TOKEN);
}

static bool is_mapped(const struct set_up *s, __u64 iova)
{
	if (ioas_copy(s->vmm.iommufd, s->other_ioas, PROBE_IOVA, s->vmm.ioas,
		      iova, GUEST_MEMORY_SIZE))
		return false;
	ioas_unmap(s->vmm.iommufd, s->other_ioas, PROBE_IOVA,
		   GUEST_MEMORY_SIZE);
	return true;
}

/**
 * struct worker - a thread that does two operations in turns
 * @set_up:	what it does them to
 * @ops:	the operations
 * @tries:	how many it has done
 * @changes:	how many of them succeeded while nothing was preserved
 * @wrong:	how many of them were not refused with EBUSY while preserved
 */
struct worker {
	const struct set_up *set_up;
	race_op ops[2];
	atomic_ulong tries;
	unsigned long changes;
	unsigned long wrong;
	pthread_t thread;
};

/* Odd from the end of PRESERVE_FD to the beginning of close(). */
static atomic_uint phase;
static atomic_bool stop;

static void *work(void *arg)
{
	struct worker *worker = arg;

	for (unsigned int i = 0; !stop; i = !i) {
		unsigned int before = phase;
		int ret = worker->ops[i](worker->set_up);
		unsigned int after = phase;

		if (before == after) {
			if (before % 2)
				worker->wrong += ret != -EBUSY;
			else
				worker->changes += !ret;
		}
		worker->tries++;
	}
	return NULL;
}

/* Wait until each of @workers has begun and ended an operation from now on. */
static void wait_for_all(const struct worker *workers, int count)
{
	for (int i = 0; i < count; i++) {
		unsigned long tries = workers[i].tries;

		while (workers[i].tries - tries < 2)
			usleep(100);
	}
}

FIXTURE(frozen_race)
{
	int luo;
	struct set_up s;
};

FIXTURE_SETUP(frozen_race)
{
	struct set_up *s = &self->s;
	char bdf[PCI_BDF_SIZE];
	const char *reason = vmm_missing(bdf);

	if (reason)
		SKIP(return missing(_metadata), "%s", reason);
	self->luo = luo_open_device();
	if (self->luo < 0)
		SKIP(return missing(_metadata), "no " LUO_DEVICE);
	ASSERT_EQ(0, vmm_create(&s->vmm, bdf));
	ASSERT_EQ(0, ioas_alloc(s->vmm.iommufd, &s->other_ioas));
	ASSERT_EQ(0, ioas_map_file(s->vmm.iommufd, s->other_ioas,
				   s->vmm.memory, GUEST_MEMORY_SIZE,
				   GUEST_IOVA));
	ASSERT_EQ(0, hwpt_alloc(s->vmm.iommufd, s->vmm.dev.id,
				s->other_ioas, 0, &s->other_hwpt));
}

FIXTURE_TEARDOWN(frozen_race)
{
	vmm_destroy(&self->s.vmm);
	close(self->luo);
}

/* Preserve and cancel until it went well ROUNDS times, against @workers. */
static void race(struct __test_metadata *_metadata, const struct set_up *s,
		 int luo, struct worker *workers, int count)
{
	int preserved = 0;

	for (int i = 0; i < count; i++) {
		workers[i].set_up = s;
		ASSERT_EQ(0, pthread_create(&workers[i].thread, NULL, work,
					    &workers[i]));
	}

	while (preserved < ROUNDS) {
		int session = luo_create_session(luo, "changing");
		int ret;

		ASSERT_GE(session, 0);
		ret = vmm_preserve(&s->vmm, session);
		if (!ret) {
			bool map_is_there, copy_is_there;

			phase++;
			map_is_there = is_mapped(s, MAP_IOVA);
			copy_is_there = is_mapped(s, COPY_IOVA);
			wait_for_all(workers, count);
			EXPECT_EQ(map_is_there, is_mapped(s, MAP_IOVA));
			EXPECT_EQ(copy_is_there, is_mapped(s, COPY_IOVA));
			phase++;
			preserved++;
		} else {
			/* A change under way, or no device at the moment. */
			ASSERT_TRUE(ret == -EBUSY || ret == -ENODATA)
				TH_LOG("preserve: %d", ret);
		}
		ASSERT_EQ(0, close(session));
		wait_for_all(workers, count);
	}

	stop = true;
	for (int i = 0; i < count; i++) {
		ASSERT_EQ(0, pthread_join(workers[i].thread, NULL));
		EXPECT_EQ(0, workers[i].wrong);
		EXPECT_LT(0, workers[i].changes);
	}
}

TEST_F_TIMEOUT(frozen_race, mappings, 120)
{
	struct worker workers[] = {
		{ .ops = { map, unmap } },
		{ .ops = { copy, unmap_copy } },
	};

	race(_metadata, &self->s, self->luo, workers, 2);
}

TEST_F_TIMEOUT(frozen_race, attachments, 120)
{
	struct worker workers[] = {
		{ .ops = { detach, attach } },
		{ .ops = { attach_other, attach } },
	};

	race(_metadata, &self->s, self->luo, workers, 2);
}

TEST_F_TIMEOUT(frozen_race, marks, 120)
{
	struct worker workers[] = {
		{ .ops = { mark_again, mark_back } },
		{ .ops = { map, unmap } },
	};

	race(_metadata, &self->s, self->luo, workers, 2);
}

TEST_HARNESS_MAIN

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Tests of what a VMM finds in the kernel after a live update.
 *
 * Stage 1 creates a VMM, lets an ES1370 record into the first page of its memory
 * and preserves everything. Then the kernel is replaced, and stage 2 is the test
 * proper.
 */
#ifndef SELFTESTS_IOMMU_LIVEUPDATE_LUO_VMM_H
#define SELFTESTS_IOMMU_LIVEUPDATE_LUO_VMM_H

#include "vmm.h"

/**
 * struct luo_vmm_test - a test
 * @session:	name of the session
 * @prepare:	called in stage 1 before the VMM is preserved in the session;
 *		may be NULL
 * @stage_2:	called in stage 2 with /dev/liveupdate and the function; has to
 *		plan and finish, as each source file counts its own results
 */
struct luo_vmm_test {
	const char *session;
	void (*prepare)(const struct vmm *vmm, int luo, int session);
	void (*stage_2)(int luo, const char *bdf);
};

int luo_vmm_main(int argc, char *argv[], const struct luo_vmm_test *test);

#endif /* SELFTESTS_IOMMU_LIVEUPDATE_LUO_VMM_H */

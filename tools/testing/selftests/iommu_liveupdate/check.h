/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Results of a test that is one story, in which every step needs the ones
 * before it.
 */
#ifndef SELFTESTS_IOMMU_LIVEUPDATE_CHECK_H
#define SELFTESTS_IOMMU_LIVEUPDATE_CHECK_H

#include <string.h>

#include "../kselftest.h"

/* Report whether @seen is what was @expected. */
static inline void check(long expected, long seen, const char *what)
{
	if (seen != expected)
		ksft_print_msg("%s: expected %ld, seen %ld\n", what, expected,
			       seen);
	ksft_test_result(seen == expected, "%s\n", what);
}

static inline int must(int ret, const char *what)
{
	if (ret < 0)
		ksft_exit_fail_msg("%s: %s\n", what, strerror(-ret));
	return ret;
}

/* End the test if @call returns a negative errno; otherwise its value. */
#define MUST(call) must(call, #call)

#endif /* SELFTESTS_IOMMU_LIVEUPDATE_CHECK_H */

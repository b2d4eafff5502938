/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What a test needs from the machine it runs on.
 */
#ifndef SELFTESTS_IOMMU_LIVEUPDATE_REQUIRE_H
#define SELFTESTS_IOMMU_LIVEUPDATE_REQUIRE_H

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* On a machine built for these tests nothing may be missing. */
static inline bool strict_mode(void)
{
	const char *strict = getenv("IOMMU_LIVEUPDATE_STRICT");

	return strict && !strcmp(strict, "1");
}

/*
 * Skip the test when @cond does not hold, or fail it in strict mode. For the
 * bodies of TEST_F() and FIXTURE_SETUP() of kselftest_harness.h.
 */
#define REQUIRE(cond, fmt, ...)						\
do {									\
	bool __met = (cond);						\
									\
	if (!__met && strict_mode())					\
		ASSERT_TRUE(__met)					\
			TH_LOG("missing: " fmt, ##__VA_ARGS__);		\
	if (!__met)							\
		SKIP(return, fmt, ##__VA_ARGS__);			\
} while (0)

#endif /* SELFTESTS_IOMMU_LIVEUPDATE_REQUIRE_H */

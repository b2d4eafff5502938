/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What becomes of a test that cannot run on this machine.
 */
#ifndef SELFTESTS_IOMMU_LIVEUPDATE_REQUIRE_H
#define SELFTESTS_IOMMU_LIVEUPDATE_REQUIRE_H

#include <stdlib.h>
#include <string.h>

#include "../kselftest_harness.h"

/*
 * For SKIP(return missing(_metadata), ...): a skipped test, or a failed one with
 * IOMMU_LIVEUPDATE_STRICT=1, for machines that were built for these tests.
 */
static inline void missing(struct __test_metadata *_metadata)
{
	const char *strict = getenv("IOMMU_LIVEUPDATE_STRICT");

	if (strict && !strcmp(strict, "1"))
		_metadata->exit_code = KSFT_FAIL;
}

#endif /* SELFTESTS_IOMMU_LIVEUPDATE_REQUIRE_H */

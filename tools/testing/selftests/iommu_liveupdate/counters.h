/* SPDX-License-Identifier: GPL-2.0 */
/*
 * How much of what a live update could leak is in use.
 */
#ifndef SELFTESTS_IOMMU_LIVEUPDATE_COUNTERS_H
#define SELFTESTS_IOMMU_LIVEUPDATE_COUNTERS_H

/* Return the value of @name in @path, lines of a name and a number, or -1. */
long stat_read(const char *path, const char *name);

/**
 * struct counters - what is in use
 * @iommu_pages:	pages for IOMMUs, of which page tables are a part, those that
 *			were handed over and are in use included
 * @secondary_pages:	the page tables among them
 * @domain_ids:		domain ids of all VT-d units
 * @total:		pages that the page allocator has, in use or not. One that
 *			was handed over counts from when it is given back.
 */
struct counters {
	long iommu_pages;
	long secondary_pages;
	long domain_ids;
	long total;
};

/*
 * Waits until nothing is left to be freed in the background. Returns 0 or a
 * negative errno.
 */
int counters_read(struct counters *counters);

#endif /* SELFTESTS_IOMMU_LIVEUPDATE_COUNTERS_H */

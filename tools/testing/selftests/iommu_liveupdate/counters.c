// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "counters.h"
#include "pci.h"

#define UNITS	"/sys/kernel/debug/iommu/liveupdate/units"
#define WORK	"/sys/kernel/debug/iommu/liveupdate/counters"

/* How long page tables may take to be freed, and how often to look. */
#define PATIENCE_S	20
#define INTERVAL_US	20000

long stat_read(const char *path, const char *name)
{
	FILE *file = fopen(path, "r");
	char key[64];
	long value, ret = -1;

	if (!file)
		return -1;
	while (ret < 0 && fscanf(file, "%63s %ld%*[^\n]", key, &value) == 2) {
		if (!strcmp(key, name))
			ret = value;
	}
	fclose(file);
	return ret;
}

static long domain_ids_read(void)
{
	FILE *file = fopen(UNITS, "r");
	long ids, sum = 0;

	if (!file)
		return -1;
	while (fscanf(file, "iommu %*s domain ids in use: %ld ", &ids) == 1)
		sum += ids;
	fclose(file);
	return sum;
}

/* Page tables of the previous kernel are freed in the background. */
static int wait_for_reclaim(void)
{
	for (int i = 0; i < PATIENCE_S * 1000000 / INTERVAL_US; i++) {
		long reclaims = stat_read(WORK, "reclaims");

		if (reclaims <= 0)
			return reclaims ? -ENOENT : 0;
		usleep(INTERVAL_US);
	}
	return -ETIMEDOUT;
}

int counters_read(struct counters *counters)
{
	int ret = wait_for_reclaim();
	long total_kb;

	if (ret)
		return ret;
	/* Each CPU has a part of the statistics. */
	ret = sysfs_write("/proc/sys/vm/stat_refresh", "1");
	if (ret)
		return ret;
	total_kb = stat_read("/proc/meminfo", "MemTotal:");
	counters->iommu_pages = stat_read("/proc/vmstat", "nr_iommu_pages");
	counters->secondary_pages =
		stat_read("/proc/vmstat", "nr_sec_page_table_pages");
	counters->domain_ids = domain_ids_read();
	counters->total = total_kb / (getpagesize() / 1024);
	return counters->iommu_pages > 0 && counters->secondary_pages > 0 &&
	       counters->domain_ids > 0 && total_kb > 0 ? 0 : -ENOENT;
}

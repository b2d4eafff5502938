/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A memfd each of whose pages says which one it is, mapped where the kernel
 * could put it into a huge page.
 */
#ifndef SELFTESTS_IOMMU_LIVEUPDATE_PATTERNED_MEMFD_H
#define SELFTESTS_IOMMU_LIVEUPDATE_PATTERNED_MEMFD_H

#include <errno.h>
#include <fcntl.h>
#include <linux/types.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#define PATTERNED_PAGE		4096UL
#define PATTERNED_PAGES		512UL
#define PATTERNED_SIZE		(PATTERNED_PAGES * PATTERNED_PAGE)

static inline __u64 patterned_word(__u64 seed, size_t word)
{
	return (seed << 32) ^ (word * 0x9e3779b97f4a7c15ULL);
}

/* Map @fd at a multiple of its size; return MAP_FAILED if that fails. */
static inline void *patterned_map(int fd)
{
	void *area, *aligned;

	area = mmap(NULL, 2 * PATTERNED_SIZE, PROT_NONE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (area == MAP_FAILED)
		return area;
	aligned = (void *)(((uintptr_t)area + PATTERNED_SIZE - 1) &
			   ~(PATTERNED_SIZE - 1));

	return mmap(aligned, PATTERNED_SIZE, PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_FIXED | MAP_POPULATE, fd, 0);
}

/* Return a memfd with the pattern of @seed, or a negative errno. */
static inline int patterned_create(__u64 seed)
{
	int fd = memfd_create("patterned", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	__u64 *words;

	if (fd < 0)
		return -errno;
	if (ftruncate(fd, PATTERNED_SIZE))
		goto err_close;
	words = mmap(NULL, PATTERNED_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
		     fd, 0);
	if (words == MAP_FAILED)
		goto err_close;
	for (size_t i = 0; i < PATTERNED_SIZE / sizeof(*words); i++)
		words[i] = patterned_word(seed, i);
	munmap(words, PATTERNED_SIZE);

	return fd;

err_close:
	close(fd);
	return -errno;
}

/* Return true if @fd has the size and the pattern of patterned_create(). */
static inline bool patterned_intact(int fd, __u64 seed)
{
	__u64 words[PATTERNED_PAGE / sizeof(__u64)];
	const size_t per_page = PATTERNED_PAGE / sizeof(*words);

	if (lseek(fd, 0, SEEK_END) != PATTERNED_SIZE)
		return false;
	for (size_t page = 0; page < PATTERNED_PAGES; page++) {
		if (pread(fd, words, sizeof(words), page * PATTERNED_PAGE) !=
		    sizeof(words))
			return false;
		for (size_t i = 0; i < per_page; i++) {
			if (words[i] != patterned_word(seed, page * per_page + i))
				return false;
		}
	}

	return true;
}

#endif /* SELFTESTS_IOMMU_LIVEUPDATE_PATTERNED_MEMFD_H */

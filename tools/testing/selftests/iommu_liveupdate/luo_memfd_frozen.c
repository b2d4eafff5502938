// SPDX-License-Identifier: GPL-2.0
/*
 * The memory of a retrieved memfd stays where it is until its session is
 * finished: the file cannot be changed in a way that gives memory up, and the
 * kernel does not move it on its own. A device may still be writing to it.
 *
 * Stage 1 preserves a memfd, then the kernel is replaced, and stage 2 retrieves
 * it. The controls are a memfd that nobody ever preserved, and the same one after
 * its session has been finished.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <unistd.h>

#include <libliveupdate.h>

#include "page_frames.h"
#include "patterned_memfd.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ	22
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE	25
#endif

#define STATE_SESSION	"luo-memfd-frozen-state"
#define STATE_TOKEN	999
#define TEST_SESSION	"luo-memfd-frozen"
#define TEST_TOKEN	0x1a
#define SEED		0x5eed
#define OTHER_SEED	0xface

/* Operations that change the size of a file or the memory it consists of. */
enum change {
	CHANGE_PUNCH_HOLE,
	CHANGE_ALLOCATE,
	CHANGE_GROW,
	CHANGE_APPEND,
	CHANGE_SHRINK,
	CHANGE_REMOVE,
	NR_CHANGES,
};

static const char * const change_names[NR_CHANGES] = {
	[CHANGE_PUNCH_HOLE] = "punching a hole",
	[CHANGE_ALLOCATE] = "fallocate",
	[CHANGE_GROW] = "growing",
	[CHANGE_APPEND] = "writing behind the end",
	[CHANGE_SHRINK] = "shrinking",
	[CHANGE_REMOVE] = "MADV_REMOVE",
};

static int errno_of(int ret)
{
	return ret < 0 ? -errno : 0;
}

/* Return 0 or a negative errno. @map is a mapping of @fd. */
static int make_change(int fd, char *map, enum change change)
{
	switch (change) {
	case CHANGE_PUNCH_HOLE:
		return errno_of(fallocate(fd, FALLOC_FL_PUNCH_HOLE |
					  FALLOC_FL_KEEP_SIZE, 0,
					  PATTERNED_PAGE));
	case CHANGE_ALLOCATE:
		return errno_of(fallocate(fd, 0, 0, PATTERNED_SIZE));
	case CHANGE_GROW:
		return errno_of(ftruncate(fd, PATTERNED_SIZE + PATTERNED_PAGE));
	case CHANGE_APPEND:
		return errno_of(pwrite(fd, "x", 1,
				       PATTERNED_SIZE + PATTERNED_PAGE));
	case CHANGE_SHRINK:
		return errno_of(ftruncate(fd, PATTERNED_SIZE / 2));
	case CHANGE_REMOVE:
		return errno_of(madvise(map + PATTERNED_PAGE, PATTERNED_PAGE,
					MADV_REMOVE));
	default:
		return -EINVAL;
	}
}

/* Make the kernel compact memory. */
static void compact_all_zones(void)
{
	int fd = open("/proc/sys/vm/compact_memory", O_WRONLY);

	if (fd < 0 || write(fd, "1", 1) != 1)
		fail_exit("/proc/sys/vm/compact_memory");
	close(fd);
}

/* Return how many pages of @map are not in @frames, 0 if all are. */
static size_t moved_pages(char *map, const __u64 *frames)
{
	__u64 now[PATTERNED_PAGES];
	size_t moved = 0;

	/* Map what is not mapped any more, wherever it is. */
	if (madvise(map, PATTERNED_SIZE, MADV_POPULATE_READ))
		fail_exit("MADV_POPULATE_READ");
	if (page_frames(map, PATTERNED_PAGES, now))
		fail_exit("page_frames");
	for (size_t i = 0; i < PATTERNED_PAGES; i++)
		moved += now[i] != frames[i];

	return moved;
}

static char *map_and_locate(int fd, __u64 *frames)
{
	char *map = patterned_map(fd);

	if (map == MAP_FAILED)
		fail_exit("mmap");
	if (page_frames(map, PATTERNED_PAGES, frames))
		fail_exit("page_frames");

	return map;
}

static void run_stage_1(int luo_fd)
{
	int session, fd;

	ksft_print_header();
	ksft_set_plan(1);
	fd = patterned_create(SEED);
	if (fd < 0)
		fail_exit("patterned_create");
	create_state_file(luo_fd, STATE_SESSION, STATE_TOKEN, 2);
	session = luo_create_session(luo_fd, TEST_SESSION);
	if (session < 0)
		fail_exit("luo_create_session");
	if (luo_session_preserve_fd(session, fd, TEST_TOKEN))
		fail_exit("luo_session_preserve_fd");
	ksft_test_result_pass("preserved a memfd\n");
	fflush(stdout);

	close(luo_fd);
	daemonize_and_wait();
}

static void check_movement(int fd)
{
	__u64 frames[PATTERNED_PAGES], control_frames[PATTERNED_PAGES];
	char *map, *control_map;
	int control, ret;

	control = patterned_create(OTHER_SEED);
	if (control < 0)
		fail_exit("patterned_create");
	control_map = map_and_locate(control, control_frames);
	map = map_and_locate(fd, frames);

	compact_all_zones();
	madvise(map, PATTERNED_SIZE, MADV_COLD);
	madvise(map, PATTERNED_SIZE, MADV_PAGEOUT);
	ksft_test_result(!moved_pages(map, frames),
			 "compaction and reclaim leave the memory alone\n");

	ret = errno_of(madvise(map, PATTERNED_SIZE, MADV_COLLAPSE));
	ksft_test_result(ret && !moved_pages(map, frames),
			 "it is not collapsed into a huge page (%s)\n",
			 strerror(-ret));
	ret = errno_of(madvise(control_map, PATTERNED_SIZE, MADV_COLLAPSE));
	ksft_test_result(!ret && moved_pages(control_map, control_frames),
			 "other memory is collapsed and so moved\n");

	munmap(map, PATTERNED_SIZE);
	munmap(control_map, PATTERNED_SIZE);
	close(control);
}

static void check_changes(int fd, const char *what, int expected)
{
	char *map = patterned_map(fd);

	if (map == MAP_FAILED)
		fail_exit("mmap");
	for (enum change change = 0; change < NR_CHANGES; change++) {
		int ret = make_change(fd, map, change);

		ksft_test_result(ret == expected, "%s: %s: %s\n", what,
				 change_names[change], strerror(-ret));
	}
	munmap(map, PATTERNED_SIZE);
}

static void run_stage_2(int luo_fd, int state_session)
{
	int session, fd, control;
	char *map;

	ksft_print_header();
	ksft_set_plan(3 * NR_CHANGES + 10);

	session = luo_retrieve_session(luo_fd, TEST_SESSION);
	if (session < 0)
		fail_exit("luo_retrieve_session");
	fd = luo_session_retrieve_fd(session, TEST_TOKEN);
	if (fd < 0)
		fail_exit("luo_session_retrieve_fd");
	ksft_test_result(patterned_intact(fd, SEED), "the memfd is back\n");

	check_movement(fd);
	check_changes(fd, "unfinished", -EPERM);
	ksft_test_result(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE) &&
			 errno == EBUSY, "unfinished: no seal against writing\n");
	ksft_test_result(patterned_intact(fd, SEED),
			 "the memfd is as it was\n");
	control = patterned_create(OTHER_SEED);
	if (control < 0)
		fail_exit("patterned_create");
	check_changes(control, "never preserved", 0);

	/* The memfd is otherwise as usable as any. */
	map = patterned_map(fd);
	if (map == MAP_FAILED)
		fail_exit("mmap");
	map[0] ^= 1;
	ksft_test_result(!patterned_intact(fd, SEED),
			 "it can be written through a mapping\n");
	map[0] ^= 1;
	munmap(map, PATTERNED_SIZE);
	ksft_test_result(pwrite(fd, &(__u64){ patterned_word(SEED, 1) },
				sizeof(__u64), sizeof(__u64)) ==
			 sizeof(__u64) && patterned_intact(fd, SEED),
			 "it can be written\n");

	if (luo_session_finish(session))
		fail_exit("luo_session_finish");
	ksft_test_result(patterned_intact(fd, SEED),
			 "finishing does not change it\n");
	check_changes(fd, "finished", 0);
	/* This one fails while anybody else has a reference to a page. */
	ksft_test_result(!fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE),
			 "finished: sealed against writing\n");

	close(state_session);
	ksft_finished();
}

int main(int argc, char *argv[])
{
	return luo_test(argc, argv, STATE_SESSION, run_stage_1, run_stage_2);
}

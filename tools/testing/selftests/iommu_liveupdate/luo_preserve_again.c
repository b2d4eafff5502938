// SPDX-License-Identifier: GPL-2.0
/*
 * A retrieved memfd can be preserved again before its session is finished. The
 * two sessions hold it independently: either can end first, and the memfd is
 * frozen until both have.
 *
 * Needs three kernels. Stage 1 preserves memfds in a session each. Stage 2 runs
 * in the second and in the third kernel: in the second, it preserves them again
 * in different ways, in the third, it looks at what has arrived.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <unistd.h>

#include <libliveupdate.h>

#include "patterned_memfd.h"

#define STATE_SESSION	"luo-preserve-again-state"
#define STATE_TOKEN	999
#define OTHER_SESSION	"luo-preserve-again-other"
#define TEST_TOKEN	0x1a
/* What the second kernel writes, and where. */
#define MARK		0x6d61726bULL
#define MARK_POS	(PATTERNED_SIZE - sizeof(__u64))

/* What happens to the memfds in the second kernel. */
enum way {
	/* Preserved again, finished, and then the preservation is cancelled. */
	WAY_CANCELLED,
	/* Preserved again and finished. */
	WAY_FINISHED,
	/* Preserved again, and its session is never finished. */
	WAY_UNFINISHED,
	NR_WAYS,
};

static const char * const sessions[NR_WAYS] = {
	[WAY_CANCELLED] = "luo-preserve-again-cancelled",
	[WAY_FINISHED] = "luo-preserve-again-finished",
	[WAY_UNFINISHED] = "luo-preserve-again-unfinished",
};

static int punch_hole(int fd)
{
	if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
		      PATTERNED_PAGE))
		return -errno;

	return 0;
}

static int create_session(int luo_fd, const char *name)
{
	int session = luo_create_session(luo_fd, name);

	if (session < 0)
		fail_exit("luo_create_session %s", name);

	return session;
}

static int retrieve(int luo_fd, enum way way, int *session)
{
	int fd;

	*session = luo_retrieve_session(luo_fd, sessions[way]);
	if (*session < 0)
		fail_exit("luo_retrieve_session %s", sessions[way]);
	fd = luo_session_retrieve_fd(*session, TEST_TOKEN);
	if (fd < 0)
		fail_exit("luo_session_retrieve_fd %s", sessions[way]);

	return fd;
}

static void run_stage_1(int luo_fd)
{
	ksft_print_header();
	ksft_set_plan(1);
	create_state_file(luo_fd, STATE_SESSION, STATE_TOKEN, 2);
	for (enum way way = 0; way < NR_WAYS; way++) {
		int fd = patterned_create(way);

		if (fd < 0)
			fail_exit("patterned_create");
		if (luo_session_preserve_fd(create_session(luo_fd, sessions[way]),
					    fd, TEST_TOKEN))
			fail_exit("luo_session_preserve_fd");
	}
	ksft_test_result_pass("preserved memfds\n");
	fflush(stdout);

	close(luo_fd);
	daemonize_and_wait();
}

static void preserve_and_cancel(int luo_fd, int fd)
{
	int session = create_session(luo_fd, OTHER_SESSION);
	int another = create_session(luo_fd, "luo-preserve-again-another");

	ksft_test_result(!luo_session_preserve_fd(session, fd, TEST_TOKEN),
			 "an unfinished memfd can be preserved\n");
	ksft_test_result(luo_session_preserve_fd(another, fd, TEST_TOKEN) ==
			 -EBUSY, "it cannot be preserved twice\n");
	close(session);
	close(another);
	ksft_test_result(punch_hole(fd) == -EPERM,
			 "after this was cancelled, it is still frozen\n");
}

static void run_second_kernel(int luo_fd, int state_session)
{
	const __u64 mark = MARK;
	int incoming, outgoing, fd;

	ksft_print_header();
	ksft_set_plan(14);

	fd = retrieve(luo_fd, WAY_CANCELLED, &incoming);
	preserve_and_cancel(luo_fd, fd);
	outgoing = create_session(luo_fd, OTHER_SESSION);
	ksft_test_result(!luo_session_preserve_fd(outgoing, fd, TEST_TOKEN),
			 "it can be preserved again\n");
	ksft_test_result(!luo_session_finish(incoming),
			 "its session can be finished\n");
	ksft_test_result(punch_hole(fd) == -EPERM,
			 "finished but preserved, it is still frozen\n");
	ksft_test_result(patterned_intact(fd, WAY_CANCELLED),
			 "and as it was\n");
	close(outgoing);
	ksft_test_result(!punch_hole(fd), "now it is not frozen\n");
	/* This one fails while anybody else has a reference to a page. */
	ksft_test_result(!fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE),
			 "and nobody has references to its memory\n");

	fd = retrieve(luo_fd, WAY_FINISHED, &incoming);
	outgoing = create_session(luo_fd, sessions[WAY_FINISHED]);
	ksft_test_result(!luo_session_preserve_fd(outgoing, fd, TEST_TOKEN),
			 "another one can be preserved\n");
	ksft_test_result(!luo_session_finish(incoming),
			 "and its session be finished\n");

	fd = retrieve(luo_fd, WAY_UNFINISHED, &incoming);
	preserve_and_cancel(luo_fd, fd);
	outgoing = create_session(luo_fd, sessions[WAY_UNFINISHED]);
	if (luo_session_preserve_fd(outgoing, fd, TEST_TOKEN))
		fail_exit("luo_session_preserve_fd");
	if (pwrite(fd, &mark, sizeof(mark), MARK_POS) != sizeof(mark))
		fail_exit("pwrite");

	close(state_session);
	create_state_file(luo_fd, STATE_SESSION, STATE_TOKEN, 3);
	fflush(stdout);
	ksft_print_cnts();
	if (ksft_get_fail_cnt())
		exit(KSFT_FAIL);

	close(luo_fd);
	daemonize_and_wait();
}

static void run_third_kernel(int luo_fd, int state_session)
{
	const __u64 word = patterned_word(WAY_UNFINISHED,
					     MARK_POS / sizeof(word));
	__u64 mark;
	int session, fd;

	ksft_print_header();
	ksft_set_plan(6);

	ksft_test_result(luo_retrieve_session(luo_fd, sessions[WAY_CANCELLED]) ==
			 -ENOENT, "what was cancelled did not arrive\n");

	fd = retrieve(luo_fd, WAY_FINISHED, &session);
	ksft_test_result(patterned_intact(fd, WAY_FINISHED),
			 "what was preserved twice arrived\n");
	close(session);

	fd = retrieve(luo_fd, WAY_UNFINISHED, &session);
	ksft_test_result(pread(fd, &mark, sizeof(mark), MARK_POS) ==
			 sizeof(mark) && mark == MARK,
			 "with what was written in between\n");
	ksft_test_result(pwrite(fd, &word, sizeof(word), MARK_POS) ==
			 sizeof(word) && patterned_intact(fd, WAY_UNFINISHED),
			 "and all else as it was\n");
	if (luo_session_finish(session))
		fail_exit("luo_session_finish");
	ksft_test_result(!punch_hole(fd), "it is not frozen any more\n");
	ksft_test_result(!fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE),
			 "and nobody has references to its memory\n");

	close(state_session);
	ksft_finished();
}

static void run_stage_2(int luo_fd, int state_session)
{
	int stage;

	restore_and_read_stage(state_session, STATE_TOKEN, &stage);
	if (stage == 2)
		run_second_kernel(luo_fd, state_session);
	else
		run_third_kernel(luo_fd, state_session);
}

int main(int argc, char *argv[])
{
	return luo_test(argc, argv, STATE_SESSION, run_stage_1, run_stage_2);
}

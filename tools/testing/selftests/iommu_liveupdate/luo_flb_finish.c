// SPDX-License-Identifier: GPL-2.0
/*
 * An FLB that nobody has asked for when its last file is finished must be
 * finished all the same.
 *
 * CONFIG_LIVEUPDATE_TEST adds three FLBs to every file handler and asks for all
 * but the last at boot. Stage 1 preserves files, then the kernel is replaced,
 * and stage 2 finishes them and reads in the kernel log what became of the FLBs.
 */
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include <libliveupdate.h>

#define STATE_SESSION	"luo-flb-finish-state"
#define STATE_TOKEN	999
#define TEST_SESSION	"luo-flb-finish"
#define TEST_TOKEN	0x1a
#define TEST_DATA	"luo_flb_finish"

#define NR_FLBS		3

static void run_stage_1(int luo_fd)
{
	int session;

	ksft_print_header();
	ksft_set_plan(1);
	create_state_file(luo_fd, STATE_SESSION, STATE_TOKEN, 2);
	session = luo_create_session(luo_fd, TEST_SESSION);
	if (session < 0)
		fail_exit("luo_create_session");
	if (create_and_preserve_memfd(session, TEST_TOKEN, TEST_DATA) < 0)
		fail_exit("create_and_preserve_memfd");
	ksft_test_result_pass("preserved a memfd\n");
	fflush(stdout);

	close(luo_fd);
	daemonize_and_wait();
}

/* What the kernel log says from a moment on. */
struct log {
	bool finished[NR_FLBS];
	bool test_error;
	bool refcount_warning;
};

static void read_log(int kmsg, struct log *log)
{
	char record[1024], finish[64];
	ssize_t len;

	while ((len = read(kmsg, record, sizeof(record) - 1)) > 0) {
		record[len] = '\0';
		for (int i = 0; i < NR_FLBS; i++) {
			snprintf(finish, sizeof(finish),
				 "liveupdate-test-flb-v%d: finish was triggered",
				 i);
			log->finished[i] |= !!strstr(record, finish);
		}
		log->test_error |= strstr(record, "liveupdate-test-flb") &&
				   strstr(record, "ERROR");
		log->refcount_warning |= !!strstr(record, "refcount_t:");
	}
}

static void run_stage_2(int luo_fd, int state_session)
{
	struct log log = {};
	int session, kmsg;

	ksft_print_header();
	ksft_set_plan(NR_FLBS + 2);

	session = luo_retrieve_session(luo_fd, TEST_SESSION);
	if (session < 0)
		fail_exit("luo_retrieve_session");
	if (restore_and_verify_memfd(session, TEST_TOKEN, TEST_DATA) < 0)
		fail_exit("restore_and_verify_memfd");

	kmsg = open("/dev/kmsg", O_RDONLY | O_NONBLOCK);
	if (kmsg < 0 || lseek(kmsg, 0, SEEK_END) < 0)
		fail_exit("/dev/kmsg");
	if (luo_session_finish(session) || luo_session_finish(state_session))
		fail_exit("luo_session_finish");
	read_log(kmsg, &log);

	for (int i = 0; i < NR_FLBS; i++)
		ksft_test_result(log.finished[i], "FLB %d is finished\n", i);
	ksft_test_result(!log.test_error, "every FLB has its own data\n");
	ksft_test_result(!log.refcount_warning, "no reference is dropped twice\n");
	ksft_finished();
}

int main(int argc, char *argv[])
{
	return luo_test(argc, argv, STATE_SESSION, run_stage_1, run_stage_2);
}

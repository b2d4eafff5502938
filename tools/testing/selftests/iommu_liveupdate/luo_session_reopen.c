// SPDX-License-Identifier: GPL-2.0
/*
 * A session that cannot finish yet outlives the file it was retrieved as: after
 * that file is closed the session can be retrieved again.
 *
 * Stage 1 preserves an iommufd with a device, then the kernel is replaced, and
 * in stage 2 the device is attached to its restored domain, for which reason
 * the session cannot finish.
 */
#include <unistd.h>

#include <libliveupdate.h>

#include "pci.h"
#include "vmm.h"

#define STATE_SESSION	"luo-session-reopen-state"
#define STATE_TOKEN	999
#define TEST_SESSION	"luo-session-reopen"

static void run_stage_1(int luo_fd)
{
	char bdf[PCI_BDF_SIZE];
	struct vmm vmm;
	int session, ret;

	ksft_print_header();
	ksft_set_plan(1);
	if (pci_find(PCI_VENDOR_ENSONIQ, PCI_DEVICE_ES1370, PCI_GROUP_SINGLE,
		     bdf))
		ksft_exit_skip("no ES1370\n");
	ret = vmm_create(&vmm, bdf);
	if (ret == -ENOTTY)
		ksft_exit_skip("the kernel has no MARK_PRESERVE\n");
	if (ret)
		ksft_exit_fail_msg("vmm_create: %s\n", strerror(-ret));

	create_state_file(luo_fd, STATE_SESSION, STATE_TOKEN, 2);
	session = luo_create_session(luo_fd, TEST_SESSION);
	if (session < 0)
		fail_exit("luo_create_session");
	ret = vmm_preserve(&vmm, session);
	if (ret)
		ksft_exit_fail_msg("vmm_preserve: %s\n", strerror(-ret));
	ksft_test_result_pass("preserved an iommufd\n");
	fflush(stdout);

	close(luo_fd);
	daemonize_and_wait();
}

static void run_stage_2(int luo_fd, int state_session)
{
	int session;

	ksft_print_header();
	ksft_set_plan(5);

	session = luo_retrieve_session(luo_fd, TEST_SESSION);
	if (session < 0)
		fail_exit("luo_retrieve_session");
	ksft_test_result(luo_session_finish(session) == -EBUSY,
			 "a session with an attached device cannot finish\n");
	close(session);

	session = luo_retrieve_session(luo_fd, TEST_SESSION);
	ksft_test_result(session >= 0, "it can be retrieved again\n");
	ksft_test_result(luo_session_finish(session) == -EBUSY,
			 "it still cannot finish\n");
	ksft_test_result(luo_retrieve_session(luo_fd, TEST_SESSION) == -EINVAL,
			 "it cannot be retrieved twice at a time\n");
	close(session);

	/* The control: a session that can finish is gone once it is closed. */
	close(state_session);
	ksft_test_result(luo_retrieve_session(luo_fd, STATE_SESSION) == -ENOENT,
			 "a finished session is gone\n");
	ksft_finished();
}

int main(int argc, char *argv[])
{
	return luo_test(argc, argv, STATE_SESSION, run_stage_1, run_stage_2);
}

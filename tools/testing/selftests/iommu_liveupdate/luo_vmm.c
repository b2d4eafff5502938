// SPDX-License-Identifier: GPL-2.0
#include <stdlib.h>

#include <libliveupdate.h>

#include "check.h"
#include "es1370.h"
#include "luo_vmm.h"
#include "pci.h"

#define STATE_TOKEN	999

/* luo_test() passes nothing on to the stages. */
static const struct luo_vmm_test *test;
static char state_session_name[LIVEUPDATE_SESSION_NAME_LENGTH];

static void skip(const char *reason)
{
	const char *strict = getenv("IOMMU_LIVEUPDATE_STRICT");

	if (strict && !strcmp(strict, "1"))
		ksft_exit_fail_msg("%s\n", reason);
	ksft_exit_skip("%s\n", reason);
}

static void stage_1(int luo)
{
	char bdf[PCI_BDF_SIZE];
	const char *reason = vmm_missing(bdf);
	struct vmm vmm;
	int session;

	ksft_print_header();
	ksft_set_plan(1);
	if (reason)
		skip(reason);
	MUST(vmm_create(&vmm, bdf));
	MUST(es1370_start(&vmm.dev, GUEST_IOVA));

	create_state_file(luo, state_session_name, STATE_TOKEN, 2);
	session = MUST(luo_create_session(luo, test->session));
	if (test->prepare)
		test->prepare(&vmm, luo, session);
	MUST(vmm_preserve(&vmm, session));
	check(true, es1370_dma_arrives(vmm.guest), "preserved under DMA");
	fflush(stdout);

	daemonize_and_wait();
}

static void stage_2(int luo, int state_session)
{
	char bdf[PCI_BDF_SIZE];
	const char *reason = vmm_missing(bdf);

	if (reason)
		ksft_exit_fail_msg("%s\n", reason);
	test->stage_2(luo, bdf);
}

int luo_vmm_main(int argc, char *argv[], const struct luo_vmm_test *the_test)
{
	test = the_test;
	snprintf(state_session_name, sizeof(state_session_name), "%s-state",
		 test->session);
	return luo_test(argc, argv, state_session_name, stage_1, stage_2);
}

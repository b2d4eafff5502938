// SPDX-License-Identifier: GPL-2.0
/*
 * The control of reboot_refused: with nothing preserved the image of
 * kexec_load(2) does start. It writes KEXEC_STUB_MESSAGE to the first serial
 * port and resets the machine, so a test plan that stays open is success.
 */
#include "../kselftest.h"

#include "kexec_image.h"
#include "kexec_stub.h"

int main(void)
{
	int ret;

	ksft_print_header();
	ksft_set_plan(1);
	ret = kexec_image_load_stub();
	if (ret)
		ksft_exit_fail_msg("kexec_load: %s\n", strerror(-ret));

	ksft_print_msg("expecting: %s\n", KEXEC_STUB_MESSAGE);
	fflush(stdout);
	ret = kexec_image_start();
	ksft_exit_fail_msg("reboot: %s\n", strerror(-ret));
}

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * An image for kexec_load(2). Runs anywhere in memory that is mapped one to one;
 * empty where these tests know no machine.
 */
#include "kexec_stub.h"

	.section .rodata
	.global kexec_stub
	.global kexec_stub_end
kexec_stub:
#ifdef __x86_64__
	lea	.Lmessage(%rip), %rsi
	mov	$0x3f8, %dx		/* first serial port */
.Lnext:
	lodsb
	test	%al, %al
	jz	.Lreset
	out	%al, %dx
	jmp	.Lnext
.Lreset:
	mov	$0xcf9, %dx		/* reset control register */
	mov	$6, %al
	out	%al, %dx
.Lhalt:
	hlt
	jmp	.Lhalt
.Lmessage:
	.asciz	KEXEC_STUB_MESSAGE "\r\n"
#endif
kexec_stub_end:

	.section .note.GNU-stack, "", %progbits

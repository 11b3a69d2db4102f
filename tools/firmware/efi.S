# SPDX-License-Identifier: GPL-2.0
#
# The code of a UEFI program, which disks.py puts a head before and the pattern behind. That the firmware read it
# all is shown by the pattern. QEMU's isa-debug-exit takes the result.

#include "result.h"

	.intel_syntax noprefix
	.code64
	.globl _start
_start:
	lea	rsi, [rip + pattern]
	xor	eax, eax
	mov	ecx, PATTERN_WORDS
next:	cmp	eax, [rsi]
	jne	wrong
	add	eax, STEP
	add	rsi, 4
	loop	next
	mov	al, AS_WRITTEN
	jmp	end
wrong:	mov	al, WRONG
end:	out	RESULT_PORT, al
	hlt
	jmp	end
	.balign	16
pattern:

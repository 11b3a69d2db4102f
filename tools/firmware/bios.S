# SPDX-License-Identifier: GPL-2.0
#
# A boot sector. It reads 64 sectors, 200 behind it, through the BIOS and compares them with the pattern that
# disks.py wrote. QEMU's isa-debug-exit takes the result.

#include "result.h"

	.intel_syntax noprefix
	.code16
	.globl _start
_start:
	jmp	0, offset start
packet:	.byte	16, 0
	.word	64
	.word	0, 0x1000	# 0x1000:0
	.quad	PATTERN_AT

start:	xor	ax, ax
	mov	ds, ax
	mov	ss, ax
	mov	sp, 0x7c00
	mov	si, offset packet
	mov	ah, 0x42	# extended read; dl is the disk, from the BIOS
	int	0x13
	mov	al, UNREADABLE
	jc	end
	mov	ax, 0x1000
	mov	ds, ax
	xor	si, si
	xor	eax, eax
	mov	cx, 64 * 128
next:	cmp	eax, [si]
	jne	wrong
	add	eax, STEP
	add	si, 4
	loop	next
	mov	al, AS_WRITTEN
	jmp	end
wrong:	mov	al, WRONG
end:	out	RESULT_PORT, al
	hlt
	jmp	end

	.org	510
	.word	0xaa55

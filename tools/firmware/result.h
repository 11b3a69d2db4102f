/* SPDX-License-Identifier: GPL-2.0 */
/* What a program that was booted says. QEMU ends with twice the value and 1 as its exit code. */
#define RESULT_PORT	0xf4
#define AS_WRITTEN	0x10
#define WRONG		0x11
#define UNREADABLE	0x12

/* The pattern: words of 32 bits, each so much more than the one before. */
#define STEP		0x9e3779b1
#define PATTERN_WORDS	0x10000
/* Of the disk for a BIOS, in sectors. The other disk has the pattern there, too, so that one scenario hits both. */
#define PATTERN_AT	0xc8

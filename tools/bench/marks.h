/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Instructions that do nothing, and that no compiler makes: nopl 0x7372737N(%rax). load.c executes them in the
 * guest, for the plugins to see.
 */
#ifndef MARKS_H
#define MARKS_H

/* The counts are written: to PATH.0, PATH.1 and so on. */
#define MARK_BYTES 0x0f, 0x1f, 0x80, 0x76, 0x73, 0x72, 0x73
/* What is counted for each I/O, or batch, begins anew. */
#define TURN_BYTES 0x0f, 0x1f, 0x80, 0x77, 0x73, 0x72, 0x73

#define QUOTED(...) #__VA_ARGS__
/* With the first and last address of the driver's code in two registers. */
#define EXECUTE(bytes, start, end) \
	__asm__ volatile(".byte " QUOTED(bytes)::"a"(start), "d"(end) : "memory")

#endif

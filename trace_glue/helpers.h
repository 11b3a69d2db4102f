/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What Rust hands over to the tracepoints.
 */
#ifndef TRACE_GLUE_HELPERS_H
#define TRACE_GLUE_HELPERS_H

#include <linux/types.h>

#define TRACE_HELPER_CDB_SIZE 32

/* Text without a zero byte at its end. */
struct trace_helper_text {
	const char *bytes;
	size_t len;
};

/* A logical unit. */
struct trace_helper_unit {
	u32 target;
	u64 lun;
};

/* A command. */
struct trace_helper_command {
	const char *device;
	u32 host;
	u32 target;
	u64 lun;
	u32 queue;
	u32 cdb_len;
	u64 tag;
	u8 cdb[TRACE_HELPER_CDB_SIZE];
};

/* The end of a command. */
struct trace_helper_end {
	bool used;
	u8 response;
	u8 status;
	u32 residual;
	u32 sense_len;
};

/* Waits until no probe that was unregistered runs any more. */
void trace_helper_synchronize(void);

#endif

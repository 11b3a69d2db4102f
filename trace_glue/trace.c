// SPDX-License-Identifier: GPL-2.0
/*
 * The tracepoints of the driver, with functions for Rust to call.
 */

#define CREATE_TRACE_POINTS
#define CREATE_RUST_TRACE_POINTS
#include "trace.h"

void trace_helper_synchronize(void)
{
	tracepoint_synchronize_unregister();
}

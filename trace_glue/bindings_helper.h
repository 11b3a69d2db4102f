/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The headers that bindgen reads for the tracepoints.
 */

/* Forward references to this enum confuse bindgen: see rust/bindings/bindings_helper.h. */
#include <linux/hrtimer_types.h>

#include "trace.h"

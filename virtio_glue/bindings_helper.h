/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The headers that bindgen reads for the virtio glue.
 */

/* Forward references to this enum confuse bindgen: see rust/bindings/bindings_helper.h. */
#include <linux/hrtimer_types.h>

#include <linux/virtio.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>

#include "helpers.h"

#if IS_BUILTIN(CONFIG_KUNIT)
#include "fake_device.h"
#endif

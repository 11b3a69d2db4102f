/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The headers that bindgen reads for the SCSI glue.
 */

/* Forward references to this enum confuse bindgen: see rust/bindings/bindings_helper.h. */
#include <linux/hrtimer_types.h>

#include <linux/blk-mq.h>
#include <scsi/scsi.h>
#include <scsi/scsi_cmnd.h>
#include <scsi/scsi_common.h>
#include <scsi/scsi_dbg.h>
#include <scsi/scsi_device.h>
#include <scsi/scsi_devinfo.h>
#include <scsi/scsi_eh.h>
#include <scsi/scsi_host.h>
#include <scsi/scsi_status.h>
#include <scsi/scsi_transport.h>

#include "helpers.h"

// SPDX-License-Identifier: GPL-2.0
/*
 * C helpers of the SCSI glue.
 */

#include <scsi/scsi_devinfo.h>

#include "helpers.h"

/*
 * Have the VPD pages read even if the logical unit claims a standard too old to
 * have them, unless the device list says that asking for them does harm. (To set
 * BLIST_TRY_VPD_PAGES when the device is allocated would put aside the flags that
 * the user has set by default_dev_flags.)
 */
void scsi_helper_try_vpd_pages(struct scsi_device *sdev)
{
	if (!(sdev->sdev_bflags & BLIST_SKIP_VPD_PAGES))
		sdev->try_vpd_pages = 1;
}

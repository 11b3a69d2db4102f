/* SPDX-License-Identifier: GPL-2.0 */
/*
 * C helpers of the SCSI glue: functions that the kernel has only as macros, and
 * constants that bindgen cannot evaluate.
 */
#ifndef SCSI_GLUE_HELPERS_H
#define SCSI_GLUE_HELPERS_H

#include <scsi/scsi_cmnd.h>
#include <scsi/scsi_device.h>
#include <scsi/scsi_host.h>

/*
 * What the hostdata of a device says: nothing until the driver has heard of it,
 * which it has not if the midlayer failed to allocate it.
 */
enum scsi_helper_mark {
	SCSI_HELPER_KNOWN = 1,
	SCSI_HELPER_CONDEMNED,
};

void scsi_helper_try_vpd_pages(struct scsi_device *sdev);
int scsi_helper_autopm_get_device(struct scsi_device *sdev);
void scsi_helper_autopm_put_device(struct scsi_device *sdev);
bool scsi_helper_supports_vpd(struct scsi_device *sdev);
void scsi_helper_skip_vpd(struct scsi_device *sdev);
void scsi_helper_support_events(struct scsi_device *sdev);
void scsi_helper_condemn(struct scsi_device *sdev);
void scsi_helper_set_offline(struct scsi_device *sdev);
void scsi_helper_report_reset(struct Scsi_Host *shost, int target);
void scsi_helper_renew(struct scsi_cmnd *cmd);
u32 scsi_helper_protection_bytes(struct scsi_cmnd *cmd);

#endif

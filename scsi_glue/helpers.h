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

void scsi_helper_try_vpd_pages(struct scsi_device *sdev);
void scsi_helper_support_events(struct scsi_device *sdev);
void scsi_helper_condemn(struct scsi_device *sdev);
void scsi_helper_report_reset(struct Scsi_Host *shost, int target);
u32 scsi_helper_protection_bytes(struct scsi_cmnd *cmd);

#endif

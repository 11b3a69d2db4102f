/* SPDX-License-Identifier: GPL-2.0 */
/*
 * C helpers of the SCSI glue: for functions that the kernel has only as macros or
 * inlines, and for fields that need a lock or an atomic operation of the kernel's.
 */
#ifndef SCSI_GLUE_HELPERS_H
#define SCSI_GLUE_HELPERS_H

#include <linux/device.h>
#include <scsi/scsi_cmnd.h>
#include <scsi/scsi_device.h>
#include <scsi/scsi_host.h>

/*
 * struct device_attribute and struct attribute_group, without the unions by which some
 * kernels offer each function for a constant attribute, too. helpers.c compares them.
 */
struct scsi_helper_attribute {
	struct attribute attr;
	ssize_t (*show)(struct device *dev, struct scsi_helper_attribute *attr, char *buf);
	ssize_t (*store)(struct device *dev, struct scsi_helper_attribute *attr, const char *buf,
			 size_t count);
};

struct scsi_helper_attribute_group {
	const char *name;
	void *is_visible;
	void *is_bin_visible;
	void *bin_size;
	struct attribute **attrs;
	void *bin_attrs;
};

int scsi_helper_autopm_get_device(struct scsi_device *sdev);
void scsi_helper_autopm_put_device(struct scsi_device *sdev);
bool scsi_helper_supports_vpd(struct scsi_device *sdev);
void scsi_helper_try_vpd_pages(struct scsi_device *sdev);
void scsi_helper_skip_vpd_pages(struct scsi_device *sdev);
void scsi_helper_support_event(struct scsi_device *sdev, enum scsi_device_event event);
void scsi_helper_set_offline(struct scsi_device *sdev);
void scsi_helper_report_device_reset(struct Scsi_Host *shost, int target);
void scsi_helper_renew(struct scsi_cmnd *cmd);
u32 scsi_helper_protection_bytes(struct scsi_cmnd *cmd);

#endif

// SPDX-License-Identifier: GPL-2.0
/*
 * C helpers of the SCSI glue.
 */

#include <linux/blk-integrity.h>
#include <scsi/scsi_eh.h>
#include <scsi/scsi_devinfo.h>

#include "helpers.h"

#define SAME_PLACE(helper, field, type) \
	static_assert(offsetof(struct helper, field) == offsetof(struct type, field))

static_assert(sizeof(struct scsi_helper_attribute) == sizeof(struct device_attribute));
SAME_PLACE(scsi_helper_attribute, attr, device_attribute);
SAME_PLACE(scsi_helper_attribute, show, device_attribute);
SAME_PLACE(scsi_helper_attribute, store, device_attribute);

static_assert(sizeof(struct scsi_helper_attribute_group) == sizeof(struct attribute_group));
SAME_PLACE(scsi_helper_attribute_group, name, attribute_group);
SAME_PLACE(scsi_helper_attribute_group, is_visible, attribute_group);
SAME_PLACE(scsi_helper_attribute_group, is_bin_visible, attribute_group);
SAME_PLACE(scsi_helper_attribute_group, bin_size, attribute_group);
SAME_PLACE(scsi_helper_attribute_group, attrs, attribute_group);
SAME_PLACE(scsi_helper_attribute_group, bin_attrs, attribute_group);

int scsi_helper_autopm_get_device(struct scsi_device *sdev)
{
	return scsi_autopm_get_device(sdev);
}

void scsi_helper_autopm_put_device(struct scsi_device *sdev)
{
	scsi_autopm_put_device(sdev);
}

bool scsi_helper_supports_vpd(struct scsi_device *sdev)
{
	return scsi_device_supports_vpd(sdev);
}

/*
 * The bits share a word with others. Callers of these two exclude each other. The
 * midlayer writes the word while it scans, before it calls sdev_configure.
 *
 * (BLIST_TRY_VPD_PAGES at allocation would do as well, but would replace what the user
 * has set by default_dev_flags.)
 */
void scsi_helper_try_vpd_pages(struct scsi_device *sdev)
{
	mutex_lock(&sdev->inquiry_mutex);
	if (!(sdev->sdev_bflags & BLIST_SKIP_VPD_PAGES))
		sdev->try_vpd_pages = 1;
	mutex_unlock(&sdev->inquiry_mutex);
}

void scsi_helper_skip_vpd_pages(struct scsi_device *sdev)
{
	mutex_lock(&sdev->inquiry_mutex);
	sdev->try_vpd_pages = 0;
	sdev->skip_vpd_pages = 1;
	mutex_unlock(&sdev->inquiry_mutex);
}

void scsi_helper_support_event(struct scsi_device *sdev, enum scsi_device_event event)
{
	set_bit(event, sdev->supported_events);
}

void scsi_helper_set_offline(struct scsi_device *sdev)
{
	mutex_lock(&sdev->state_mutex);
	scsi_device_set_state(sdev, SDEV_OFFLINE);
	mutex_unlock(&sdev->state_mutex);
}

void scsi_helper_report_device_reset(struct Scsi_Host *shost, int target)
{
	unsigned long flags;

	spin_lock_irqsave(shost->host_lock, flags);
	scsi_report_device_reset(shost, 0, target);
	spin_unlock_irqrestore(shost->host_lock, flags);
}

void scsi_helper_renew(struct scsi_cmnd *cmd)
{
	cmd->jiffies_at_alloc = jiffies;
}

/* Returns the length of the protection information of a command, in bytes. */
u32 scsi_helper_protection_bytes(struct scsi_cmnd *cmd)
{
#ifdef CONFIG_BLK_DEV_INTEGRITY
	struct request *rq = scsi_cmd_to_rq(cmd);
	struct blk_integrity *bi;

	if (!scsi_prot_sg_count(cmd) || !rq->q->disk)
		return 0;

	bi = blk_get_integrity(rq->q->disk);
	return bi ? bio_integrity_bytes(bi, blk_rq_sectors(rq)) : 0;
#else
	return 0;
#endif
}

// SPDX-License-Identifier: GPL-2.0
/*
 * C helpers of the SCSI glue.
 */

#include <linux/blk-integrity.h>
#include <scsi/scsi_eh.h>
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

void scsi_helper_skip_vpd(struct scsi_device *sdev)
{
	sdev->try_vpd_pages = 0;
	sdev->skip_vpd_pages = 1;
}

void scsi_helper_renew(struct scsi_cmnd *cmd)
{
	cmd->jiffies_at_alloc = jiffies;
}

/* How many bytes of protection information go with the data of a command. */
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

/*
 * Have uevents sent for what a logical unit reports of itself. By default they
 * are suppressed until the user asks for them.
 */
void scsi_helper_support_events(struct scsi_device *sdev)
{
	set_bit(SDEV_EVT_INQUIRY_CHANGE_REPORTED, sdev->supported_events);
	set_bit(SDEV_EVT_CAPACITY_CHANGE_REPORTED, sdev->supported_events);
	set_bit(SDEV_EVT_SOFT_THRESHOLD_REACHED_REPORTED, sdev->supported_events);
	set_bit(SDEV_EVT_MODE_PARAMETER_CHANGE_REPORTED, sdev->supported_events);
	set_bit(SDEV_EVT_LUN_CHANGE_REPORTED, sdev->supported_events);
	set_bit(SDEV_EVT_ALUA_STATE_CHANGE_REPORTED, sdev->supported_events);
	if (sdev->type == TYPE_ROM)
		set_bit(SDEV_EVT_MEDIA_CHANGE, sdev->supported_events);
}

/*
 * Have a logical unit fail whatever is sent to it. The state alone does not do
 * it: the midlayer sends SYNCHRONIZE CACHE to a disk that it removes, and waits.
 */
void scsi_helper_condemn(struct scsi_device *sdev)
{
	WRITE_ONCE(sdev->hostdata, (void *)SCSI_HELPER_CONDEMNED);
	scsi_helper_set_offline(sdev);
}

void scsi_helper_set_offline(struct scsi_device *sdev)
{
	mutex_lock(&sdev->state_mutex);
	/* In a state from which this fails it takes no commands of users anyway. */
	scsi_device_set_state(sdev, SDEV_OFFLINE);
	mutex_unlock(&sdev->state_mutex);
}

void scsi_helper_report_reset(struct Scsi_Host *shost, int target)
{
	unsigned long flags;

	spin_lock_irqsave(shost->host_lock, flags);
	scsi_report_device_reset(shost, 0, target);
	spin_unlock_irqrestore(shost->host_lock, flags);
}

// SPDX-License-Identifier: GPL-2.0

//! The limits of a host, checked before the midlayer gets them.
//!
//! C header: [`include/scsi/scsi_host.h`](srctree/include/scsi/scsi_host.h)

use super::{
    bindings,
    queue_map::QueueCounts, //
};
use kernel::{
    ffi::{
        c_int,
        c_short,
        c_uchar, //
    },
    page::PAGE_SIZE,
    prelude::*, //
};

/// The limits of a host: fields of `struct Scsi_Host`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HostLimits {
    /// The number of commands that a hardware queue can have in flight. At least 1.
    pub can_queue: u32,
    /// The number of commands that a device can have in flight at first. At least 1.
    pub cmd_per_lun: u16,
    /// The number of segments that the data of a command can have. At least 1.
    pub sg_tablesize: u16,
    /// The length of the data of a command, in sectors of 512 bytes. At least a page.
    pub max_sectors: u32,
    /// The length of a segment, in bytes. At least a page.
    pub max_segment_size: u32,
    /// The highest target, plus one.
    pub max_id: u32,
    /// The highest logical unit, as the midlayer numbers them, plus one.
    pub max_lun: u64,
    /// The length of a CDB, in bytes.
    pub max_cmd_len: u16,
    /// The hardware queues.
    pub queues: QueueCounts,
    /// Whether the transport carries the LUN, so that the midlayer need not put it in the CDB of a
    /// device that claims SCSI-2.
    pub no_scsi2_lun_in_cdb: bool,
    /// Protection information that the host can handle, if any.
    pub protection: Option<HostProtection>,
}

/// The protection information that a host can handle: T10 DIF and DIX.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HostProtection {
    /// Its types.
    pub types: ProtectionTypes,
    /// The form of its guard tag between the block layer and the host.
    pub guard: ProtectionGuard,
    /// The number of segments that the protection information of a command can have:
    /// `sg_prot_tablesize`.
    pub sg_tablesize: u16,
}

/// A set of types of protection information: `enum scsi_host_prot_capabilities`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProtectionTypes(u32);

impl ProtectionTypes {
    /// Type 1 between host and device.
    pub const DIF_TYPE1: Self =
        Self(bindings::scsi_host_prot_capabilities_SHOST_DIF_TYPE1_PROTECTION);
    /// Type 2 between host and device.
    pub const DIF_TYPE2: Self =
        Self(bindings::scsi_host_prot_capabilities_SHOST_DIF_TYPE2_PROTECTION);
    /// Type 3 between host and device.
    pub const DIF_TYPE3: Self =
        Self(bindings::scsi_host_prot_capabilities_SHOST_DIF_TYPE3_PROTECTION);
    /// Type 1 between block layer and host.
    pub const DIX_TYPE1: Self =
        Self(bindings::scsi_host_prot_capabilities_SHOST_DIX_TYPE1_PROTECTION);
    /// Type 2 between block layer and host.
    pub const DIX_TYPE2: Self =
        Self(bindings::scsi_host_prot_capabilities_SHOST_DIX_TYPE2_PROTECTION);
    /// Type 3 between block layer and host.
    pub const DIX_TYPE3: Self =
        Self(bindings::scsi_host_prot_capabilities_SHOST_DIX_TYPE3_PROTECTION);

    /// Returns the types that are in either set.
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// The form of a guard tag: `enum scsi_host_guard_type`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProtectionGuard {
    /// The CRC of T10.
    Crc,
    /// The checksum of IP, which the host converts.
    Ip,
}

impl HostLimits {
    /// Sets the limits of a C host.
    ///
    /// Fails with [`EINVAL`] for limits that the midlayer takes for granted: it would have a map
    /// without queues, or no room for the first segment.
    pub(super) fn apply(&self, shost: &mut bindings::Scsi_Host) -> Result {
        let sectors_of_page = u32::try_from(PAGE_SIZE >> kernel::bindings::SECTOR_SHIFT)?;

        if self.can_queue == 0
            || self.cmd_per_lun == 0
            || self.sg_tablesize == 0
            || self.max_sectors < sectors_of_page
            || self.max_segment_size < u32::try_from(PAGE_SIZE)?
            || self.queues.interrupt == 0
            || self.protection.is_some_and(|it| it.sg_tablesize == 0)
        {
            return Err(EINVAL);
        }

        shost.can_queue = c_int::try_from(self.can_queue)?;
        shost.cmd_per_lun = c_short::try_from(self.cmd_per_lun).unwrap_or(c_short::MAX);
        shost.sg_tablesize = self.sg_tablesize;
        shost.max_sectors = self.max_sectors;
        shost.max_segment_size = shost.max_segment_size.min(self.max_segment_size);
        shost.max_channel = 0;
        shost.max_id = self.max_id;
        shost.max_lun = self.max_lun;
        shost.max_cmd_len = self.max_cmd_len;
        shost.nr_hw_queues = self
            .queues
            .interrupt
            .checked_add(self.queues.polled)
            .ok_or(EINVAL)?;
        shost.nr_maps = if self.queues.polled == 0 {
            1
        } else {
            kernel::bindings::hctx_type_HCTX_TYPE_POLL + 1
        };
        shost.set_no_scsi2_lun_in_cdb(self.no_scsi2_lun_in_cdb.into());

        if let Some(protection) = self.protection {
            let guard = match protection.guard {
                ProtectionGuard::Crc => bindings::scsi_host_guard_type_SHOST_DIX_GUARD_CRC,
                ProtectionGuard::Ip => bindings::scsi_host_guard_type_SHOST_DIX_GUARD_IP,
            };

            shost.sg_prot_tablesize = protection.sg_tablesize;
            shost.prot_capabilities = protection.types.0;
            shost.prot_guard_type = c_uchar::try_from(guard)?;
        }
        Ok(())
    }
}

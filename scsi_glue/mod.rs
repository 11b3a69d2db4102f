// SPDX-License-Identifier: GPL-2.0

//! The SCSI midlayer for low-level drivers.
//!
//! A driver implements [`Driver`], whose methods are the callbacks of `struct scsi_host_template`,
//! and registers a [`Host`] with it.
//!
//! # Ownership of a command
//!
//! `struct scsi_cmnd` and the request of the block layer before it belong to the tag set of the
//! host. They are used again and again. In each use a command is in one of these states:
//!
//! 1. Owned by the midlayer. The driver cannot name it.
//! 2. Owned by the driver, from `queuecommand` on: an [`OwnedCmnd`]. It moves like any other
//!    object: into a virtqueue and out again, on a [`CmndList`]. [`OwnedCmnd::complete`] consumes
//!    it, and dropping it completes it with an error, so no command is lost, and none is completed
//!    twice. A command that the host has no room for goes back with [`Busy`].
//! 3. Looked at: a [`&Cmnd`](Cmnd), in state 1 or 2, for the callbacks of error handling and for
//!    [`Host::any_in_flight`]. It gives access to what any thread may read at any time, and to no
//!    data buffer.
//!
//! Error handling is the one part of the midlayer that uses a command again although the driver may
//! not have completed it: after an `eh_*` callback has returned `SUCCESS`, and when none has. C
//! drivers have to see to that. Here each command records whether the driver owns it, and the
//! callbacks return to the midlayer only after the driver has given back the commands that the
//! midlayer would use. So a driver that returns `SUCCESS` too early hangs error handling, and no
//! command gets two owners.
//!
//! # Private areas
//!
//! [`CommandData`] names the types of the data behind each command and behind each device. All of
//! them live in memory of the midlayer, are there for as long as their C object, and are never
//! dropped.
//!
//! # Devices
//!
//! [`Device`] is `struct scsi_device`, lent by a command, or counted as an
//! [`ARef`](kernel::sync::aref::ARef). The count keeps the memory. It does not keep the device from
//! being removed, after which its methods fail.
//!
//! # Examples
//!
//! `examples/scsi_null/` is an adapter whose commands complete at once, without `unsafe`.
//!
//! C headers: [`include/scsi/scsi_host.h`](srctree/include/scsi/scsi_host.h),
//! [`include/scsi/scsi_cmnd.h`](srctree/include/scsi/scsi_cmnd.h),
//! [`include/scsi/scsi_device.h`](srctree/include/scsi/scsi_device.h)

mod attribute_groups;
mod attributes;
mod bindings;
mod callbacks;
mod cmnd;
mod cmnd_data;
mod cmnd_report;
mod device;
mod device_event;
mod driver;
mod eh;
mod eh_callbacks;
mod host;
mod host_data;
mod limits;
mod list;
mod owned_cmnd;
mod pdu;
mod queue_map;
mod status;
mod template;

pub(crate) use self::attributes::host_attributes;
pub use self::{
    attribute_groups::{
        AttributeGroup,
        AttributePointer,
        HostAttributes, //
    },
    attributes::HostAttribute,
    cmnd::Cmnd,
    cmnd_data::DataDirection,
    cmnd_report::CdbCopy,
    device::{
        AutopmGuard,
        Device,
        DeviceState, //
    },
    device_event::DeviceEvent,
    driver::{
        Busy,
        Driver,
        EhResult,
        TimeoutAction, //
    },
    host::{
        Devices,
        Host, //
    },
    limits::{
        HostLimits,
        HostProtection,
        ProtectionGuard,
        ProtectionTypes, //
    },
    list::CmndList,
    owned_cmnd::OwnedCmnd,
    pdu::{
        CommandData,
        DeviceData,
        Lengths, //
    },
    queue_map::{
        possible_queues,
        QueueCounts,
        QueueMap, //
    },
    status::{
        HostStatus,
        Sense, //
    },
};

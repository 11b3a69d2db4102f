// SPDX-License-Identifier: GPL-2.0

//! The SCSI midlayer made safe, as seen by a low-level driver.
//!
//! A driver implements [`Driver`], whose methods are the entries of the C host template, and
//! registers a [`Host`] with it. A [`Command`] that it gets to queue is owned: whoever holds it has
//! to complete it, and dropping it completes it with an error, so that none is ever lost. It owns
//! its data and a private area behind the C command, in which the driver keeps what it exchanges
//! with its device.
//!
//! What error handling and scanning need is here as well: [`CommandRef`] for a command that the
//! midlayer still owns, [`LogicalUnit`] for a device of the host.
//!
//! C headers: [`include/scsi/scsi_host.h`](srctree/include/scsi/scsi_host.h),
//! [`include/scsi/scsi_cmnd.h`](srctree/include/scsi/scsi_cmnd.h),
//! [`include/scsi/scsi_device.h`](srctree/include/scsi/scsi_device.h)

mod bindings;
mod command;
mod command_list;
mod command_ref;
mod driver;
mod host;
mod host_data;
mod logical_unit;
mod status;
mod template;

pub use self::{
    command::{
        Command,
        DataDirection, //
    },
    command_list::CommandList,
    command_ref::CommandRef,
    driver::{
        Busy,
        Driver,
        QueueCounts,
        RecoveryResult,
        TimeoutAction, //
    },
    host::{
        possible_queues,
        Host,
        Parameters, //
    },
    logical_unit::{
        Awake,
        LogicalUnit,
        UnitEvent,
        UnitState, //
    },
    status::{
        HostStatus,
        Sense, //
    },
};

// SPDX-License-Identifier: GPL-2.0

//! Requests and responses of the controlq: task management functions and asynchronous
//! notifications.
//!
//! Virtio 1.3, section 5.6.6.2.

use super::byte_order::ByteOrder;

/// A task management function: `VIRTIO_SCSI_T_TMF_*`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TaskManagement {
    /// Abort one command.
    AbortTask,
    /// Reset a target: all its logical units.
    NexusReset,
    /// Reset a logical unit.
    LogicalUnitReset,
    /// Return whether the device has one command.
    QueryTask,
}

impl TaskManagement {
    /// Returns its code.
    pub const fn code(self) -> u32 {
        match self {
            Self::AbortTask => 0,
            Self::NexusReset => 4,
            Self::LogicalUnitReset => 5,
            Self::QueryTask => 6,
        }
    }

    /// Returns its name in SAM.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AbortTask => "ABORT TASK",
            Self::NexusReset => "I_T NEXUS RESET",
            Self::LogicalUnitReset => "LOGICAL UNIT RESET",
            Self::QueryTask => "QUERY TASK",
        }
    }

    /// Returns its name in reports.
    pub const fn key(self) -> &'static str {
        match self {
            Self::AbortTask => "abort_task",
            Self::NexusReset => "nexus_reset",
            Self::LogicalUnitReset => "logical_unit_reset",
            Self::QueryTask => "query_task",
        }
    }
}

/// The request of a task management function: `struct virtio_scsi_ctrl_tmf_req`.
#[derive(Clone, Copy, Default)]
pub struct TaskManagementRequest([u8; Self::SIZE]);

impl TaskManagementRequest {
    /// Its length, in bytes.
    pub const SIZE: usize = 24;

    /// Writes all fields. `tag` is the tag of the command for ABORT TASK and QUERY TASK, or 0.
    pub fn fill(&mut self, order: ByteOrder, function: TaskManagement, lun: [u8; 8], tag: u64) {
        // `VIRTIO_SCSI_T_TMF` is 0.
        let [t0, t1, t2, t3] = order.from_u32(0);
        let [s0, s1, s2, s3] = order.from_u32(function.code());
        let [l0, l1, l2, l3, l4, l5, l6, l7] = lun;
        let [i0, i1, i2, i3, i4, i5, i6, i7] = order.from_u64(tag);

        self.0 = [
            t0, t1, t2, t3, s0, s1, s2, s3, l0, l1, l2, l3, l4, l5, l6, l7, i0, i1, i2, i3, i4, i5,
            i6, i7,
        ];
    }

    /// Returns the bytes to send.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The kind of a request about asynchronous notifications: `VIRTIO_SCSI_T_AN_*`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotificationRequestKind {
    /// Return which notifications a logical unit has.
    Query,
    /// Report notifications from now on.
    Subscribe,
}

/// The medium of an MMC unit has changed: `VIRTIO_SCSI_EVT_ASYNC_MEDIA_CHANGE`.
pub const ASYNC_MEDIA_CHANGE: u32 = 16;

/// The state of an MMC unit has changed: `VIRTIO_SCSI_EVT_ASYNC_OPERATIONAL_CHANGE`.
pub const ASYNC_OPERATIONAL_CHANGE: u32 = 2;

/// The request of a query or a subscription: `struct virtio_scsi_ctrl_an_req`.
#[derive(Clone, Copy, Default)]
pub struct NotificationRequest([u8; Self::SIZE]);

impl NotificationRequest {
    /// Its length, in bytes.
    pub const SIZE: usize = 16;

    /// Writes all fields. `events` is a mask of `ASYNC_*`.
    pub fn fill(
        &mut self,
        order: ByteOrder,
        kind: NotificationRequestKind,
        lun: [u8; 8],
        events: u32,
    ) {
        let [t0, t1, t2, t3] = order.from_u32(match kind {
            NotificationRequestKind::Query => 1,
            NotificationRequestKind::Subscribe => 2,
        });
        let [l0, l1, l2, l3, l4, l5, l6, l7] = lun;
        let [e0, e1, e2, e3] = order.from_u32(events);

        self.0 = [
            t0, t1, t2, t3, l0, l1, l2, l3, l4, l5, l6, l7, e0, e1, e2, e3,
        ];
    }

    /// Returns the bytes to send.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The response to a query or a subscription: `struct virtio_scsi_ctrl_an_resp`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotificationResponse {
    /// The notifications that the logical unit has, or reports from now on: a mask of `ASYNC_*`.
    pub events: u32,
    /// The response code: see [`response`](super::response).
    pub response: u8,
}

impl NotificationResponse {
    /// Its length, in bytes.
    pub const SIZE: usize = 5;

    /// Decodes the response.
    pub fn decode(order: ByteOrder, bytes: [u8; Self::SIZE]) -> Self {
        let [e0, e1, e2, e3, response] = bytes;

        Self {
            events: order.to_u32([e0, e1, e2, e3]),
            response,
        }
    }
}

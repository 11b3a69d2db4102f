// SPDX-License-Identifier: GPL-2.0

//! Results of commands.
//!
//! C headers: [`include/scsi/scsi_status.h`](srctree/include/scsi/scsi_status.h),
//! [`include/scsi/scsi_proto.h`](srctree/include/scsi/scsi_proto.h)

use super::bindings;

/// The result of a command as the host adapter sees it: `enum scsi_host_status`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum HostStatus {
    /// `DID_OK`: it reached the target. The SCSI status byte has the result.
    Ok = bindings::scsi_host_status_DID_OK,
    /// `DID_NO_CONNECT`: there is no path to the target any more. Not retried.
    NoConnect = bindings::scsi_host_status_DID_NO_CONNECT,
    /// `DID_BAD_TARGET`: the target does not exist. Not retried.
    BadTarget = bindings::scsi_host_status_DID_BAD_TARGET,
    /// `DID_ABORT`: it was aborted.
    Abort = bindings::scsi_host_status_DID_ABORT,
    /// `DID_ERROR`: another error. Retried a few times.
    Error = bindings::scsi_host_status_DID_ERROR,
    /// `DID_RESET`: a reset has ended it. Retried.
    Reset = bindings::scsi_host_status_DID_RESET,
    /// `DID_TRANSPORT_DISRUPTED`: the path failed. Retried, on another path if there is one.
    TransportDisrupted = bindings::scsi_host_status_DID_TRANSPORT_DISRUPTED,
}

impl HostStatus {
    /// Returns the C value.
    #[inline]
    pub(super) fn as_raw(self) -> bindings::scsi_host_status {
        // CAST: The discriminants are the C values.
        self as bindings::scsi_host_status
    }
}

/// Sense data of the driver's own: sense key, additional sense code and its qualifier (SPC).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sense {
    /// Sense key.
    pub key: u8,
    /// Additional sense code.
    pub asc: u8,
    /// Additional sense code qualifier.
    pub ascq: u8,
}

// SPDX-License-Identifier: GPL-2.0

//! How a command ended.
//!
//! C headers: [`include/scsi/scsi_status.h`](srctree/include/scsi/scsi_status.h),
//! [`include/scsi/scsi_proto.h`](srctree/include/scsi/scsi_proto.h)

use super::bindings;

/// What the host adapter says of a command: `enum scsi_host_status`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HostStatus {
    /// It got to the target, whose status says the rest.
    Ok,
    /// There is no way to the target any more.
    NoConnect,
    /// There is no such target.
    BadTarget,
    /// Somebody aborted it.
    Abort,
    /// Something else went wrong: try again, a few times.
    Error,
    /// A reset ended it: try again.
    Reset,
    /// The way to the target was disrupted: another may do.
    TransportDisrupted,
}

impl HostStatus {
    /// Returns the C value.
    #[inline]
    pub(super) fn as_raw(self) -> bindings::scsi_host_status {
        match self {
            Self::Ok => bindings::scsi_host_status_DID_OK,
            Self::NoConnect => bindings::scsi_host_status_DID_NO_CONNECT,
            Self::BadTarget => bindings::scsi_host_status_DID_BAD_TARGET,
            Self::Abort => bindings::scsi_host_status_DID_ABORT,
            Self::Error => bindings::scsi_host_status_DID_ERROR,
            Self::Reset => bindings::scsi_host_status_DID_RESET,
            Self::TransportDisrupted => bindings::scsi_host_status_DID_TRANSPORT_DISRUPTED,
        }
    }
}

/// Sense data that a driver makes up: sense key, additional sense code and its qualifier (SPC).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sense {
    /// Sense key.
    pub key: u8,
    /// Additional sense code.
    pub asc: u8,
    /// Additional sense code qualifier.
    pub ascq: u8,
}

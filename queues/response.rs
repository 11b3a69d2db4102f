// SPDX-License-Identifier: GPL-2.0

//! What the response codes of a device mean for a command or a task management function.
//!
//! Virtio 1.3, sections 5.6.6.1 and 5.6.6.2;
//! [`include/uapi/linux/virtio_scsi.h`](srctree/include/uapi/linux/virtio_scsi.h)
//!
//! This file uses `core` alone, because it is also compiled for the host, and tested there.

/// A response code: `VIRTIO_SCSI_S_*`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Response {
    /// The command got to the target, or the function was carried out.
    Ok,
    /// There was more data than the command has room for.
    Overrun,
    /// A task management function ended the command.
    Aborted,
    /// There is no such target.
    BadTarget,
    /// A reset ended the command.
    Reset,
    /// The device is busy: try again.
    Busy,
    /// The way to the target failed: another may do.
    TransportFailure,
    /// The target failed: no other way will do.
    TargetFailure,
    /// The nexus failed, as by a reservation: another way may do.
    NexusFailure,
    /// Something else failed: the command may be tried again.
    Failure,
    /// The function was carried out.
    FunctionSucceeded,
    /// The device does not do the function.
    FunctionRejected,
    /// There is no such logical unit.
    IncorrectLun,
}

impl Response {
    /// Returns the response of a code, or [`None`] if there is no such code.
    #[inline]
    pub const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::Ok,
            1 => Self::Overrun,
            2 => Self::Aborted,
            3 => Self::BadTarget,
            4 => Self::Reset,
            5 => Self::Busy,
            6 => Self::TransportFailure,
            7 => Self::TargetFailure,
            8 => Self::NexusFailure,
            9 => Self::Failure,
            10 => Self::FunctionSucceeded,
            11 => Self::FunctionRejected,
            12 => Self::IncorrectLun,
            _ => return None,
        })
    }
}

/// How a command ends: what its response code means to the midlayer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The target's status says it.
    Status,
    /// There is no such target or logical unit any more.
    BadTarget,
    /// It was aborted at the driver's request, and is not tried again.
    Abort,
    /// Something ended it that was not about it: it is tried again, for as long as it may take.
    Reset,
    /// It is tried again after a while, and again, for as long as the midlayer tries commands.
    ///
    /// No host status says so: `DID_BUS_BUSY` has it tried again at once, and that five times. The status BUSY does.
    Busy,
    /// It is tried again, a few times, or on another way.
    TransportDisrupted,
    /// It is tried again, a few times.
    Error,
    /// The target failed, and no other way will do.
    ///
    /// No host status says so. Sense data with HARDWARE ERROR does: from that the midlayer makes
    /// `BLK_STS_TARGET`, which multipath does not try on other ways.
    TargetFailure,
    /// It conflicts with a reservation.
    ///
    /// The specification would have it tried on other ways; but this is what devices answer to a
    /// reservation conflict, and clusters depend on being told.
    ReservationConflict,
    /// The device has broken the protocol.
    Violation,
}

impl Outcome {
    /// Returns the outcome of a command with a response code. `abort_requested` is whether the
    /// driver had asked for it to be aborted.
    #[inline]
    pub const fn of_command(code: u8, abort_requested: bool) -> Self {
        match Response::from_code(code) {
            Some(Response::Ok) => Self::Status,
            Some(Response::Aborted) if abort_requested => Self::Abort,
            // Somebody else has aborted it: another initiator, or the device's operator.
            Some(Response::Aborted) | Some(Response::Reset) => Self::Reset,
            Some(Response::BadTarget) | Some(Response::IncorrectLun) => Self::BadTarget,
            Some(Response::Busy) => Self::Busy,
            Some(Response::TransportFailure) => Self::TransportDisrupted,
            Some(Response::TargetFailure) => Self::TargetFailure,
            Some(Response::NexusFailure) => Self::ReservationConflict,
            Some(Response::Overrun) | Some(Response::Failure) => Self::Error,
            Some(Response::FunctionSucceeded) | Some(Response::FunctionRejected) | None => {
                Self::Violation
            }
        }
    }
}

/// Returns whether a task management function with a response code was carried out.
///
/// `VIRTIO_SCSI_S_FUNCTION_COMPLETE` has the same code as `VIRTIO_SCSI_S_OK`.
pub const fn function_done(code: u8) -> bool {
    matches!(
        Response::from_code(code),
        Some(Response::Ok) | Some(Response::FunctionSucceeded)
    )
}

/// What a device says of a command by its answer to QUERY TASK (virtio 1.3, section 5.6.6.2; SAM).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Whereabouts {
    /// It has the command.
    Held,
    /// It does not have the command: it has answered it, or never got it.
    NotHeld,
    /// It does not say: it does not do the function, or answers what the function does not have.
    Untold,
}

/// Returns what a response code to QUERY TASK says.
///
/// `VIRTIO_SCSI_S_FUNCTION_COMPLETE` has the same code as `VIRTIO_SCSI_S_OK`. A target or logical unit that
/// does not exist has no commands.
pub const fn whereabouts(code: u8) -> Whereabouts {
    match Response::from_code(code) {
        Some(Response::FunctionSucceeded) => Whereabouts::Held,
        Some(Response::Ok | Response::BadTarget | Response::IncorrectLun) => Whereabouts::NotHeld,
        _ => Whereabouts::Untold,
    }
}

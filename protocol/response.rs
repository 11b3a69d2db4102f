// SPDX-License-Identifier: GPL-2.0

//! The meaning of response codes, for a command and for a task management function.
//!
//! Virtio 1.3, sections 5.6.6.1 and 5.6.6.2.

/// The response codes: `VIRTIO_SCSI_S_*`.
pub mod code {
    /// The command got to the target. For a task management function, this is also
    /// `VIRTIO_SCSI_S_FUNCTION_COMPLETE`: the function was carried out.
    pub const OK: u8 = 0;
    /// The command has room for less data than the device would transfer.
    pub const OVERRUN: u8 = 1;
    /// A task management function ended the command.
    pub const ABORTED: u8 = 2;
    /// The target does not exist.
    pub const BAD_TARGET: u8 = 3;
    /// A reset ended the command.
    pub const RESET: u8 = 4;
    /// The device is busy.
    pub const BUSY: u8 = 5;
    /// The path to the target failed; another may work.
    pub const TRANSPORT_FAILURE: u8 = 6;
    /// The target failed; no other path will work.
    pub const TARGET_FAILURE: u8 = 7;
    /// The nexus failed, as by a reservation; another path may work.
    pub const NEXUS_FAILURE: u8 = 8;
    /// Something else failed; the command may be sent again.
    pub const FAILURE: u8 = 9;
    /// The function succeeded.
    pub const FUNCTION_SUCCEEDED: u8 = 10;
    /// The device does not support the function.
    pub const FUNCTION_REJECTED: u8 = 11;
    /// The logical unit does not exist.
    pub const INCORRECT_LUN: u8 = 12;
}

/// What to report to the midlayer for a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The status byte.
    Status,
    /// The target or the logical unit does not exist.
    BadTarget,
    /// The command was aborted at the driver's request, and is not retried.
    Abort,
    /// The command was ended for another reason than its own, and is retried.
    Reset,
    /// The command is retried after a delay, for as long as the midlayer retries commands.
    ///
    /// The status BUSY has this meaning. The host status `DID_BUS_BUSY` does not: it has the
    /// command retried five times, without delay.
    Busy,
    /// The command is retried a few times, or on another path.
    TransportDisrupted,
    /// The command is retried a few times.
    Error,
    /// The command fails on all paths.
    ///
    /// Sense data with HARDWARE ERROR have this meaning: the midlayer makes them `BLK_STS_TARGET`,
    /// which multipath does not retry. No host status has it.
    TargetFailure,
    /// The command conflicts with a reservation.
    ///
    /// The specification would have the command retried on other paths. But devices use this
    /// response for a reservation conflict, which clusters depend on.
    ReservationConflict,
    /// The device has violated the protocol.
    Violation,
}

impl Outcome {
    /// Returns the outcome of a command with a response code. `abort_requested` is whether the
    /// driver had asked for its abort.
    #[inline]
    pub const fn of_command(response: u8, abort_requested: bool) -> Self {
        match response {
            code::OK => Self::Status,
            code::ABORTED if abort_requested => Self::Abort,
            // Another initiator, or the device's operator, has aborted it.
            code::ABORTED | code::RESET => Self::Reset,
            code::BAD_TARGET | code::INCORRECT_LUN => Self::BadTarget,
            code::BUSY => Self::Busy,
            code::TRANSPORT_FAILURE => Self::TransportDisrupted,
            code::TARGET_FAILURE => Self::TargetFailure,
            code::NEXUS_FAILURE => Self::ReservationConflict,
            code::OVERRUN | code::FAILURE => Self::Error,
            _ => Self::Violation,
        }
    }
}

/// Returns whether a task management function with a response code was carried out.
pub const fn function_done(response: u8) -> bool {
    matches!(response, code::OK | code::FUNCTION_SUCCEEDED)
}

/// The answer to QUERY TASK (SAM).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum QueryAnswer {
    /// The device has the command.
    Held,
    /// The device does not have the command: it has completed it, or never got it.
    NotHeld,
    /// The device does not support the function, or has answered with a code that makes no sense.
    Refused,
}

impl QueryAnswer {
    /// Returns the answer that a response code stands for. A target or logical unit that does not
    /// exist has no commands.
    pub const fn of(response: u8) -> Self {
        match response {
            code::FUNCTION_SUCCEEDED => Self::Held,
            code::OK | code::BAD_TARGET | code::INCORRECT_LUN => Self::NotHeld,
            _ => Self::Refused,
        }
    }

    /// Returns its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::NotHeld => "not_held",
            Self::Refused => "refused",
        }
    }
}

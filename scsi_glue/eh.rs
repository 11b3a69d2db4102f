// SPDX-License-Identifier: GPL-2.0

//! The glue's half of error handling: it sees to it that the driver owns none of the commands that
//! the midlayer goes on to use.
//!
//! C header: [`include/scsi/scsi_eh.h`](srctree/include/scsi/scsi_eh.h)

use super::{
    cmnd::{
        any_in_flight,
        Cmnd, //
    },
    host_data::Units,
    pdu::CommandData, //
};
use crate::kernel_glue::wait_for_rcu;
use core::ptr;
use kernel::time::{
    delay::fsleep,
    Delta, //
};

/// The interval between two looks at commands that are waited for, in milliseconds.
const POLL_INTERVAL: i64 = 5;

/// The commands that a step of error handling affects.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    Command,
    Device,
    Target,
    Host,
}

impl Scope {
    /// Returns whether a step for `cmnd` affects `other`, a command of the same host.
    fn affects<D: CommandData>(self, cmnd: &Cmnd<D>, other: &Cmnd<D>) -> bool {
        match self {
            Self::Command => ptr::eq(cmnd, other),
            Self::Device => other.is_for(cmnd.device()),
            Self::Target => other.target() == cmnd.target(),
            Self::Host => true,
        }
    }
}

/// Waits until the driver owns none of the commands that a step of error handling affects, and all
/// of its calls of `scsi_done()` for them have returned.
///
/// Process context.
///
/// # Safety
///
/// `cmnd` must be a command of a host of which `units` are the devices.
pub(super) unsafe fn wait_until_given_back<D: CommandData>(
    cmnd: &Cmnd<D>,
    scope: Scope,
    units: &Units,
) {
    let shost = cmnd.device().host();
    let is_owned = || {
        if scope == Scope::Command {
            return Some(cmnd.is_owned());
        }

        units.with_tags(|| {
            // SAFETY: The host is valid, because the command is, its commands hold `D`, and its
            // tags stay.
            unsafe {
                any_in_flight(shost, |other: &Cmnd<D>| {
                    scope.affects(cmnd, other) && other.is_owned()
                })
            }
        })
    };

    // A command that the midlayer has started to handle is still in flight to the block layer. A
    // host without devices has none.
    while is_owned() == Some(true) {
        fsleep(Delta::from_millis(POLL_INTERVAL));
    }
    // See `Owned`.
    wait_for_rcu();
}

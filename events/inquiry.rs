// SPDX-License-Identifier: GPL-2.0

//! INQUIRY commands of the driver's own, for standard data. `vpd_pages.rs` has those for VPD pages.
//!
//! They are sent to an address, whether or not the midlayer has a logical unit there.

use crate::{
    protocol::{
        address::Address,
        cdb::{
            INQUIRY,
            INQUIRY_LEN, //
        },
    },
    queues::{
        Answer,
        Bounds,
        ExecuteResult,
        Job, //
    },
    recovery::Recovery, //
};
use kernel::time::{
    msecs_to_jiffies,
    Jiffies, //
};

/// The timeout of a command, in milliseconds.
const COMMAND_TIMEOUT_MS: u32 = 5_000;

/// Returns the timeout of a command, in jiffies.
pub(super) fn command_timeout() -> Jiffies {
    msecs_to_jiffies(COMMAND_TIMEOUT_MS)
}

/// Returns what commands to `count` logical units at once may take.
pub(super) fn bounds_for(count: usize) -> Bounds {
    Bounds {
        timeout: command_timeout(),
        start: Jiffies::MAX,
        leaves_room: count > 1,
    }
}

/// The result of INQUIRY.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum InquiryResult {
    /// The first byte of the data: peripheral qualifier and device type.
    Data(u8),
    /// The target does not exist, or does not have the logical unit.
    NotThere,
    /// The command was not answered.
    Silent,
    /// The command was not sent: too many others were not answered, or for lack of memory or of
    /// room on the ring.
    NotSent,
    /// The command failed, or transferred nothing.
    Failed,
}

impl InquiryResult {
    /// Takes the result from the answer of an address.
    fn of(answer: &Answer) -> Self {
        match answer.result {
            ExecuteResult::Good(1..) => {
                let mut first = [0];

                answer.copy_to(&mut first);

                let [first] = first;

                Self::Data(first)
            }
            ExecuteResult::NotThere | ExecuteResult::NoUnit => Self::NotThere,
            ExecuteResult::Unanswered => Self::Silent,
            ExecuteResult::NotSent => Self::NotSent,
            _ => Self::Failed,
        }
    }
}

/// Reads the standard INQUIRY data of addresses, which come with a number each, several at a time.
/// `take` is called once for each, with its number.
///
/// Process context.
pub(super) fn inquire_all(
    recovery: &Recovery,
    addresses: impl IntoIterator<Item = (usize, Address)>,
    bounds: Bounds,
    mut take: impl FnMut(usize, InquiryResult),
) {
    let jobs = addresses.into_iter().map(|(number, address)| Job {
        address,
        cdb: &INQUIRY,
        len: INQUIRY_LEN.into(),
        number,
    });

    recovery.execute_all(jobs, bounds, |job, answer| {
        take(job.number, InquiryResult::of(&answer));
    });
}

/// Reads the standard INQUIRY data of an address.
///
/// Process context.
pub(super) fn inquire(recovery: &Recovery, address: Address) -> InquiryResult {
    let mut result = InquiryResult::NotSent;

    inquire_all(recovery, [(0, address)], bounds_for(1), |_, one| {
        result = one;
    });
    result
}

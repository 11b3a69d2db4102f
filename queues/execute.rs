// SPDX-License-Identifier: GPL-2.0

//! Commands of the driver's own, which find out which logical units exist.
//!
//! They go to an address, whether or not the midlayer has a logical unit there, and whatever the
//! state of that unit: offline, asleep, or not found yet. The midlayer does not see them, so it
//! neither retries nor recovers them. A command that is not answered stays with the device until
//! that answers or is reset, and delays nothing else.
//!
//! Several can be in flight at once: `flight.rs` has what becomes of each, and `sender.rs` the
//! means that they share.

use super::{
    flight::{
        Flight,
        Step, //
    },
    own_command::{
        Answer,
        ExecuteResult,
        Job, //
    },
    request::RequestQueue,
    request_queues::RequestQueues,
    sender::Sender,
    unanswered::UNANSWERED_MAX, //
};
use crate::{
    kernel_glue::Stamp,
    protocol::address::Address, //
};
use kernel::{
    prelude::*,
    time::{
        msecs_to_jiffies,
        Jiffies, //
    },
};

/// The driver's own commands take at most one part in this many of the ring.
const RING_PART: u32 = 4;

/// One part in this many of the commands that may be in flight is the room that is left.
const ROOM_PART: usize = 4;

/// How often to check whether the device is being unbound, in milliseconds.
const POLL_INTERVAL_MS: u32 = 100;

/// What commands of the driver's own may take.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// How long each is waited for, in jiffies.
    pub timeout: Jiffies,
    /// How long commands are sent, in jiffies.
    pub start: Jiffies,
    /// Whether they leave room for others that are sent at the same time or later, if the ring is
    /// large enough for two.
    pub leaves_room: bool,
}

impl RequestQueues {
    /// Sends a command to an address and waits for it up to `timeout` jiffies. Its data are read to
    /// `data`.
    ///
    /// Process context. The address need not be one of a logical unit that the midlayer has. For a
    /// command that was not answered, `abandon` is called with its tag.
    pub(crate) fn execute(
        &self,
        address: Address,
        cdb: &[u8],
        data: &mut [u8],
        timeout: Jiffies,
        abandon: impl FnMut(Address, u64),
    ) -> ExecuteResult {
        let mut result = ExecuteResult::NotSent;
        let bounds = Bounds {
            timeout,
            start: Jiffies::MAX,
            leaves_room: false,
        };
        let job = Job {
            address,
            cdb,
            len: data.len(),
            number: 0,
        };

        self.execute_all([job], bounds, abandon, |_, answer| {
            result = answer.result;
            answer.copy_to(data);
        });
        result
    }

    /// Sends commands, several at a time, and waits for them within `bounds`. `answered` is called
    /// once for each, in the order of the answers.
    ///
    /// When no further command may be sent, because it is too late or too many were not answered,
    /// those that are left have the result [`ExecuteResult::NotSent`]. So this takes the time that
    /// commands are sent, or a timeout for as many commands as can be in flight, plus one timeout,
    /// plus what `abandon` takes.
    ///
    /// Process context. For a command that was not answered, `abandon` is called with its address
    /// and its tag.
    pub(crate) fn execute_all<'a>(
        &self,
        jobs: impl IntoIterator<Item = Job<'a>>,
        bounds: Bounds,
        abandon: impl FnMut(Address, u64),
        mut answered: impl FnMut(Job<'a>, Answer),
    ) {
        let all = self.own_max();
        let room = match bounds.leaves_room && all > 1 {
            true => (all / ROOM_PART).max(1),
            false => 0,
        };
        let most = all - room;
        let mut jobs = jobs.into_iter().fuse();
        let began = Stamp::now();
        let count = jobs.size_hint().1.unwrap_or(usize::MAX).min(most);
        let (Ok(mut places), Ok(mut sender)) = (new_places(count), Sender::new(self, abandon))
        else {
            return jobs
                .for_each(|job| answered(job, Answer::without_data(ExecuteResult::NotSent)));
        };
        let mut flying = 0;

        loop {
            let mut next = None;
            let mut unanswered = self.unanswered().count();

            for place in places.iter_mut() {
                let step = match place.take() {
                    Some(flight) => {
                        flying -= 1;
                        flight.step(&mut sender)
                    }
                    None => {
                        let is_full = flying + unanswered >= most;

                        if is_full && flying > 0 {
                            continue;
                        }
                        let is_over = is_full
                            || began.elapsed() >= bounds.start
                            || self.shared().life().is_leaving();

                        match jobs.next() {
                            None => continue,
                            Some(job) if is_over => Step::ended(job, ExecuteResult::NotSent),
                            Some(job) => Flight::start(job, bounds.timeout, &mut sender),
                        }
                    }
                };
                let wait = match step {
                    Step::Wait(flight, wait) => {
                        flying += 1;
                        *place = Some(flight);
                        wait
                    }
                    Step::Ended(job, answer) => {
                        if answer.result == ExecuteResult::Unanswered {
                            unanswered = self.unanswered().count();
                        }
                        answered(job, answer);
                        0
                    }
                };

                next = Some(next.map_or(wait, |next| wait.min(next)));
            }
            let Some(next) = next else {
                return;
            };

            if next > 0 {
                sender.wait(next.min(msecs_to_jiffies(POLL_INTERVAL_MS)));
            }
        }
    }

    /// Returns how many commands of its own the driver may have in flight, and leave with the
    /// device.
    pub(super) fn own_max(&self) -> usize {
        let most = self.limits().commands_per_queue;
        let commands = match self.first().map_or(0, RequestQueue::size) {
            // The device is being reset: its ring is not there yet.
            0 => most,
            size => size.min(most),
        };

        // CAST: It is a small number.
        ((commands / RING_PART) as usize).clamp(1, UNANSWERED_MAX)
    }
}

/// Makes places for `count` commands in flight.
fn new_places<'a>(count: usize) -> Result<KVec<Option<Flight<'a>>>> {
    let mut places = KVec::with_capacity(count, GFP_KERNEL)?;

    for _ in 0..count {
        places.push(None, GFP_KERNEL)?;
    }
    Ok(places)
}

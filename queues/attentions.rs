// SPDX-License-Identifier: GPL-2.0

//! The unit attentions that logical units have reported not long ago.
//!
//! A device tells of a change by an event, and the logical unit by a unit attention, of which the midlayer tells user
//! space. Whoever handles the event finds out here whether that was done.

use super::{
    sense::SenseCode,
    wire::Address, //
};
use crate::virtio_glue::{
    new_locked,
    Locked,
    Stamp, //
};
use kernel::{
    prelude::*,
    time::{
        msecs_to_jiffies,
        Jiffies, //
    },
};

/// How many are remembered. The oldest is forgotten first.
const ATTENTIONS: usize = 16;

/// How long one is remembered, in milliseconds.
const RECENT: u32 = 10_000;

/// A unit attention.
#[derive(Clone, Copy)]
struct Attention {
    address: Address,
    code: SenseCode,
    at: Stamp,
}

impl Attention {
    /// Returns whether it is older than `age` jiffies.
    fn is_older(&self, age: Jiffies) -> bool {
        self.at.elapsed() > age
    }
}

/// The unit attentions that logical units have reported not long ago.
#[pin_data]
pub struct Attentions {
    #[pin]
    recent: Locked<[Option<Attention>; ATTENTIONS]>,
}

impl Attentions {
    /// Makes an empty list.
    pub(super) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            recent <- new_locked!([None; ATTENTIONS], c"Attentions::recent"),
        })
    }

    /// Notes one. Any context.
    pub(super) fn note(&self, address: Address, code: SenseCode) {
        let mut recent = self.recent.lock();

        recent.rotate_right(1);
        if let Some(first) = recent.first_mut() {
            *first = Some(Attention {
                address,
                code,
                at: Stamp::now(),
            });
        }
    }

    /// Returns whether a logical unit has reported a code not long ago, and forgets it. Any context.
    pub fn take(&self, address: Address, asc: u8, ascq: u8) -> bool {
        let recent = msecs_to_jiffies(RECENT);

        self.recent.lock().iter_mut().any(|place| {
            place
                .take_if(|each| {
                    each.address == address && (each.code.asc, each.code.ascq) == (asc, ascq)
                })
                .is_some_and(|each| !each.is_older(recent))
        })
    }
}

// SPDX-License-Identifier: GPL-2.0

//! The recent unit attentions of logical units.
//!
//! The device reports a change by an event, and the logical unit by a unit attention, which the
//! midlayer passes to user space. The handler of events finds out here whether that has happened.

use crate::{
    kernel_glue::{
        new_locked,
        Locked,
        Stamp, //
    },
    protocol::{
        address::Address,
        sense::SenseCode, //
    },
};
use kernel::{
    prelude::*,
    time::msecs_to_jiffies, //
};

/// The most unit attentions on the list. The oldest is dropped first.
const ATTENTIONS_MAX: usize = 16;

/// How long a unit attention is kept, in milliseconds.
const RECENT_MS: u32 = 10_000;

/// A unit attention.
#[derive(Clone, Copy)]
struct Attention {
    address: Address,
    code: SenseCode,
    at: Stamp,
}

impl Attention {
    /// Returns whether it is recent.
    fn is_recent(&self) -> bool {
        self.at.elapsed() <= msecs_to_jiffies(RECENT_MS)
    }
}

/// The recent unit attentions of logical units.
#[pin_data]
pub struct Attentions {
    #[pin]
    recent: Locked<[Option<Attention>; ATTENTIONS_MAX]>,
}

impl Attentions {
    /// Makes an empty list.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            recent <- new_locked!([None; ATTENTIONS_MAX], c"Attentions::recent"),
        })
    }

    /// Adds a unit attention. Any context.
    pub(crate) fn note(&self, address: Address, code: SenseCode) {
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

    /// Returns whether a logical unit has reported a code recently, and drops it from the list. Any
    /// context.
    pub fn take(&self, address: Address, asc: u8, ascq: u8) -> bool {
        self.recent.lock().iter_mut().any(|place| {
            place
                .take_if(|each| {
                    each.address == address && (each.code.asc, each.code.ascq) == (asc, ascq)
                })
                .is_some_and(|each| each.is_recent())
        })
    }
}

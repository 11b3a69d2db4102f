// SPDX-License-Identifier: GPL-2.0

//! What the driver keeps with a command: its tag, where it is, and how far its recovery is.

use crate::virtio_glue::{
    Flag,
    Stamp, //
};
use kernel::{
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
    time::Jiffies, //
};

/// How far the recovery of a command is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub(super) enum Stage {
    /// It has not taken too long yet.
    Sent,
    /// It has, and the device was notified again. It gets a moment, and is then asked whether it has the command.
    Notified,
    /// It has taken too long again, and the device is to be asked again.
    ToAsk,
    /// The device says that it has the command.
    Held,
    /// The device refuses to say whether it has the command.
    Untold,
    /// The device does not have the command, and has not answered it.
    Lost,
    /// The device has not answered when it was asked.
    Silent,
    /// Nobody is to wait for the command any longer.
    ToAbort,
    /// The device was asked to abort it.
    Aborting,
}

impl Stage {
    const ALL: [Self; 9] = [
        Self::Sent,
        Self::Notified,
        Self::ToAsk,
        Self::Held,
        Self::Untold,
        Self::Lost,
        Self::Silent,
        Self::ToAbort,
        Self::Aborting,
    ];

    /// Returns whether the command is waited for although it has taken too long.
    pub(super) fn waits(self) -> bool {
        self.is_asked_for() || matches!(self, Self::Held | Self::Untold)
    }

    /// Returns whether the device is to be asked for the command.
    pub(super) fn is_asked_for(self) -> bool {
        matches!(self, Self::Notified | Self::ToAsk)
    }
}

/// What the driver keeps with a command.
///
/// The midlayer uses a command again and again. What is said of one use of it goes with the number of that
/// use, its generation.
#[repr(C)]
pub struct Progress {
    /// Counts the uses of the command, so that no two have the same tag for a long time.
    generation: Atomic<u32>,
    /// A [`Stage`].
    stage: Atomic<u32>,
    /// Whether it is on a virtqueue. Changes under the lock of the virtqueue, or when the virtqueue is taken down.
    on_ring: Flag,
    /// The last use that was not waited for any longer though the device had it.
    given_up: Atomic<u32>,
    /// When it was sent, in jiffies, once it has taken too long.
    sent: Atomic<u64>,
    /// The use that a removal of the host has seen last, and when it has seen that first, in jiffies.
    seen: Atomic<u32>,
    seen_since: Atomic<u64>,
    /// The last use for which there was no memory, when the first such use of the row was, and since when
    /// the host had nothing else in flight at each of them, in jiffies.
    refused: Atomic<u32>,
    refused_since: Atomic<u64>,
    /// How often the device was reset for the command, over all tries of it.
    strikes: Atomic<u32>,
    alone_since: Atomic<u64>,
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            generation: Atomic::new(0),
            stage: Atomic::new(Stage::Sent as u32),
            on_ring: Flag::default(),
            given_up: Atomic::new(0),
            sent: Atomic::new(0),
            seen: Atomic::new(0),
            seen_since: Atomic::new(0),
            // No use comes right after this one: the first is 1.
            refused: Atomic::new(u32::MAX),
            refused_since: Atomic::new(0),
            strikes: Atomic::new(0),
            alone_since: Atomic::new(0),
        }
    }
}

/// Keeps a point in time.
fn keep(place: &Atomic<u64>, stamp: Stamp) {
    // CAST: A `Jiffies` has 64 bits or fewer.
    place.store(stamp.as_raw() as u64, Relaxed);
}

/// Returns how long ago a point in time was that was kept.
fn age(place: &Atomic<u64>) -> Jiffies {
    // CAST: It was a `Jiffies`.
    Stamp::from_raw(place.load(Relaxed) as Jiffies).elapsed()
}

impl Progress {
    /// Returns the tag for the next use of a command.
    ///
    /// It is made of numbers that mean nothing outside of the driver, and an ABORT TASK that comes
    /// late does not hit another use of the same command.
    #[inline]
    pub(super) fn next_tag(&self, unique_tag: u32) -> u64 {
        // Only the owner of the command changes it.
        self.generation
            .store(self.generation.load(Relaxed).wrapping_add(1), Relaxed);
        self.stage.store(Stage::Sent as u32, Relaxed);
        self.tag(unique_tag)
    }

    /// Returns the number of the current use.
    pub(super) fn generation(&self) -> u32 {
        self.generation.load(Relaxed)
    }

    /// Returns the tag of the current use of a command.
    pub(super) fn tag(&self, unique_tag: u32) -> u64 {
        u64::from(self.generation()) << 32 | u64::from(unique_tag)
    }

    /// Returns how far its recovery is.
    pub(super) fn stage(&self) -> Stage {
        let stage = self.stage.load(Relaxed);

        Stage::ALL
            .into_iter()
            .find(|each| *each as u32 == stage)
            .unwrap_or(Stage::Sent)
    }

    /// Goes from one stage to another. Does nothing, and returns false, if it is at another: somebody else
    /// was quicker, or this is the next use of the command.
    pub(super) fn go(&self, from: Stage, to: Stage) -> bool {
        self.stage.cmpxchg(from as u32, to as u32, Relaxed).is_ok()
    }

    /// Returns whether the current use has taken longer than its time-out.
    pub(super) fn has_taken_long(&self) -> bool {
        self.stage.load(Relaxed) != Stage::Sent as u32
    }

    /// Notes that the device is asked to abort the command.
    pub(super) fn request_abort(&self) {
        self.stage.store(Stage::Aborting as u32, Relaxed);
    }

    /// Returns whether the device was asked to abort the command.
    #[inline]
    pub(super) fn abort_requested(&self) -> bool {
        self.stage.load(Relaxed) == Stage::Aborting as u32
    }

    /// Notes whether the command is on a virtqueue, whose lock has to be held.
    #[inline]
    pub(super) fn set_on_ring(&self, on_ring: bool) {
        if on_ring {
            self.on_ring.set();
        } else {
            self.on_ring.clear();
        }
    }

    /// Returns whether the command is on a virtqueue.
    pub(super) fn is_on_ring(&self) -> bool {
        self.on_ring.is_set()
    }

    /// Notes that the command has been in flight for `timeout` jiffies.
    pub(super) fn note_timeout(&self, timeout: Jiffies) {
        keep(&self.sent, Stamp::now().before(timeout));
    }

    /// Returns how long a command that has taken too long has been in flight, in jiffies.
    pub(super) fn age(&self) -> Jiffies {
        age(&self.sent)
    }

    /// Notes that nobody waits any longer for a device that has the command.
    pub(super) fn give_up(&self) {
        self.given_up.store(self.generation(), Relaxed);
    }

    /// Returns whether the current use was not waited for any longer though the device had the command.
    pub(super) fn is_given_up(&self) -> bool {
        self.given_up.load(Relaxed) == self.generation()
    }

    /// Returns how long the current use has been seen in flight, in jiffies. For one caller at a time.
    pub(super) fn seen_for(&self) -> Jiffies {
        let generation = self.generation();

        if self.seen.load(Relaxed) != generation {
            self.seen.store(generation, Relaxed);
            keep(&self.seen_since, Stamp::now());
        }
        age(&self.seen_since)
    }

    /// Counts a reset of the device for the command, and returns how many there were. `again` is whether it is
    /// tried again, and so the same command as before.
    pub(super) fn strike(&self, again: bool) -> u32 {
        let before = if again { self.strikes.load(Relaxed) } else { 0 };

        self.strikes.store(before.saturating_add(1), Relaxed);
        before.saturating_add(1)
    }

    /// Notes that there was no memory for the current use. `alone` is whether the host has nothing else in
    /// flight. Returns for how long that has been so for each use, in jiffies: at all, and while the host
    /// had nothing else in flight.
    ///
    /// For the owner of the command.
    pub(super) fn refuse(&self, alone: bool) -> (Jiffies, Jiffies) {
        let generation = self.generation();
        let is_next = self.refused.load(Relaxed) == generation.wrapping_sub(1);
        let now = Stamp::now();

        self.refused.store(generation, Relaxed);
        if !is_next {
            keep(&self.refused_since, now);
        }
        if !is_next || !alone {
            keep(&self.alone_since, now);
        }
        (age(&self.refused_since), age(&self.alone_since))
    }
}

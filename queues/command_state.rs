// SPDX-License-Identifier: GPL-2.0

//! The data that the driver keeps with a command: its generation, whether it is on a virtqueue, and
//! the stage of its recovery.

use crate::{
    kernel_glue::{
        Stamp,
        Unordered, //
    },
    protocol::{
        address::Address,
        command::{
            CommandRequest,
            CommandResponse, //
        },
    },
    scsi_glue::{
        self,
        CommandData,
        DeviceData, //
    },
};
use kernel::{
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
    time::Jiffies, //
};

/// The private area of a command of this driver.
pub enum CommandPdu {}

impl CommandData for CommandPdu {
    type Request = [u8; CommandRequest::SIZE];
    type Response = CommandResponse;
    type Private = CommandState;
    type Device = UnitData;
}

/// A command of this driver, lent.
pub(crate) type Cmnd = scsi_glue::Cmnd<CommandPdu>;

/// A command that the driver owns.
pub(crate) type OwnedCmnd = scsi_glue::OwnedCmnd<CommandPdu>;

/// A logical unit of this driver's hosts.
pub type Unit = scsi_glue::Device<CommandPdu>;

/// The SCSI host of a device.
pub(crate) type Host = scsi_glue::Host<CommandPdu>;

/// Returns the address of a logical unit, or [`None`] if no device can have it.
#[inline]
pub(crate) fn address_of(unit: &Unit) -> Option<Address> {
    Address::new(unit.target(), unit.lun())
}

/// The data that the driver keeps with a logical unit.
pub struct UnitData {
    /// The first four bytes of the LUN field of its requests, whose rest is zeroes; or
    /// [`NO_ADDRESS`], or [`CONDEMNED`], which differ from all of these in the first byte.
    lun_field: Atomic<u32>,
}

/// The first byte of each LUN field that a device can have.
const LUN_FIELD_FIRST: u8 = 1;

/// Stands for the LUN field of a logical unit that no device can have.
const NO_ADDRESS: u32 = u32::from_ne_bytes([0, 0, 0, 0]);

/// Stands for the LUN field of a logical unit that is condemned.
const CONDEMNED: u32 = u32::from_ne_bytes([0, 1, 0, 0]);

impl DeviceData for UnitData {
    fn new(target: u32, lun: u64) -> Self {
        let field = match Address::new(target, lun).and_then(Address::encode) {
            Some([LUN_FIELD_FIRST, b, c, d, 0, 0, 0, 0]) => {
                u32::from_ne_bytes([LUN_FIELD_FIRST, b, c, d])
            }
            _ => NO_ADDRESS,
        };

        Self {
            lun_field: Atomic::new(field),
        }
    }
}

impl UnitData {
    /// Returns the LUN field of requests, or [`None`] if none can be sent: no device can have the
    /// address, or the unit is condemned.
    #[inline]
    pub(super) fn lun_field(&self) -> Option<[u8; 8]> {
        let [first, b, c, d] = self.lun_field.load_once().to_ne_bytes();

        (first == LUN_FIELD_FIRST).then_some([first, b, c, d, 0, 0, 0, 0])
    }

    /// Returns whether [`condemn`] was called: commands must not be sent any more.
    pub fn is_condemned(&self) -> bool {
        self.lun_field.load_once() == CONDEMNED
    }
}

/// Makes all commands of a logical unit fail that were not sent yet, for good. The offline state
/// alone does not: the midlayer sends SYNCHRONIZE CACHE to a disk that it removes, and waits.
///
/// Process context.
pub fn condemn(unit: &Unit) {
    unit.data().lun_field.store(CONDEMNED, Relaxed);
    unit.set_offline();
}

/// The stage of the recovery of a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub(crate) enum Stage {
    /// It has not timed out.
    Sent,
    /// It has timed out, and the device was notified again. QUERY TASK is to follow after a grace
    /// period.
    Notified,
    /// It has timed out again, and QUERY TASK is to be sent again.
    ToQuery,
    /// The device has the command, by its answer to QUERY TASK.
    Held,
    /// The device has refused QUERY TASK.
    QueryRefused,
    /// The device does not have the command, by its answer to QUERY TASK, and has not completed it.
    Lost,
    /// The device has not answered QUERY TASK.
    Unanswered,
    /// The command must not be waited for any longer.
    ToAbort,
    /// The device was asked to abort it.
    Aborting,
}

impl Stage {
    const ALL: [Self; 9] = [
        Self::Sent,
        Self::Notified,
        Self::ToQuery,
        Self::Held,
        Self::QueryRefused,
        Self::Lost,
        Self::Unanswered,
        Self::ToAbort,
        Self::Aborting,
    ];

    /// Returns its name in reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Notified => "notified",
            Self::ToQuery => "to_query",
            Self::Held => "held",
            Self::QueryRefused => "query_refused",
            Self::Lost => "lost",
            Self::Unanswered => "unanswered",
            Self::ToAbort => "to_abort",
            Self::Aborting => "aborting",
        }
    }

    /// Returns whether the command is waited for although it has timed out.
    pub(crate) fn waits(self) -> bool {
        self.needs_query() || matches!(self, Self::Held | Self::QueryRefused)
    }

    /// Returns whether QUERY TASK is to be sent for the command.
    pub(crate) fn needs_query(self) -> bool {
        matches!(self, Self::Notified | Self::ToQuery)
    }
}

/// The data that the driver keeps with a command.
///
/// The midlayer uses a command again and again. The number of a use is its generation. Fields that
/// concern one use are stored together with its generation, or reset by [`CommandState::next_tag`].
#[repr(C)]
pub struct CommandState {
    /// The generation of the current use. It makes tags differ for a long time.
    generation: Atomic<u32>,
    /// A [`Stage`].
    stage: Atomic<u32>,
    /// Whether it is on a virtqueue. Changes under the lock of the virtqueue, or while the
    /// virtqueue is deleted.
    on_ring: Atomic<bool>,
    /// The generation that was last given up while the device had the command.
    given_up: Atomic<u32>,
    /// When it was sent, in jiffies, once it has timed out.
    sent: Atomic<u32>,
    /// The generation that the removal of the host has seen last, and when it saw that first, in
    /// jiffies.
    seen: Atomic<u32>,
    seen_since: Atomic<u32>,
    /// The last generation that found no memory, and when the first of those in a row found none,
    /// in jiffies.
    starved: Atomic<u32>,
    starved_since: Atomic<u32>,
    /// How often the device was reset for the command, over all its retries.
    strikes: Atomic<u32>,
    /// Since when the host has had nothing else in flight each time, in jiffies.
    alone_since: Atomic<u32>,
    /// The generation that has timed out last, and when it did first, in jiffies.
    timed_out: Atomic<u32>,
    timed_out_since: Atomic<u32>,
    /// The age that the command had when it was renewed, in jiffies, and when that was, in jiffies.
    carried: Atomic<u32>,
    renewed: Atomic<u32>,
    /// The generation that was last logged for its age.
    reported: Atomic<u32>,
    /// When it was last sent while times were recorded, in nanoseconds.
    began: Atomic<u64>,
}

impl Default for CommandState {
    fn default() -> Self {
        Self {
            generation: Atomic::new(0),
            stage: Atomic::new(Stage::Sent as u32),
            on_ring: Atomic::new(false),
            given_up: Atomic::new(0),
            sent: Atomic::new(0),
            seen: Atomic::new(0),
            seen_since: Atomic::new(0),
            // No generation comes right after this one: the first is 1.
            starved: Atomic::new(u32::MAX),
            starved_since: Atomic::new(0),
            strikes: Atomic::new(0),
            alone_since: Atomic::new(0),
            timed_out: Atomic::new(0),
            timed_out_since: Atomic::new(0),
            carried: Atomic::new(0),
            renewed: Atomic::new(0),
            reported: Atomic::new(0),
            began: Atomic::new(0),
        }
    }
}

/// How long a command has found no memory, in jiffies.
#[derive(Clone, Copy)]
pub(crate) struct Starvation {
    /// At all.
    pub(crate) total: Jiffies,
    /// While the host had nothing else in flight.
    pub(crate) alone: Jiffies,
}

/// Stores a point in time.
fn store(place: &Atomic<u32>, stamp: Stamp) {
    // CAST: The lower half is enough: see `age`.
    place.store(stamp.as_raw() as u32, Relaxed);
}

/// Returns how long ago a stored point in time was, in jiffies. Wraps around after 49 days or more,
/// which none of the times that it is compared with has.
fn age(place: &Atomic<u32>) -> Jiffies {
    // CAST: As in `store`.
    let now = Stamp::now().as_raw() as u32;

    // CAST: A `Jiffies` has 32 bits or more.
    now.wrapping_sub(place.load(Relaxed)) as Jiffies
}

impl CommandState {
    /// Begins the next use of the command, and returns its tag.
    ///
    /// A late ABORT TASK cannot hit another use of the same command, as the tag differs. The tag
    /// has no meaning outside of the driver.
    #[inline]
    pub(crate) fn next_tag(&self, unique_tag: u32) -> u64 {
        // Only the owner of the command changes it.
        let generation = self.generation.load_once().wrapping_add(1);

        self.generation.store_once(generation);
        self.stage.store_once(Stage::Sent as u32);
        Self::make_tag(generation, unique_tag)
    }

    /// Returns the generation of the current use.
    pub(crate) fn generation(&self) -> u32 {
        self.generation.load_once()
    }

    /// Returns the tag of the current use.
    pub(crate) fn tag(&self, unique_tag: u32) -> u64 {
        Self::make_tag(self.generation(), unique_tag)
    }

    /// Returns the tag of a use.
    #[inline]
    fn make_tag(generation: u32, unique_tag: u32) -> u64 {
        u64::from(generation) << 32 | u64::from(unique_tag)
    }

    /// Returns the stage of the recovery.
    pub(crate) fn stage(&self) -> Stage {
        let stage = self.stage.load(Relaxed);

        Stage::ALL
            .into_iter()
            .find(|each| *each as u32 == stage)
            .unwrap_or(Stage::Sent)
    }

    /// Changes the stage from `from` to `to`. Does nothing and returns false if it is another by
    /// now, because of another thread or another use of the command.
    pub(crate) fn advance(&self, from: Stage, to: Stage) -> bool {
        self.stage.cmpxchg(from as u32, to as u32, Relaxed).is_ok()
    }

    /// Returns whether the current use has timed out.
    pub(crate) fn has_timed_out(&self) -> bool {
        self.stage.load(Relaxed) != Stage::Sent as u32
    }

    /// Notes that the device is asked to abort the command.
    pub(crate) fn request_abort(&self) {
        self.stage.store(Stage::Aborting as u32, Relaxed);
    }

    /// Returns whether the device was asked to abort the command.
    #[inline]
    pub(crate) fn abort_requested(&self) -> bool {
        self.stage.load_once() == Stage::Aborting as u32
    }

    /// Notes whether the command is on a virtqueue, whose lock must be held.
    #[inline]
    pub(crate) fn set_on_ring(&self, on_ring: bool) {
        self.on_ring.store_once(on_ring);
    }

    /// Returns whether the command is on a virtqueue.
    pub(crate) fn is_on_ring(&self) -> bool {
        self.on_ring.load_once()
    }

    /// Notes that the current use has timed out after `timeout` jiffies, unless that was noted.
    pub(crate) fn note_timeout(&self, timeout: Jiffies) {
        let now = Stamp::now();

        if self.timed_out.load(Relaxed) != self.generation() {
            store(&self.sent, now.before(timeout));
            store(&self.timed_out_since, now);
            self.timed_out.store(self.generation(), Relaxed);
        }
    }

    /// Returns how long ago the current use has timed out first, in jiffies, if it has.
    pub(crate) fn overdue(&self) -> Option<Jiffies> {
        (self.timed_out.load(Relaxed) == self.generation()).then(|| age(&self.timed_out_since))
    }

    /// Notes the age of a command whose time begins anew at `stamp`.
    pub(super) fn carry(&self, age: Jiffies, stamp: Stamp) {
        // CAST: The lower half is enough, as in `store`.
        self.carried.store(age as u32, Relaxed);
        store(&self.renewed, stamp);
    }

    /// Returns the age that a command had when its time began anew, in jiffies, if that was at
    /// `stamp`. Another command has another stamp.
    pub(super) fn carried(&self, stamp: Stamp) -> Jiffies {
        // CAST: As in `store`; a `Jiffies` has 32 bits or more.
        if self.renewed.load(Relaxed) == stamp.as_raw() as u32 {
            self.carried.load(Relaxed) as Jiffies
        } else {
            0
        }
    }

    /// Returns how long a command that has timed out has been in flight, in jiffies.
    pub(crate) fn age(&self) -> Jiffies {
        age(&self.sent)
    }

    /// Notes that the current use is given up although the device has the command.
    pub(crate) fn give_up(&self) {
        self.given_up.store(self.generation(), Relaxed);
    }

    /// Returns whether the current use was given up although the device has the command.
    pub(crate) fn is_given_up(&self) -> bool {
        self.given_up.load(Relaxed) == self.generation()
    }

    /// Notes when the command was sent, in nanoseconds.
    pub(super) fn note_begin(&self, now: u64) {
        self.began.store(now, Relaxed);
    }

    /// Returns when the command was last sent while that was noted, in nanoseconds.
    pub(super) fn began(&self) -> u64 {
        self.began.load(Relaxed)
    }

    /// Notes that the current use was logged for its age.
    pub(crate) fn note_report(&self) {
        self.reported.store(self.generation(), Relaxed);
    }

    /// Returns whether the current use was logged for its age.
    pub(crate) fn is_reported(&self) -> bool {
        self.reported.load(Relaxed) == self.generation()
    }

    /// Returns how long callers have seen the current use in flight, in jiffies. For one caller at
    /// a time.
    pub(crate) fn seen_for(&self) -> Jiffies {
        let generation = self.generation();

        if self.seen.load(Relaxed) != generation {
            self.seen.store(generation, Relaxed);
            store(&self.seen_since, Stamp::now());
        }
        age(&self.seen_since)
    }

    /// Counts a reset of the device for the command, and returns their number. `retried` is whether
    /// the midlayer has retried the command; if not, the count starts anew.
    pub(crate) fn strike(&self, retried: bool) -> u32 {
        let before = if retried {
            self.strikes.load(Relaxed)
        } else {
            0
        };

        self.strikes.store(before.saturating_add(1), Relaxed);
        before.saturating_add(1)
    }

    /// Notes that the current use found no memory, and returns for how long that has been so for
    /// each use. `alone` is whether the host has nothing else in flight.
    ///
    /// For the owner of the command.
    pub(crate) fn starve(&self, alone: bool) -> Starvation {
        let generation = self.generation();
        let is_next = self.starved.load(Relaxed) == generation.wrapping_sub(1);
        let now = Stamp::now();

        self.starved.store(generation, Relaxed);
        if !is_next {
            store(&self.starved_since, now);
        }
        if !is_next || !alone {
            store(&self.alone_since, now);
        }
        Starvation {
            total: age(&self.starved_since),
            alone: age(&self.alone_since),
        }
    }
}

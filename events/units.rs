// SPDX-License-Identifier: GPL-2.0

//! What is found out about a logical unit that the midlayer knows, and what is done about it.

use super::{
    identities::{
        Pages,
        Reading, //
    },
    looks::Why,
    vpd::{
        self,
        Page,
        Presence,
        INQUIRY,
        INQUIRY_LEN, //
    },
    worker::Handling, //
};
use crate::{
    queues::{
        wire::{
            Address,
            LUN_FLAT, //
        },
        Initiator,
        OwnAnswer, //
    },
    scsi_glue::{
        LogicalUnit,
        UnitState, //
    },
};
use kernel::{
    prelude::*,
    time::{
        msecs_to_jiffies,
        Jiffies, //
    },
};

/// TEST UNIT READY (SPC).
pub(super) const TEST_UNIT_READY: [u8; 16] = [0; 16];

/// How long a logical unit gets to answer what the driver wants to know, in milliseconds.
const PATIENCE: u32 = 5_000;

/// Returns how long a logical unit gets to answer what the driver wants to know, in jiffies.
pub(super) fn patience() -> Jiffies {
    msecs_to_jiffies(PATIENCE)
}

/// What was found out about a logical unit that the midlayer knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Finding {
    /// It is there.
    Same,
    /// Its target does not answer, or says that it does not have it.
    Gone,
    /// There is another one in its place: of another type, or with another serial number or designator.
    Another,
    /// It does not answer.
    Silent,
    /// It cannot be told.
    Unknown,
}

/// Returns the address of a logical unit.
pub(super) fn address_of(unit: &LogicalUnit) -> Option<Address> {
    Some(Address {
        target: u8::try_from(unit.target()).ok()?,
        lun: unit.lun(),
    })
}

/// Reads the list of pages of vital product data of a logical unit, and has the midlayer leave the pages alone if it is
/// malformed: it asks for all that is on it, again and again, and lets nobody else add or remove a unit of the host
/// meanwhile. Returns the list.
///
/// Process context, before the midlayer reads the pages.
pub(super) fn check_list(initiator: &Initiator, unit: &LogicalUnit, address: Address) -> Reading {
    if !unit.has_vpd() {
        return Reading::Missing;
    }

    let list = Reading::of(initiator, address, Page::List, patience());

    if !vpd::is_list_plausible(list.bytes()) {
        let shared = initiator.shared();

        unit.skip_vpd();
        if shared.may_complain() {
            dev_warn!(
                shared.dev(),
                "target {} lun {}: the list of VPD pages is malformed: none of them is read\n",
                address.target,
                address.lun
            );
        }
        return Reading::Missing;
    }
    list
}

impl Handling {
    /// Returns the logical unit at an address.
    ///
    /// A unit below 256 that the device reports in the flat format has another number than one in
    /// the peripheral format, which is what addresses of events are in.
    pub(super) fn find(&self, address: Address) -> Option<LogicalUnit> {
        let target = address.target.into();

        self.host
            .logical_unit(target, address.lun)
            .or_else(|| self.host.logical_unit(target, address.lun | LUN_FLAT))
    }

    /// Returns the logical units of a target, or of all, that there are now, but for those that are being scanned or
    /// removed.
    ///
    /// Those that come meanwhile are not among them: a unit that is replaced may come back again and again.
    pub(super) fn units(&self, target: Option<u8>) -> KVec<LogicalUnit> {
        let mut units = KVec::new();

        for unit in self.host.logical_units() {
            if target.is_none_or(|target| unit.target() == u32::from(target))
                && matches!(unit.state(), UnitState::Online | UnitState::Offline)
                && units.push(unit, GFP_KERNEL).is_err()
            {
                // Those for which there was no memory have their turn later.
                self.looks.add_all();
                break;
            }
        }
        units
    }

    /// Finds out whether a logical unit is still there, and whether it is the one that the midlayer knows.
    ///
    /// One that cannot be asked, or does not answer well, stays what it was. It is asked whatever the midlayer thinks
    /// of its state: it may be offline, or asleep, and stays that.
    pub(super) fn find_out(&self, unit: &LogicalUnit) -> Finding {
        let (Some(initiator), Some(address)) = (self.host.driver(), address_of(unit)) else {
            return Finding::Unknown;
        };
        let mut data = [0; INQUIRY_LEN as usize];

        match initiator.execute(address, &INQUIRY, &mut data, patience()) {
            OwnAnswer::NotThere => return Finding::Gone,
            OwnAnswer::Silent => return Finding::Silent,
            OwnAnswer::Good(1..) => {}
            _ => return Finding::Unknown,
        }

        let ([now, ..], Some(kept)) = (data, unit.inquiry_byte()) else {
            return Finding::Unknown;
        };

        match Presence::of(kept, now) {
            Presence::Gone => Finding::Gone,
            Presence::Other => Finding::Another,
            Presence::Away => Finding::Unknown,
            Presence::Same if !unit.has_vpd() || self.queue.is_stopped() => Finding::Same,
            Presence::Same => {
                let list = Reading::of(initiator, address, Page::List, patience());
                let pages = Pages::of(initiator, address, &list, patience());

                if self.queue.identities().differ(address, pages) {
                    Finding::Another
                } else {
                    Finding::Same
                }
            }
        }
    }

    /// Removes a logical unit that is gone, and puts another in its place if there is one. Returns it if it is still
    /// there, and what was found out.
    pub(super) fn check(&self, unit: LogicalUnit) -> Option<(LogicalUnit, Finding)> {
        let finding = self.find_out(&unit);

        match finding {
            Finding::Gone => self.remove(unit),
            Finding::Another => self.replace(unit),
            _ => return Some((unit, finding)),
        }
        None
    }

    /// Puts another logical unit in the place of one that is gone.
    fn replace(&self, unit: LogicalUnit) {
        let Some(address) = address_of(&unit) else {
            return;
        };

        if !self.queue.may_replace() {
            self.tell(format_args!(
                "target {} lun {}: there are other logical units all the time: keeping the former one",
                address.target, address.lun
            ));
            return;
        }
        self.queue.shared().counters().replaced_units.count();
        self.tell(format_args!(
            "target {} lun {}: there is another logical unit: removing the former one",
            address.target, address.lun
        ));
        self.remove(unit);
        if !self.appears(address) {
            self.look_later(Why::Announced, address, 0);
        }
    }

    /// Reads a logical unit again that is still the same. Returns whether it was well enough for that: to the disk
    /// driver, a capacity that cannot be read is 0, which ends what uses the disk.
    ///
    /// What the unit reports on this occasion reaches the midlayer.
    fn read_again(&self, unit: &LogicalUnit) -> bool {
        let (Some(initiator), Some(address)) = (self.host.driver(), address_of(unit)) else {
            return true;
        };
        let _awake = unit.wake();
        let _ = unit.execute(&TEST_UNIT_READY, &mut [], patience());

        if !matches!(
            initiator.execute(address, &TEST_UNIT_READY, &mut [], patience()),
            OwnAnswer::Good(_) | OwnAnswer::NoMedium
        ) {
            return false;
        }

        let _ = check_list(initiator, unit, address);

        unit.rescan().is_ok()
    }

    /// Reads a logical unit again, as soon as it is well; it was looked at `attempt` times before. What the midlayer asks
    /// one that is in trouble would have to be recovered, too.
    pub(super) fn read_again_when_well(&self, unit: &LogicalUnit, attempt: usize) {
        // One that is offline is read again by the midlayer when the user sets it online.
        if unit.state() == UnitState::Offline {
            return;
        }

        let done = !self.is_in_trouble(unit) && self.read_again(unit);

        if let (false, Some(address)) = (done, address_of(unit)) {
            self.look_later(Why::Troubled, address, attempt);
        }
    }

    /// Removes a logical unit that is gone, in a bounded time.
    ///
    /// Its commands must be back before the midlayer removes it: the midlayer waits for them, and
    /// lets nobody add or remove any other logical unit of the host meanwhile.
    pub(super) fn remove(&self, unit: LogicalUnit) {
        unit.condemn();

        if let (Some(address), Some(initiator)) = (address_of(&unit), self.host.driver()) {
            // If nobody handles events any more, the removal of the host sees to the commands.
            let busy = || {
                !self.queue.is_stopped()
                    && self
                        .host
                        .any_in_flight(|command| command.is_for(&unit) && initiator.holds(&command))
            };

            initiator.recovery().release(initiator, address, busy);
        }

        let address = address_of(&unit);

        unit.remove();
        if let Some(address) = address.filter(|address| self.find(*address).is_none()) {
            self.queue.identities().forget(address);
        }
    }

    /// Returns whether commands of a logical unit are being recovered, or waited for, or were not long ago.
    pub(super) fn is_in_trouble(&self, unit: &LogicalUnit) -> bool {
        match (address_of(unit), self.host.driver()) {
            (Some(address), Some(initiator)) => initiator.recovery().is_in_trouble(address),
            _ => false,
        }
    }
}

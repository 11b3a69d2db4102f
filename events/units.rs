// SPDX-License-Identifier: GPL-2.0

//! What is done about one logical unit, or those of one target.

use super::{
    looks::{
        Look,
        Why, //
    },
    vpd::{
        self,
        Page,
        Presence,
        INQUIRY,
        INQUIRY_LEN,
        PAGE_LIST_LEN, //
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

/// Has the midlayer leave the pages of vital product data of a logical unit alone if their list is malformed: it asks
/// for all that is on it, again and again, and lets nobody else add or remove a unit of the host meanwhile.
///
/// Process context, before the midlayer reads the pages.
pub(super) fn check_vpd(initiator: &Initiator, unit: &LogicalUnit) {
    let mut list = [0; PAGE_LIST_LEN as usize];
    let (true, Some(address)) = (unit.has_vpd(), address_of(unit)) else {
        return;
    };
    let cdb = Page::List.inquiry(PAGE_LIST_LEN.into());

    if let OwnAnswer::Good(len) = initiator.execute(address, &cdb, &mut list, patience()) {
        if !vpd::is_list_plausible(list.get(..len).unwrap_or(&list)) {
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
        }
    }
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

    /// Returns the logical units of a target, but for those that are being scanned or removed.
    pub(super) fn units_of(&self, target: u8) -> impl Iterator<Item = LogicalUnit> + '_ {
        self.host
            .logical_units()
            .filter(move |unit| unit.target() == u32::from(target))
            .filter(|unit| matches!(unit.state(), UnitState::Online | UnitState::Offline))
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
            OwnAnswer::Refused | OwnAnswer::Failed | OwnAnswer::Good(0) => return Finding::Unknown,
            OwnAnswer::Good(_) => {}
        }

        let ([now, ..], Some(kept)) = (data, unit.inquiry_byte()) else {
            return Finding::Unknown;
        };

        match Presence::of(kept, now) {
            Presence::Gone => Finding::Gone,
            Presence::OtherType => Finding::Another,
            Presence::Same => {
                let differs = |page| {
                    self.differs(initiator, unit, address, page)
                        .unwrap_or(false)
                };

                if differs(Page::Serial) || differs(Page::Identification) {
                    Finding::Another
                } else {
                    Finding::Same
                }
            }
        }
    }

    /// Returns whether a page says that there is another logical unit than when it was read first. If it cannot be
    /// read now, or could not be then, it says nothing.
    fn differs(
        &self,
        initiator: &Initiator,
        unit: &LogicalUnit,
        address: Address,
        page: Page,
    ) -> Result<bool> {
        let kept = self.queue.identities().page(unit, page)?;

        if kept.is_empty() {
            return Ok(false);
        }

        let mut now = KVec::from_elem(0, kept.len(), GFP_KERNEL)?;
        let cdb = page.inquiry(u16::try_from(kept.len())?);

        Ok(
            match initiator.execute(address, &cdb, &mut now, patience()) {
                OwnAnswer::Good(len) => vpd::differ(page, &kept, now.get(..len).unwrap_or(&now)),
                _ => false,
            },
        )
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

        self.queue.shared().counters().replaced_units.count();
        self.tell(format_args!(
            "target {} lun {}: there is another logical unit: removing the former one",
            address.target, address.lun
        ));
        self.remove(unit);
        self.announced(address, 0);
    }

    /// Reads a logical unit again that is still the same, once it answers.
    pub(super) fn read_again(&self, unit: &LogicalUnit) -> Result {
        let initiator = self.host.driver().ok_or(ENODEV)?;

        // What the midlayer has read by now may be overwritten.
        self.queue.identities().keep(unit)?;
        check_vpd(initiator, unit);

        let _awake = unit.wake();

        unit.rescan()
    }

    /// Adds the logical unit at an address that the device has announced. If it does not answer yet, it is looked at
    /// again a little later; it was `attempt` times before.
    pub(super) fn announced(&self, address: Address, attempt: usize) {
        let done = match self.find(address) {
            Some(unit) => match unit.state() {
                UnitState::New => true,
                UnitState::Leaving => false,
                UnitState::Online | UnitState::Offline => self.announced_again(unit),
            },
            None => self.appears(address),
        };

        if !done {
            self.look_later(Why::Announced, address, attempt);
        }
    }

    /// Looks at a logical unit that is known and that the device has announced: it has changed, or it may be another
    /// by now. Returns whether that was found out.
    fn announced_again(&self, unit: LogicalUnit) -> bool {
        if self.is_in_trouble(&unit) {
            return false;
        }
        match self.check(unit) {
            Some((unit, Finding::Same | Finding::Unknown)) => {
                let _ = self.read_again(&unit);
                true
            }
            Some(_) => false,
            None => true,
        }
    }

    /// Adds the logical unit at an address if it answers, and returns whether it does.
    fn appears(&self, address: Address) -> bool {
        let mut data = [0; INQUIRY_LEN as usize];
        let Some(initiator) = self.host.driver() else {
            return true;
        };

        match initiator.execute(address, &INQUIRY, &mut data, patience()) {
            OwnAnswer::NotThere => false,
            // The midlayer would wait for it, and recover it, while nobody else of the host can be added or removed.
            OwnAnswer::Silent => false,
            _ => self
                .host
                .add_logical_unit(address.target.into(), address.lun)
                .is_ok(),
        }
    }

    /// Looks at all of a target that the device has announced, as [`Self::announced`] does.
    pub(super) fn target_announced(&self, target: u8, attempt: usize) {
        let mut done = true;

        for unit in self.units_of(target) {
            if self.queue.is_stopped() {
                return;
            }
            if unit.lun() == 0 {
                done &= self.announced_again(unit);
            } else {
                let _ = self.check(unit);
            }
        }
        if !(self.scan_target(target) && done) {
            self.look_later(Why::Announced, Address { target, lun: 0 }, attempt);
        }
    }

    /// Looks for new logical units of a target, if its LUN 0 answers. Returns whether the midlayer has LUN 0 then.
    pub(super) fn scan_target(&self, target: u8) -> bool {
        let address = Address { target, lun: 0 };
        let mut data = [0; INQUIRY_LEN as usize];
        let Some(initiator) = self.host.driver() else {
            return true;
        };

        match initiator.execute(address, &INQUIRY, &mut data, patience()) {
            // As in `appears`. The midlayer finds no other logical unit without this one either.
            OwnAnswer::NotThere | OwnAnswer::Silent => false,
            _ => {
                self.host.scan_target(target.into());
                self.find(address).is_some()
            }
        }
    }

    /// Removes what the device says is gone of a target: LUN 0, whatever that answers, and other logical units that
    /// say so themselves. What is still there is found again a little later, and is a new unit then.
    pub(super) fn target_removed(&self, address: Address) {
        if let Some(unit) = self.find(address) {
            self.remove(unit);
        }
        self.check_target(address.target);
        self.look_later(Why::Removed, address, 0);
    }

    /// Removes the logical units of a target that are gone.
    pub(super) fn check_target(&self, target: u8) {
        for unit in self.units_of(target) {
            if self.queue.is_stopped() {
                return;
            }
            let _ = self.check(unit);
        }
    }

    /// Looks at an address again, a little later.
    pub(super) fn look_later(&self, why: Why, address: Address, attempt: usize) {
        self.looks.add(Look {
            why,
            address,
            attempt,
        });
    }

    /// Looks at an address again.
    pub(super) fn look(&self, look: Look) {
        let Look {
            why,
            address,
            attempt,
        } = look;

        match (why, address.lun) {
            (Why::Announced, 0) => self.target_announced(address.target, attempt + 1),
            (Why::Announced, _) => self.announced(address, attempt + 1),
            (Why::Removed, _) => {
                self.check_target(address.target);
                let _ = self.scan_target(address.target);
                self.look_later(why, address, attempt + 1);
            }
        }
    }

    /// Removes a logical unit that is gone, in a bounded time.
    ///
    /// Its commands must be back before the midlayer removes it: the midlayer waits for them, and
    /// lets nobody add or remove any other logical unit of the host meanwhile.
    pub(super) fn remove(&self, unit: LogicalUnit) {
        let (target, lun) = (unit.target(), unit.lun());

        unit.condemn();

        if let (Ok(id), Some(initiator)) = (u8::try_from(target), self.host.driver()) {
            // If nobody handles events any more, the removal of the host sees to the commands.
            let busy = || {
                !self.queue.is_stopped()
                    && self.host.any_in_flight(|command| {
                        (command.target(), command.lun()) == (target, lun)
                            && initiator.holds(&command)
                    })
            };

            initiator
                .recovery()
                .release(initiator, Address { target: id, lun }, busy);
        }

        unit.remove();
        self.queue.identities().forget(target, lun);
    }

    /// Returns whether commands of a logical unit are being recovered, or waited for, or were not long ago.
    pub(super) fn is_in_trouble(&self, unit: &LogicalUnit) -> bool {
        match (address_of(unit), self.host.driver()) {
            (Some(address), Some(initiator)) => initiator.recovery().is_in_trouble(address),
            _ => false,
        }
    }
}

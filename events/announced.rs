// SPDX-License-Identifier: GPL-2.0

//! What is done when the device says that logical units are there, or gone, now and a little later.

use super::{
    looks::{
        Look,
        Why, //
    },
    units::{
        patience,
        Finding, //
    },
    vpd::{
        INQUIRY,
        INQUIRY_LEN, //
    },
    worker::Handling, //
};
use crate::{
    queues::{
        wire::Address,
        OwnAnswer, //
    },
    scsi_glue::{
        LogicalUnit,
        UnitState, //
    },
};

impl Handling {
    /// Adds the logical unit at an address that the device has announced. If it does not answer yet, it is looked at
    /// again a little later; it was `attempt` times before.
    pub(super) fn announced(&self, address: Address, attempt: usize) {
        let done = match self.find(address) {
            Some(unit) => match unit.state() {
                // Who scans it may have asked it before it was announced.
                UnitState::New | UnitState::Leaving => false,
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
        match self.check(unit) {
            Some((unit, Finding::Same | Finding::Unknown)) => {
                self.read_again_when_well(&unit, 0);
                true
            }
            Some(_) => false,
            None => true,
        }
    }

    /// Returns whether a logical unit answers, with errors or without. The midlayer would wait for one that does not,
    /// and recover what it has sent, while nobody else of the host can be added or removed.
    fn answers(&self, address: Address) -> bool {
        let mut data = [0; INQUIRY_LEN as usize];

        self.host.driver().is_some_and(|initiator| {
            !matches!(
                initiator.execute(address, &INQUIRY, &mut data, patience()),
                OwnAnswer::NotThere | OwnAnswer::Silent
            )
        })
    }

    /// Adds the logical unit at an address if it answers, and returns whether it does.
    pub(super) fn appears(&self, address: Address) -> bool {
        self.answers(address)
            && self
                .host
                .add_logical_unit(address.target.into(), address.lun)
                .is_ok()
    }

    /// Looks at all of a target that the device has announced, as [`Self::announced`] does.
    pub(super) fn target_announced(&self, target: u8, attempt: usize) {
        let mut done = true;

        for unit in self.units(Some(target)) {
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

    /// Looks for new logical units of a target, if its LUN 0 answers: the midlayer finds no other without. Returns
    /// whether the midlayer has LUN 0 then.
    pub(super) fn scan_target(&self, target: u8) -> bool {
        let address = Address { target, lun: 0 };

        if !self.answers(address) {
            return false;
        }
        if self.queue.is_stopped() {
            return true;
        }
        self.host.scan_target(target.into());
        self.find(address).is_some()
    }

    /// Removes what the device says is gone: the logical unit, whatever that answers. By LUN 0 it can mean others of
    /// the target, which say so themselves. What is still there is found again a little later, and is a new unit then.
    pub(super) fn removed(&self, address: Address) {
        if let Some(unit) = self.find(address) {
            self.remove(unit);
        }
        if address.lun == 0 {
            self.check_target(address.target);
        }
        self.look_later(Why::Removed, address, 0);
    }

    /// Removes the logical units of a target that are gone.
    pub(super) fn check_target(&self, target: u8) {
        for unit in self.units(Some(target)) {
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
            (Why::Removed, 0) => {
                self.check_target(address.target);
                let _ = self.scan_target(address.target);
                self.look_later(why, address, attempt + 1);
            }
            // A scan may have found it once more before it was gone.
            (Why::Removed, _) => {
                if let Some(unit) = self.find_settled(address) {
                    let _ = self.check(unit);
                }
                self.look_later(why, address, attempt + 1);
            }
            (Why::Troubled, _) => {
                if let Some((unit, _)) =
                    self.find_settled(address).and_then(|unit| self.check(unit))
                {
                    self.read_again_when_well(&unit, attempt + 1);
                }
            }
        }
    }

    /// Returns the logical unit at an address, unless it is being scanned or removed.
    fn find_settled(&self, address: Address) -> Option<LogicalUnit> {
        self.find(address)
            .filter(|unit| matches!(unit.state(), UnitState::Online | UnitState::Offline))
    }
}

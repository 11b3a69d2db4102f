// SPDX-License-Identifier: GPL-2.0

//! Finding out what has changed without having been told.

use super::worker::Handling;
use crate::{
    queues::wire::Address,
    scsi_glue::{
        Answer,
        LogicalUnit,
        UnitEvent, //
    },
};
use kernel::{
    prelude::*,
    time::{
        msecs_to_jiffies,
        Jiffies, //
    },
};

/// How long a logical unit gets to answer, in milliseconds. Then recovery begins. If the device says that it has
/// the command, it is asked to abort it, and nothing else: what the driver wants to know is worth no reset.
const PATIENCE: u32 = 5_000;

/// The length of the INQUIRY data that every logical unit has, in bytes (SPC).
const INQUIRY_LEN: u8 = 36;

/// INQUIRY, for [`INQUIRY_LEN`] bytes (SPC).
const INQUIRY: [u8; 16] = [0x12, 0, 0, 0, INQUIRY_LEN, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// TEST UNIT READY (SPC).
const TEST_UNIT_READY: [u8; 16] = [0; 16];

/// The length of an event that a MMC unit reports, in bytes (MMC).
const MMC_EVENT_LEN: u8 = 8;

/// GET EVENT STATUS NOTIFICATION, for media events, polled (MMC).
const GET_EVENT_STATUS: [u8; 16] = [
    0x4a,
    1,
    0,
    0,
    0x10,
    0,
    0,
    0,
    MMC_EVENT_LEN,
    0,
    0,
    0,
    0,
    0,
    0,
    0,
];

impl Handling {
    /// Brings the midlayer up to date with the device, whatever has happened: removes the logical
    /// units that are gone, has those that are there say what has changed, and finds new ones.
    pub(super) fn reconcile(&self) {
        let renew = self.queue.may_renew();
        let resets = self.queue.shared().life().resets();

        for unit in self.host.logical_units() {
            if self.queue.is_stopped() {
                return;
            }
            // To ask a unit that is in trouble for more costs the others another reset, and finds out nothing.
            if self.is_in_trouble(&unit) {
                continue;
            }
            if self.is_gone(&unit) {
                self.remove(unit);
            } else if !self.is_in_trouble(&unit) {
                self.refresh(&unit, renew);
            }
            // A reset has this begin again.
            if self.queue.shared().life().resets() != resets {
                return;
            }
        }
        self.host.scan();
    }

    /// Returns whether commands of a logical unit are being recovered, or waited for, or were not long ago.
    fn is_in_trouble(&self, unit: &LogicalUnit) -> bool {
        match (u8::try_from(unit.target()), self.host.driver()) {
            (Ok(target), Some(initiator)) => initiator.recovery().is_in_trouble(Address {
                target,
                lun: unit.lun(),
            }),
            _ => false,
        }
    }

    /// Removes the logical units of a target that are gone, and finds new ones.
    pub(super) fn reconcile_target(&self, target: u32) {
        for unit in self.host.logical_units() {
            if self.queue.is_stopped() {
                return;
            }
            if unit.target() == target && self.is_gone(&unit) {
                self.remove(unit);
            }
        }
        self.host.scan_target(target);
    }

    /// Returns whether a logical unit is gone: its target does not answer, or says that it does not
    /// have it. One that does not answer, or answers with another error, stays.
    fn is_gone(&self, unit: &LogicalUnit) -> bool {
        let timeout = Self::patience();
        let Ok(mut data) = KVec::from_elem(0, INQUIRY_LEN.into(), GFP_KERNEL) else {
            return false;
        };

        match unit.execute(&INQUIRY, &mut data, timeout) {
            // The peripheral qualifier: something other than 0 means that no unit is connected.
            Answer::Good => data.first().is_some_and(|first: &u8| first >> 5 != 0),
            Answer::NotThere => true,
            Answer::Other => false,
        }
    }

    /// Has a logical unit say what has changed, and reads it again. `renew` is whether to ask for its
    /// notifications again.
    fn refresh(&self, unit: &LogicalUnit, renew: bool) {
        let timeout = Self::patience();

        // A reset has ended what the device was asked to notify of. What happens from here on is
        // notified, what has happened before is found below.
        if let (true, Ok(target)) = (renew && unit.is_mmc(), u8::try_from(unit.target())) {
            self.subscribe(Address {
                target,
                lun: unit.lun(),
            });
        }

        // The midlayer sees the unit attentions that are pending.
        let _ = unit.execute(&TEST_UNIT_READY, &mut [], timeout);

        if unit.is_mmc() && !self.is_in_trouble(unit) {
            if let Ok(mut data) = KVec::from_elem(0, MMC_EVENT_LEN.into(), GFP_KERNEL) {
                let answer = unit.execute(&GET_EVENT_STATUS, &mut data, timeout);

                // The fifth byte has the event code: 2 is a new medium, 3 a medium that is gone, 4 a
                // change of medium.
                if answer == Answer::Good
                    && data
                        .get(4)
                        .is_some_and(|code: &u8| (2..=4).contains(&(code & 0x0f)))
                {
                    unit.tell(UnitEvent::MediaChange);
                }
            }
        }
        if !self.is_in_trouble(unit) {
            let _ = unit.rescan();
        }
    }

    /// Returns how long a logical unit gets to answer.
    fn patience() -> Jiffies {
        msecs_to_jiffies(PATIENCE)
    }
}

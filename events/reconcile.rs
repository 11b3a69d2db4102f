// SPDX-License-Identifier: GPL-2.0

//! Finding out what has changed without having been told.

use super::{
    units::{
        address_of,
        patience,
        Finding, //
    },
    worker::Handling, //
};
use crate::scsi_glue::{
    LogicalUnit,
    UnitEvent,
    UnitState, //
};
use kernel::prelude::*;

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

        for unit in self.units(None) {
            if self.queue.is_stopped() {
                return;
            }
            if let Some((unit, Finding::Same | Finding::Unknown)) = self.check(unit) {
                // What the midlayer asks a unit that is in trouble has to be recovered, too.
                if unit.state() == UnitState::Online && !self.is_in_trouble(&unit) {
                    self.refresh(&unit, renew);
                }
                self.read_again_when_well(&unit, 0);
            }
            // A reset has this begin again.
            if self.queue.shared().life().resets() != resets {
                return;
            }
        }
        if !self.queue.is_stopped() {
            self.host.scan();
        }
    }

    /// Has a logical unit say what has changed, and reads it again. `renew` is whether to ask for its
    /// notifications again.
    fn refresh(&self, unit: &LogicalUnit, renew: bool) {
        let timeout = patience();
        let _awake = unit.wake();

        // A reset has ended what the device was asked to notify of. What happens from here on is
        // notified, what has happened before is found below.
        if let (true, Some(address)) = (renew && unit.is_mmc(), address_of(unit)) {
            self.subscribe(address);
        }

        if unit.is_mmc() && !self.is_in_trouble(unit) {
            if let Ok(mut data) = KVec::from_elem(0, MMC_EVENT_LEN.into(), GFP_KERNEL) {
                let answer = unit.execute(&GET_EVENT_STATUS, &mut data, timeout);

                // The fifth byte has the event code: 2 is a new medium, 3 a medium that is gone, 4 a
                // change of medium.
                if answer.is_ok()
                    && data
                        .get(4)
                        .is_some_and(|code: &u8| (2..=4).contains(&(code & 0x0f)))
                {
                    unit.tell(UnitEvent::MediaChange);
                }
            }
        }
    }
}

// SPDX-License-Identifier: GPL-2.0

//! What events have recovery do about a logical unit: take its commands back when it is gone, leave it alone when it
//! is in trouble, have it tell of changes.

use super::{
    ladder::MOMENT,
    Recovery, //
};
use crate::queues::{
    initiator::Initiator,
    response,
    wire::{
        Address,
        Notifications,
        TaskManagement,
        ASYNC_MEDIA_CHANGE,
        ASYNC_OPERATIONAL_CHANGE, //
    },
};
use kernel::prelude::*;

impl Recovery {
    /// Gets all commands of a logical unit that is gone back from the device.
    ///
    /// The device has said that the unit is gone, so it has no reason to keep them. If it does, the
    /// unit is reset, and the device if that does not help: whoever waits for the commands keeps
    /// the whole host from being scanned. If the user wants commands to be waited for, they are.
    ///
    /// Process context. `busy` is whether the device has any of the unit's commands, and somebody still wants
    /// them back.
    pub fn release(&self, initiator: &Initiator, address: Address, busy: impl Fn() -> bool) {
        let seen = self.shared.life().resets();

        if !busy() {
            return;
        }
        initiator.notify_all_again();
        loop {
            if self.comes_back(initiator, MOMENT, &busy) || self.shared.life().is_gone() {
                return;
            }
            if !self.policy.wait {
                break;
            }
        }
        self.task_management(initiator, TaskManagement::LogicalUnitReset, address, 0);
        if busy() {
            let _ = self.reset.carry_out(seen);
        }
    }

    /// Returns whether a logical unit is in trouble: whoever looks at all units leaves it alone, as its commands
    /// would have to be recovered, too.
    ///
    /// Process context.
    pub fn is_in_trouble(&self, address: Address) -> bool {
        let asker = self.asker.lock().clone();

        self.strikes.has(address) || asker.is_some_and(|asker| asker.task().waits_for(address))
    }

    /// Forgets what there was about the logical unit at an address: there is a new one.
    pub(in crate::queues) fn forget(&self, target: u32, lun: u64) {
        if let Ok(target) = u8::try_from(target) {
            self.strikes.forget(Address { target, lun });
        }
    }

    /// Has a logical unit tell of media and operational changes, if it can. A device that refuses
    /// is left alone.
    ///
    /// Process context.
    pub fn subscribe(&self, address: Address) {
        const WANTED: u32 = ASYNC_MEDIA_CHANGE | ASYNC_OPERATIONAL_CHANGE;

        let Some(lun) = address.encode() else {
            return;
        };
        let ask = |what, events| {
            self.control
                .notifications(what, lun, events, self.policy.step())
                .ok()
                .filter(|answer| response::function_done(answer.response))
                .map(|answer| answer.events & WANTED)
                .filter(|events| *events != 0)
        };

        if let Some(events) = ask(Notifications::Query, WANTED) {
            if ask(Notifications::Subscribe, events).is_some() {
                dev_dbg!(
                    self.shared.dev(),
                    "target {} lun {}: tells of events {:#x}\n",
                    address.target,
                    address.lun,
                    events
                );
            }
        }
    }
}

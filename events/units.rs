// SPDX-License-Identifier: GPL-2.0

//! The logical units of the host, for those who handle events: find a unit, ask whether it is
//! there, remove it, have it checked later. `compare.rs` compares units with the device.

use super::{
    handler_work::HandlerWork,
    identities::Identities,
    inquiry::{
        inquire,
        InquiryResult, //
    },
    rechecks::{
        Reason,
        Recheck,
        Rechecks, //
    },
};
use crate::{
    protocol::address::{
        Address,
        LUN_FLAT, //
    },
    queues::{
        address_of,
        condemn,
        ControlQueue,
        Host,
        SharedState,
        Unit, //
    },
    recovery::Recovery,
    scsi_glue::DeviceState, //
};
use kernel::{
    prelude::*,
    sync::{
        aref::ARef,
        Arc, //
    },
};

/// Returns whether a logical unit is neither being added nor being removed.
pub(super) fn is_settled(unit: &Unit) -> bool {
    matches!(unit.state(), DeviceState::Online | DeviceState::Offline)
}

/// The logical units of a host.
#[pin_data]
pub(super) struct Units {
    host: Arc<Host>,
    recovery: Arc<Recovery>,
    control: Arc<ControlQueue>,
    identities: Arc<Identities>,
    handler: Arc<HandlerWork>,
    #[pin]
    rechecks: Rechecks,
}

impl Units {
    /// Makes an initialiser for the logical units of `host`.
    pub(super) fn new(
        host: Arc<Host>,
        recovery: Arc<Recovery>,
        control: Arc<ControlQueue>,
        identities: Arc<Identities>,
        handler: Arc<HandlerWork>,
    ) -> impl PinInit<Self> {
        pin_init!(Self {
            host,
            recovery,
            control,
            identities,
            handler,
            rechecks <- Rechecks::new(),
        })
    }

    /// Returns the host.
    pub(super) fn host(&self) -> &Host {
        &self.host
    }

    /// Returns the recovery of the commands of the host.
    pub(super) fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// Returns the state of the device.
    pub(super) fn shared(&self) -> &SharedState {
        self.recovery.shared()
    }

    /// Returns the identities that the units had when they were found.
    pub(super) fn identities(&self) -> &Identities {
        &self.identities
    }

    /// Returns the checks that are due later.
    pub(super) fn rechecks(&self) -> &Rechecks {
        &self.rechecks
    }

    /// Returns whether the handler was stopped: see [`HandlerWork::is_stopped`].
    pub(super) fn is_stopped(&self) -> bool {
        self.handler.is_stopped()
    }

    /// Returns the logical unit at an address.
    ///
    /// The midlayer numbers a unit by the format in which the target lists it: one below 256 may be
    /// listed in the flat format, and one above it as a plain number.
    pub(super) fn find(&self, address: Address) -> Option<ARef<Unit>> {
        let target = address.target.into();

        self.host
            .device_lookup(target, address.lun)
            .or_else(|| self.host.device_lookup(target, address.lun ^ LUN_FLAT))
    }

    /// Returns the logical unit at an address, unless it is being added or removed.
    pub(super) fn find_settled(&self, address: Address) -> Option<ARef<Unit>> {
        self.find(address).filter(|unit| is_settled(unit))
    }

    /// Returns the logical units of a target, or of all targets, except those that are being added
    /// or removed.
    ///
    /// A list, and not an iterator: a unit that is replaced while it is walked would come again,
    /// and the walk might never end.
    pub(super) fn list(&self, target: Option<u8>) -> KVec<ARef<Unit>> {
        let mut units = KVec::new();

        for unit in self.host.devices() {
            if target.is_none_or(|target| unit.target() == u32::from(target))
                && is_settled(&unit)
                && units.push(unit, GFP_KERNEL).is_err()
            {
                // Those that are not on the list for lack of memory.
                self.rechecks.add_reconcile();
                break;
            }
        }
        units
    }

    /// Returns whether a logical unit answers INQUIRY, with data or with an error.
    ///
    /// To be asked before the midlayer scans: it would wait for a unit that does not answer, and
    /// recover its own command, and nobody could add or remove another unit of the host meanwhile.
    pub(super) fn answers(&self, address: Address) -> bool {
        !matches!(
            inquire(&self.recovery, address),
            InquiryResult::NotThere | InquiryResult::Silent | InquiryResult::NotSent
        )
    }

    /// Removes a logical unit, in bounded time.
    ///
    /// The device's commands of the unit are taken back first: the midlayer waits for them without
    /// a bound, and nobody can add or remove another unit of the host meanwhile.
    pub(super) fn remove(&self, unit: ARef<Unit>) {
        let address = address_of(&unit);

        condemn(&unit);
        if let Some(address) = address {
            // After a stop the removal of the host takes the commands back.
            let busy = || {
                !self.is_stopped()
                    && self.host.any_in_flight(|command| {
                        command.is_for(&unit) && self.recovery.queues().holds(command)
                    })
            };

            self.recovery.release(address, busy);
        }
        unit.remove();
        // A scan may have added a unit at the same address meanwhile, which has its own identity.
        if let Some(address) = address.filter(|address| self.find(*address).is_none()) {
            self.identities.forget(address);
        }
    }

    /// Returns whether commands of a logical unit are being recovered, or were not long ago. What
    /// the midlayer sends to the unit might have to be recovered, too.
    pub(super) fn is_in_trouble(&self, unit: &Unit) -> bool {
        address_of(unit).is_some_and(|address| self.recovery.is_in_trouble(address))
    }

    /// Subscribes to the asynchronous notifications of the logical unit at an address.
    pub(super) fn subscribe(&self, address: Address) {
        self.control
            .subscribe(address, self.recovery.policy().step());
    }

    /// Has an address checked later, after `attempt` checks for the same reason.
    pub(super) fn recheck_later(&self, reason: Reason, address: Address, attempt: usize) {
        self.rechecks.add(Recheck {
            reason,
            address,
            attempt,
        });
    }
}

// SPDX-License-Identifier: GPL-2.0

//! Third stop of an event that adds or removes logical units: the midlayer's units are brought in
//! line with the device's, at once and in later checks.

use super::{
    census::add_new_units,
    compare::{
        compare,
        Finding,
        GROUP, //
    },
    rechecks::{
        Reason,
        Recheck, //
    },
    reread::reread_when_well,
    units::{
        is_settled,
        Units, //
    },
    vpd_pages::VpdList, //
};
use crate::{
    kernel_glue::{
        RateLimit,
        Stamp, //
    },
    protocol::address::Address,
    queues::{
        address_of,
        Unit, //
    },
};
use core::slice::from_ref;
use kernel::{
    prelude::*,
    sync::aref::ARef,
    time::msecs_to_jiffies, //
};

/// How many logical units are replaced by others in [`REPLACEMENTS_PERIOD_S`].
const REPLACEMENTS: u32 = 256;

/// The period of [`REPLACEMENTS`], in seconds.
const REPLACEMENTS_PERIOD_S: u32 = 600;

/// For how long a finding of a group holds, in milliseconds. A unit that was gone or another before
/// that is compared once more before it is removed.
const FRESH_MS: u32 = 1_000;

/// A logical unit that [`Topology::check_group`] has kept.
pub(super) struct Kept {
    pub(super) unit: ARef<Unit>,
    pub(super) finding: Finding,
    /// When it was compared.
    compared: Stamp,
}

impl Kept {
    /// Returns whether the list of VPD pages was checked just now.
    pub(super) fn vpd_list(&self) -> VpdList {
        match self.finding {
            Finding::Same if self.compared.elapsed() <= msecs_to_jiffies(FRESH_MS) => {
                VpdList::Checked
            }
            _ => VpdList::Unchecked,
        }
    }
}

/// The targets and logical units of a host.
#[pin_data]
pub(super) struct Topology {
    #[pin]
    units: Units,
    /// Limits how often logical units are replaced by others.
    #[pin]
    replacements: RateLimit,
}

impl Topology {
    /// Makes an initialiser for a topology of `units`.
    pub(super) fn new(units: impl PinInit<Units>) -> impl PinInit<Self> {
        pin_init!(Self {
            units <- units,
            replacements <- RateLimit::of(REPLACEMENTS, REPLACEMENTS_PERIOD_S),
        })
    }

    /// Returns the logical units.
    pub(super) fn units(&self) -> &Units {
        &self.units
    }

    /// Handles `VIRTIO_SCSI_EVT_RESET_RESCAN` of one logical unit: adds the unit, or finds out what
    /// has changed. A unit that does not answer yet is checked again later, after `attempt` checks
    /// before this.
    pub(super) fn rescan_unit(&self, address: Address, attempt: usize) {
        let done = match self.units.find(address) {
            Some(unit) if is_settled(&unit) => self.rescan_known(unit),
            // The scan that adds it may have asked it before the device reported it.
            Some(_) => false,
            None => self.add_if_it_answers(address),
        };

        if !done {
            self.units.recheck_later(Reason::Rescan, address, attempt);
        }
    }

    /// Handles `VIRTIO_SCSI_EVT_RESET_RESCAN` of LUN 0, which stands for its target: as
    /// [`Self::rescan_unit`], for all logical units of the target.
    pub(super) fn rescan_target(&self, target: u8, attempt: usize) {
        let mut done = true;

        let mut first = None;

        self.check_all(&self.units.list(Some(target)), |kept| {
            if kept.unit.lun() == 0 {
                first = Some(kept);
            }
        });
        if self.units.is_stopped() {
            return;
        }
        if let Some(kept) = first {
            done &= self.reread_kept(&kept);
        }
        if !(self.look_for_units(target) && done) {
            let address = Address { target, lun: 0 };

            self.units.recheck_later(Reason::Rescan, address, attempt);
        }
    }

    /// Handles `VIRTIO_SCSI_EVT_RESET_REMOVED`: removes the logical unit, whether or not it still
    /// answers. LUN 0 can stand for other units of its target, which are checked.
    ///
    /// The address is checked later. A unit that is still there then is added again, as a new one.
    pub(super) fn remove(&self, address: Address) {
        if let Some(unit) = self.units.find(address) {
            self.units.remove(unit);
        }
        if address.lun == 0 {
            self.check_target(address.target);
        }
        self.units.recheck_later(Reason::Removed, address, 0);
    }

    /// Carries out a check that was due later.
    pub(super) fn recheck(&self, recheck: Recheck) {
        let Recheck {
            reason,
            address,
            attempt,
        } = recheck;
        let attempt = attempt + 1;

        match (reason, address.lun) {
            (Reason::Rescan, 0) => self.rescan_target(address.target, attempt),
            (Reason::Rescan, _) => self.rescan_unit(address, attempt),
            (Reason::Removed, 0) => {
                self.check_target(address.target);
                let _ = self.look_for_units(address.target);
                self.units.recheck_later(reason, address, attempt);
            }
            (Reason::Removed, _) => {
                // A scan may have added the unit again before it was gone.
                if let Some(unit) = self.units.find_settled(address) {
                    let _ = self.check(unit);
                }
                self.units.recheck_later(reason, address, attempt);
            }
            (Reason::Trouble, _) => {
                let unit = self.units.find_settled(address);

                match unit.and_then(|unit| self.check(unit)) {
                    // The midlayer would wait longer for it than the driver has.
                    Some(kept) if kept.finding.is_silent() => {
                        self.units.recheck_later(reason, address, attempt);
                    }
                    Some(kept) => {
                        reread_when_well(&self.units, &kept.unit, kept.vpd_list(), attempt);
                    }
                    None => {}
                }
            }
        }
    }

    /// Compares a logical unit with the device: see [`Self::check_all`].
    fn check(&self, unit: ARef<Unit>) -> Option<Kept> {
        let mut kept = None;

        self.check_all(&[unit], |one| kept = Some(one));
        kept
    }

    /// Checks the logical units of a target: see [`Self::check_all`].
    pub(super) fn check_target(&self, target: u8) {
        self.check_all(&self.units.list(Some(target)), |_| {});
    }

    /// Compares logical units with the device, group by group. Removes those that are gone,
    /// replaces those that are others by now, and calls `keep` with the rest; one after the other.
    /// Stops with the handler.
    fn check_all(&self, units: &[ARef<Unit>], mut keep: impl FnMut(Kept)) {
        for group in units.chunks(GROUP) {
            self.check_group(group, &|| self.units.is_stopped(), &mut keep);
        }
    }

    /// As [`Self::check_all`], for a group, until `is_over`.
    pub(super) fn check_group(
        &self,
        group: &[ARef<Unit>],
        is_over: &dyn Fn() -> bool,
        mut keep: impl FnMut(Kept),
    ) {
        let life = self.units.shared().life();
        let findings = compare(&self.units, group, is_over);
        let resets = life.resets();
        let compared = Stamp::now();

        for (unit, finding) in group.iter().zip(findings) {
            if is_over() {
                return;
            }

            // What was done about the units before may have taken long, or have reset the device.
            let is_old = compared.elapsed() > msecs_to_jiffies(FRESH_MS) || life.resets() != resets;
            let finding = match finding {
                Finding::Gone | Finding::Another if is_old => self.compare_again(unit, is_over),
                finding => Some(finding),
            };

            match finding {
                Some(Finding::Gone) => self.units.remove(unit.clone()),
                Some(Finding::Another) => self.replace(unit.clone()),
                Some(finding) => keep(Kept {
                    unit: unit.clone(),
                    finding,
                    compared,
                }),
                None => {}
            }
        }
    }

    /// Compares a logical unit by itself. Returns [`None`] once `is_over`, or for lack of memory.
    fn compare_again(&self, unit: &ARef<Unit>, is_over: &dyn Fn() -> bool) -> Option<Finding> {
        compare(&self.units, from_ref(unit), is_over)
            .first()
            .copied()
    }

    /// Adds the logical units of a target that the midlayer does not have. Returns whether it has
    /// LUN 0 then.
    pub(super) fn look_for_units(&self, target: u8) -> bool {
        let has_unit = || self.units.find(Address { target, lun: 0 }).is_some();

        add_new_units(&self.units, target..=target).is_none()
            && (self.units.is_stopped() || has_unit())
    }

    /// Adds the logical units that the midlayer does not have, of all targets from `first` on.
    /// Those that could not be looked for are looked for again later, after `attempt` such tries.
    pub(super) fn look_for_all_units(&self, first: u8, attempt: usize) {
        let limits = self.units.recovery().queues().limits();

        if let Some(first) = add_new_units(&self.units, first..=limits.last_target) {
            self.units.rechecks().add_census(first, attempt);
        }
    }

    /// Handles a rescan of a logical unit that the midlayer has. Returns whether the unit was
    /// handled; else it does not answer yet.
    fn rescan_known(&self, unit: ARef<Unit>) -> bool {
        self.check(unit).is_none_or(|kept| self.reread_kept(&kept))
    }

    /// Has the midlayer read the data of a logical unit again. Returns false if the unit does not
    /// answer.
    fn reread_kept(&self, kept: &Kept) -> bool {
        if kept.finding.is_silent() {
            return false;
        }
        reread_when_well(&self.units, &kept.unit, kept.vpd_list(), 0);
        true
    }

    /// Adds the logical unit at an address if it answers, and returns whether it was added.
    fn add_if_it_answers(&self, address: Address) -> bool {
        self.units.answers(address)
            && self
                .units
                .host()
                .add_device(address.target.into(), address.lun)
                .is_ok()
    }

    /// Removes a logical unit in whose place the device has another one, and adds that.
    fn replace(&self, unit: ARef<Unit>) {
        let Some(address) = address_of(&unit) else {
            return;
        };
        let shared = self.units.shared();

        if !self.replacements.pass() {
            if shared.may_complain() {
                dev_info!(
                    shared.dev(),
                    "target {} lun {}: replaced too often, keeping the former logical unit\n",
                    address.target,
                    address.lun
                );
            }
            return;
        }
        shared.counters().replaced_units.count();
        if shared.may_complain() {
            dev_info!(
                shared.dev(),
                "target {} lun {}: there is another logical unit, removing the former one\n",
                address.target,
                address.lun
            );
        }
        self.units.remove(unit);
        if !self.add_if_it_answers(address) {
            self.units.recheck_later(Reason::Rescan, address, 0);
        }
    }
}

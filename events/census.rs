// SPDX-License-Identifier: GPL-2.0

//! The census: which logical units the device has that the midlayer does not.
//!
//! The midlayer looks for units with a device of its own for each address, and a request queue for
//! that. For each queue that comes and goes it may have to stop all others of the host. So the
//! driver asks by itself, all targets at once, and the midlayer scans those addresses alone that
//! have a new unit:
//!
//! 1. REPORT LUNS to LUN 0 of each target, which a target answers whether or not it has LUN 0.
//! 2. INQUIRY to each unit on the lists that the midlayer does not have; or to the first units of a
//!    target that has no list, of which those count that follow each other from LUN 0 on.
//!
//! A target that does not answer costs the time of its command, and no unit; another census later
//! looks for its units. What the midlayer knows of certain models (`BLIST_NOLUN` and others) is not
//! taken into account.

use super::{
    inquiry::{
        command_timeout,
        inquire_all,
        InquiryResult, //
    },
    units::Units, //
};
use crate::{
    kernel_glue::Stamp,
    protocol::{
        address::Address,
        report_luns::{
            List,
            LIST_LEN,
            REPORT_LUNS, //
        },
        vpd, //
    },
    queues::{
        Answer,
        Bounds,
        ExecuteResult,
        Job, //
    },
};
use core::{
    cell::Cell,
    ops::RangeInclusive, //
};
use kernel::{
    prelude::*,
    time::msecs_to_jiffies, //
};

/// How many targets are looked at together. This bounds the memory that their lists take.
const GROUP: u8 = 64;

/// How many units are looked for on a target without a list. If it has all of them, the midlayer
/// looks for more.
const UNLISTED: u64 = 8;

/// For how long commands are sent, in milliseconds.
const DURATION_MS: u32 = 10_000;

/// Where a logical unit may be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// The target has listed it.
    Listed,
    /// The target has no list.
    Unlisted,
    /// The target has more units than were read.
    Target,
}

/// The answer of an address to INQUIRY.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Finding {
    /// The unit was not asked, does not answer, or does not exist.
    Nothing,
    /// The target has answered, and has no unit there.
    NoUnit,
    /// There is a unit.
    Unit,
}

/// A logical unit that the device may have, or all of a target.
struct Candidate {
    address: Address,
    place: Place,
    finding: Cell<Finding>,
}

/// The answers of a group of targets.
struct Group<'a> {
    units: &'a Units,
    began: Stamp,
    resets: u64,
    /// Whether it is a single target, for whose commands there is always room.
    is_single: bool,
    /// The candidates of each target are in the order in which they are added.
    candidates: KVVec<Candidate>,
    /// How many targets have not answered, or were not asked.
    silent: usize,
    /// Whether a unit may have been left out.
    is_partial: bool,
}

/// Has the midlayer add the logical units of `targets` that it does not have, in the order in which
/// it would have found them. Returns the first target of which units may have been left out.
///
/// Process context. Commands are sent for [`DURATION_MS`].
pub(super) fn add_new_units(units: &Units, targets: RangeInclusive<u8>) -> Option<u8> {
    let shared = units.shared();
    let began = Stamp::now();
    let resets = shared.life().resets();
    let (first, last) = targets.into_inner();
    let mut silent = 0;
    let mut left_out = None;

    shared.counters().censuses.count();
    for start in (first..=last).step_by(GROUP.into()) {
        let mut group = Group {
            units,
            began,
            resets,
            is_single: first == last,
            candidates: KVVec::new(),
            silent: 0,
            is_partial: false,
        };

        let group_targets = start..=last.min(start.saturating_add(GROUP - 1));

        group.list(group_targets.clone());
        group.ask();
        group_targets.for_each(|target| group.add(target));
        if group.is_over() {
            return None;
        }
        silent += group.silent;
        if group.is_partial || group.silent > 0 {
            left_out = left_out.or(Some(start));
        }
    }
    if silent > 0 && shared.may_complain() {
        dev_info!(
            shared.dev(),
            "looked for logical units: {silent} of the targets have not answered\n"
        );
    }
    left_out
}

impl Group<'_> {
    /// Returns whether the rest makes no difference: the handler was stopped, or all begins again
    /// after a device reset (see `Events::resume`).
    fn is_over(&self) -> bool {
        self.units.is_stopped() || self.units.shared().life().resets() != self.resets
    }

    /// Returns what commands may still take.
    fn bounds(&self) -> Bounds {
        Bounds {
            timeout: command_timeout(),
            start: msecs_to_jiffies(DURATION_MS).saturating_sub(self.began.elapsed()),
            leaves_room: !self.is_single,
        }
    }

    /// Lists the units of `targets` that the midlayer does not have.
    fn list(&mut self, targets: RangeInclusive<u8>) {
        let Ok(mut data) = KVec::from_elem(0, LIST_LEN, GFP_KERNEL) else {
            self.is_partial = true;
            return;
        };
        let bounds = self.bounds();
        let jobs = targets.map(|target| Job {
            address: Address { target, lun: 0 },
            cdb: &REPORT_LUNS,
            len: LIST_LEN,
            number: 0,
        });

        self.units
            .recovery()
            .execute_all(jobs, bounds, |job, answer| {
                self.take_list(job.address.target, &answer, &mut data);
            });
    }

    /// Takes the answer of a target to REPORT LUNS.
    fn take_list(&mut self, target: u8, answer: &Answer, data: &mut [u8]) {
        match answer.result {
            ExecuteResult::Good(len) => {
                let list = data.get_mut(..len).and_then(|data| {
                    answer.copy_to(data);
                    List::decode(data)
                });

                match list {
                    Some(list) if list.is_cut_off() => self.consider(target, 0, Place::Target),
                    Some(list) => {
                        self.consider(target, 0, Place::Listed);
                        for lun in list.luns().filter(|lun| *lun != 0) {
                            self.consider(target, lun, Place::Listed);
                        }
                    }
                    None => self.consider_first(target),
                }
            }
            ExecuteResult::NoUnit | ExecuteResult::Refused | ExecuteResult::NoMedium => {
                self.consider_first(target);
            }
            // The target may have a list the next time.
            ExecuteResult::Failed => {
                self.is_partial = true;
                self.consider_first(target);
            }
            ExecuteResult::Unanswered | ExecuteResult::NotSent => self.silent += 1,
            ExecuteResult::NotThere => {}
        }
    }

    /// Considers the first units of a target without a list.
    fn consider_first(&mut self, target: u8) {
        for lun in 0..UNLISTED {
            self.consider(target, lun, Place::Unlisted);
        }
    }

    /// Makes a unit, or all of a target, a candidate, unless the midlayer has it or cannot have it.
    fn consider(&mut self, target: u8, lun: u64, place: Place) {
        let address = Address { target, lun };
        let limits = self.units.recovery().queues().limits();
        let is_known = || place == Place::Listed && self.units.find(address).is_some();

        if lun <= limits.last_lun && !is_known() {
            let candidate = Candidate {
                address,
                place,
                finding: Cell::new(Finding::Nothing),
            };

            self.is_partial |= self.candidates.push(candidate, GFP_KERNEL).is_err();
        }
    }

    /// Asks the candidates whether they are there.
    fn ask(&mut self) {
        if self.candidates.is_empty() || self.is_over() {
            return;
        }

        let bounds = self.bounds();
        let Self {
            units,
            candidates,
            is_partial,
            ..
        } = self;
        let addresses = candidates
            .iter()
            .enumerate()
            .filter(|(_, one)| one.place != Place::Target && units.find(one.address).is_none())
            .map(|(number, one)| (number, one.address));

        inquire_all(units.recovery(), addresses, bounds, |number, result| {
            let finding = match result {
                InquiryResult::Data(first) if vpd::is_unit(first) => Finding::Unit,
                InquiryResult::Data(_) => Finding::NoUnit,
                InquiryResult::NotThere => Finding::Nothing,
                InquiryResult::Silent | InquiryResult::NotSent | InquiryResult::Failed => {
                    *is_partial = true;
                    Finding::Nothing
                }
            };

            if let Some(candidate) = candidates.get(number) {
                candidate.finding.set(finding);
            }
        });
    }

    /// Has the midlayer add those of the candidates of a target that are there.
    fn add(&self, target: u8) {
        let host = self.units.host();
        let mut unlisted = 0;

        for Candidate {
            address,
            place,
            finding,
        } in self
            .candidates
            .iter()
            .filter(|one| one.address.target == target)
        {
            if self.is_over() {
                return;
            }
            match (place, finding.get()) {
                (Place::Target, _) => host.scan_target(target.into()),
                (_, Finding::Unit) => host.scan_unit(target.into(), address.lun),
                (Place::Listed, _) => continue,
                // The midlayer looks behind LUN 0 if that is no unit but answers.
                (Place::Unlisted, Finding::NoUnit) if address.lun == 0 => {}
                (Place::Unlisted, _) if self.units.find(*address).is_some() => {}
                // The midlayer does not look behind any other that is not there.
                (Place::Unlisted, _) => return,
            }
            if *place == Place::Unlisted {
                unlisted += 1;
            }
        }
        if unlisted == UNLISTED {
            host.scan_target(target.into());
        }
    }
}

// SPDX-License-Identifier: GPL-2.0

//! The VPD pages of logical units, read by commands of the driver's own: the list of pages, and
//! those pages that identify a unit.

use super::inquiry::bounds_for;
use crate::{
    protocol::{
        address::Address,
        cdb::{
            inquiry_vpd,
            VPD_LEN, //
        },
        vpd::{
            self,
            Identity,
            Page, //
        },
    },
    queues::{
        Answer,
        ExecuteResult,
        Job,
        Unit, //
    },
    recovery::Recovery, //
};
use core::cell::Cell;
use kernel::prelude::*;

/// A VPD page, from its header on.
#[derive(Default)]
pub(super) enum VpdPage {
    /// The page could not be read.
    #[default]
    Unknown,
    /// The logical unit does not have the page.
    Missing,
    /// The page, [`VPD_LEN`] bytes of it at most.
    Page(KVec<u8>),
}

impl VpdPage {
    /// Takes a page from the answer of a logical unit.
    fn of(answer: &Answer) -> Self {
        match answer.result {
            ExecuteResult::Good(len) => {
                let len = len.min(VPD_LEN.into());
                let Ok(mut bytes) = KVec::from_elem(0, len, GFP_KERNEL) else {
                    return Self::Unknown;
                };

                answer.copy_to(&mut bytes);
                Self::Page(bytes)
            }
            ExecuteResult::Refused => Self::Missing,
            _ => Self::Unknown,
        }
    }

    /// Returns the bytes that were read.
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Page(bytes) => bytes,
            Self::Unknown | Self::Missing => &[],
        }
    }
}

/// Whether the list of VPD pages of a logical unit was checked since its event, which is to be done
/// before the midlayer reads the pages: see [`read_lists`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum VpdList {
    /// It was checked, or the unit has no VPD pages.
    Checked,
    /// It was not read, or could not be read.
    Unchecked,
}

/// The VPD pages that identify a logical unit.
#[derive(Default)]
pub(super) struct Pages {
    serial: VpdPage,
    identification: VpdPage,
}

impl Pages {
    /// Returns whether `now` are the pages of another logical unit.
    pub(super) fn differ(&self, now: &Self) -> bool {
        self.identity().differs(&now.identity())
    }

    /// Takes those pages of `now` that could not be read before.
    pub(super) fn complete(&mut self, now: Self) {
        if let VpdPage::Unknown = self.serial {
            self.serial = now.serial;
        }
        if let VpdPage::Unknown = self.identification {
            self.identification = now.identification;
        }
    }

    /// Returns the bytes to compare.
    fn identity(&self) -> Identity<'_> {
        Identity {
            serial: self.serial.bytes(),
            identification: self.identification.bytes(),
        }
    }
}

/// A page that is to be read, or was.
#[derive(Default)]
struct Slot {
    is_wanted: bool,
    content: Cell<VpdPage>,
}

impl Slot {
    /// Makes a slot for a page, which is read if it is on `list`, a list of pages.
    fn by(list: &VpdPage, page: Page) -> Self {
        let (is_wanted, content) = match vpd::has_page(list.bytes(), page) {
            Some(true) => (true, VpdPage::Unknown),
            Some(false) => (false, VpdPage::Missing),
            None => (false, VpdPage::Unknown),
        };

        Self {
            is_wanted,
            content: Cell::new(content),
        }
    }
}

/// A logical unit whose pages are read.
pub(super) struct Reading<'a> {
    unit: &'a Unit,
    address: Address,
    list: Slot,
    serial: Slot,
    identification: Slot,
}

impl<'a> Reading<'a> {
    /// Makes one of which nothing was read.
    pub(super) fn new(unit: &'a Unit, address: Address) -> Self {
        Self {
            unit,
            address,
            list: Slot::default(),
            serial: Slot::default(),
            identification: Slot::default(),
        }
    }

    /// Returns the unit.
    pub(super) fn unit(&self) -> &Unit {
        self.unit
    }

    /// Returns the address of the unit.
    pub(super) fn address(&self) -> Address {
        self.address
    }

    /// Returns whether the list of pages was checked.
    pub(super) fn vpd_list(&mut self) -> VpdList {
        match self.list.content.get_mut() {
            VpdPage::Page(_) | VpdPage::Missing => VpdList::Checked,
            VpdPage::Unknown => VpdList::Unchecked,
        }
    }

    /// Takes the pages that identify the unit.
    pub(super) fn take_pages(&mut self) -> Pages {
        Pages {
            serial: self.serial.content.take(),
            identification: self.identification.content.take(),
        }
    }

    /// Has the midlayer read no VPD page of the unit from now on if the list that was read is
    /// malformed: it would read every entry of the list, repeated ones too, while nobody can add or
    /// remove another unit of the host.
    fn check_list(&mut self, recovery: &Recovery) {
        if vpd::is_list_plausible(self.list.content.get_mut().bytes()) {
            return;
        }

        let shared = recovery.shared();

        self.unit.skip_vpd_pages();
        if shared.may_complain() {
            dev_warn!(
                shared.dev(),
                "target {} lun {}: malformed list of VPD pages, none of them is read\n",
                self.address.target,
                self.address.lun
            );
        }
    }
}

/// Reads the lists of VPD pages of logical units, malformed or not, several at a time. Of a unit
/// whose list is malformed the midlayer reads no VPD page from then on.
///
/// Process context, before the midlayer reads the pages. Of a unit without VPD, nothing is read.
pub(super) fn read_lists(recovery: &Recovery, units: &mut [Reading<'_>]) {
    for one in units.iter_mut() {
        one.list = match one.unit.supports_vpd() {
            true => Slot {
                is_wanted: true,
                content: Cell::new(VpdPage::Unknown),
            },
            false => Slot {
                is_wanted: false,
                content: Cell::new(VpdPage::Missing),
            },
        };
    }
    read(recovery, units, Page::List, |one| &one.list);
    for one in units {
        one.check_list(recovery);
    }
}

/// Reads the pages that identify logical units, as far as they are on the lists that were read,
/// several at a time. Each unit has one command at a time. No page is read once `is_over`.
///
/// Process context.
pub(super) fn read_identities(
    recovery: &Recovery,
    units: &mut [Reading<'_>],
    is_over: &dyn Fn() -> bool,
) {
    for one in units.iter_mut() {
        let list = one.list.content.get_mut();

        one.serial = Slot::by(list, Page::Serial);
        one.identification = Slot::by(list, Page::Identification);
    }
    if !is_over() {
        read(recovery, units, Page::Serial, |one| &one.serial);
    }
    if !is_over() {
        read(recovery, units, Page::Identification, |one| {
            &one.identification
        });
    }
}

/// Reads and checks the list of VPD pages of one logical unit: see [`read_lists`].
///
/// Process context, before the midlayer reads the pages.
pub(super) fn read_list(recovery: &Recovery, unit: &Unit, address: Address) -> VpdList {
    let mut reading = Reading::new(unit, address);

    read_lists(recovery, core::slice::from_mut(&mut reading));
    reading.vpd_list()
}

/// Reads a page of those of the units whose `slot` for it wants it.
fn read<'r, 'u>(
    recovery: &Recovery,
    units: &'r [Reading<'u>],
    page: Page,
    slot: fn(&'r Reading<'u>) -> &'r Slot,
) {
    let cdb = inquiry_vpd(page.code());
    let jobs = units
        .iter()
        .enumerate()
        .filter(|(_, one)| slot(one).is_wanted)
        .map(|(number, one)| Job {
            address: one.address,
            cdb: &cdb,
            len: VPD_LEN.into(),
            number,
        });

    recovery.execute_all(jobs, bounds_for(units.len()), |job, answer| {
        if let Some(one) = units.get(job.number) {
            slot(one).content.set(VpdPage::of(&answer));
        }
    });
}

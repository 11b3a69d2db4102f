// SPDX-License-Identifier: GPL-2.0

//! Third stop when events were missed: all logical units are compared with the device.

use super::{
    compare::{
        Finding,
        GROUP, //
    },
    reread::{
        refresh_media,
        reread_when_well, //
    },
    topology::Topology,
    units::is_settled, //
};
use crate::scsi_glue::DeviceState;
use kernel::prelude::*;

/// Brings the midlayer in line with the device, whatever has happened: removes the logical units
/// that are gone, adds those that are new, and reads those that stay again. `renew` is whether to
/// subscribe to their notifications again. If a unit was not asked, because the device did not
/// answer for others, all begins again later, after `attempt` such tries.
///
/// New units do not wait for what is read of the others. After a device reset meanwhile all begins
/// again: see `Events::resume`.
///
/// Process context.
pub(super) fn reconcile(topology: &Topology, renew: bool, attempt: usize) {
    let units = topology.units();
    let life = units.shared().life();
    let resets = life.resets();
    let is_over = || units.is_stopped() || life.resets() != resets;
    let mut all_kept = KVec::new();
    let mut is_partial = false;

    for group in units.list(None).chunks(GROUP) {
        topology.check_group(group, &is_over, |kept| {
            is_partial |= kept.finding == Finding::Unasked;
            if all_kept.push(kept, GFP_KERNEL).is_err() {
                // Those that are not kept for lack of memory.
                units.rechecks().add_reconcile();
            }
        });
    }
    if is_over() {
        return;
    }
    if is_partial {
        units.rechecks().add_reconcile_again(attempt);
    }
    topology.look_for_all_units(0, 0);
    for kept in all_kept {
        if is_over() {
            return;
        }
        if !kept.finding.is_silent() && is_settled(&kept.unit) {
            // Commands of a unit in trouble would have to be recovered, too.
            if kept.unit.state() == DeviceState::Online && !units.is_in_trouble(&kept.unit) {
                refresh_media(units, &kept.unit, renew);
            }
            reread_when_well(units, &kept.unit, kept.vpd_list(), 0);
        }
    }
}

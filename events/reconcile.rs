// SPDX-License-Identifier: GPL-2.0

//! Third stop when events were missed: all logical units are compared with the device. Those that
//! stay are read again in `rereads.rs`.

use super::{
    compare::{
        Finding,
        GROUP, //
    },
    reread::refresh_media,
    rereads::Rereads,
    topology::Topology, //
};
use crate::scsi_glue::DeviceState;
use kernel::prelude::*;

/// Brings the midlayer in line with the device, whatever has happened: removes the logical units
/// that are gone, adds those that are new, and has those that stay read again. `renew` is whether
/// to subscribe to their notifications again. If a unit was not asked, because the device did not
/// answer for others, all begins again later, after `attempt` such tries.
///
/// New units do not wait for what is read of the others. After a device reset meanwhile all begins
/// again: see `Events::resume`.
///
/// Process context.
pub(super) fn reconcile(topology: &Topology, rereads: &Rereads, renew: bool, attempt: usize) {
    let units = topology.units();
    let life = units.shared().life();
    let resets = life.resets();
    let is_over = || units.is_stopped() || life.resets() != resets;
    let mut all_kept = KVec::new();
    let mut is_partial = false;

    for group in units.list(None).chunks(GROUP) {
        topology.check_group(group, &is_over, |kept| {
            is_partial |= kept.finding == Finding::Unasked;
            if !kept.finding.is_silent() && all_kept.push(kept, GFP_KERNEL).is_err() {
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
    // Not with the reading, which can take long: what a drive reports meanwhile would be missed.
    for kept in &all_kept {
        if is_over() {
            return;
        }
        // Commands of a unit in trouble would have to be recovered, too.
        if kept.unit.state() == DeviceState::Online && !units.is_in_trouble(&kept.unit) {
            refresh_media(units, &kept.unit, renew);
        }
    }
    rereads.replace(all_kept, resets);
}

// SPDX-License-Identifier: GPL-2.0

//! Third stop of an event that reports a change: the midlayer reads the data of the logical unit
//! again. They are unit attentions, capacity and limits, and media events.

use super::{
    inquiry::command_timeout,
    rechecks::Reason,
    units::Units,
    vpd_pages::{
        read_list,
        VpdList, //
    },
};
use crate::{
    protocol::cdb::{
        is_media_change,
        EVENT_STATUS_LEN,
        GET_EVENT_STATUS,
        TEST_UNIT_READY, //
    },
    queues::{
        address_of,
        ExecuteResult,
        Unit, //
    },
    scsi_glue::{
        DeviceEvent,
        DeviceState, //
    },
};
use kernel::prelude::*;

/// Sends TEST UNIT READY through the midlayer, which reports a unit attention of the logical unit
/// to user space.
///
/// Process context. The unit must be awake.
fn report_attention(unit: &Unit) {
    let _ = unit.execute(&TEST_UNIT_READY, &mut [], command_timeout());
}

/// Has the midlayer report a unit attention of a logical unit, which is woken for it, unless
/// commands of the unit are being recovered.
///
/// Process context.
pub(super) fn report_attention_when_well(units: &Units, unit: &Unit) {
    if !units.is_in_trouble(unit) {
        let _awake = unit.autopm_get();

        report_attention(unit);
    }
}

/// Has the midlayer read the data of a logical unit again. A unit that does not work for now is
/// checked again later, after `attempt` checks before this.
///
/// Process context.
pub(super) fn reread_when_well(units: &Units, unit: &Unit, list: VpdList, attempt: usize) {
    // The midlayer reads a unit that is offline when the user sets it online.
    if unit.state() == DeviceState::Offline {
        return;
    }

    // Commands that the midlayer sends to a unit in trouble would have to be recovered, too.
    let done = !units.is_in_trouble(unit) && reread(units, unit, list);

    if let (false, Some(address)) = (done, address_of(unit)) {
        units.recheck_later(Reason::Trouble, address, attempt);
    }
}

/// Has the midlayer read the data of a logical unit again, if it answers TEST UNIT READY. To the
/// disk driver a capacity that cannot be read is 0, with which a mounted file system is lost.
///
/// Returns whether the data were read.
fn reread(units: &Units, unit: &Unit, list: VpdList) -> bool {
    let recovery = units.recovery();
    let Some(address) = address_of(unit) else {
        return true;
    };
    let _awake = unit.autopm_get();

    report_attention(unit);
    if !matches!(
        recovery.execute(address, &TEST_UNIT_READY, &mut [], command_timeout()),
        ExecuteResult::Good(_) | ExecuteResult::NoMedium
    ) {
        return false;
    }
    if list == VpdList::Unchecked {
        let _ = read_list(recovery, unit, address);
    }
    unit.rescan().is_ok()
}

/// Finds media changes of a logical unit that were not notified. `renew` is whether to subscribe to
/// its notifications first.
///
/// Process context.
pub(super) fn refresh_media(units: &Units, unit: &Unit, renew: bool) {
    if !unit.is_rom() {
        return;
    }

    let _awake = unit.autopm_get();

    // A device reset drops subscriptions. Subscribe before the poll, so that no change is missed in
    // between.
    if let (true, Some(address)) = (renew, address_of(unit)) {
        units.subscribe(address);
    }
    if units.is_in_trouble(unit) {
        return;
    }
    if let Ok(mut data) = KVec::from_elem(0, EVENT_STATUS_LEN.into(), GFP_KERNEL) {
        let answer = unit.execute(&GET_EVENT_STATUS, &mut data, command_timeout());

        if answer.is_ok() && is_media_change(&data) {
            unit.send_event(DeviceEvent::MediaChange);
        }
    }
}

// SPDX-License-Identifier: GPL-2.0

//! Uses of `scsi_glue` that do not pass the borrow checker. Each error is expected in the line
//! below its code.

use crate::{
    host::NoData,
    scsi_glue::{
        AutopmGuard,
        Cmnd,
        CmndList,
        Device,
        Devices,
        Host,
        HostStatus,
        OwnedCmnd, //
    },
};
use kernel::{
    prelude::*,
    sync::aref::ARef, //
};

fn complete_twice(cmnd: OwnedCmnd<NoData>) {
    cmnd.complete(HostStatus::Ok, 0);
    // Error: E0382
    cmnd.complete(HostStatus::Ok, 0);
}

fn data_after_completion(cmnd: OwnedCmnd<NoData>) -> bool {
    let data = cmnd.data_in();

    // Error: E0505
    cmnd.complete(HostStatus::Ok, 0);
    data.is_some()
}

fn device_after_completion(cmnd: OwnedCmnd<NoData>) {
    let device = cmnd.device();

    // Error: E0505
    cmnd.complete(HostStatus::Ok, 0);
    device.set_offline();
}

fn use_on_a_list(cmnd: OwnedCmnd<NoData>, list: &mut CmndList<NoData>) -> bool {
    list.push(cmnd);
    // Error: E0382
    cmnd.is_last()
}

fn keep_what_is_lent<'a>(cmnd: &Cmnd<NoData>, kept: &mut Option<&'a Cmnd<NoData>>) {
    // Error: E0621
    *kept = Some(cmnd);
}

fn keep_what_is_visited(host: &Host<NoData>) -> bool {
    let mut kept: Option<&Cmnd<NoData>> = None;

    host.any_in_flight(|cmnd| {
        // Error: E0521
        kept = Some(cmnd);
        false
    });
    kept.is_some()
}

fn move_out_of_what_is_lent(cmnd: &Cmnd<NoData>) {
    // Error: E0507
    let _moved = *cmnd;
}

fn write_while_on_loan(mut cmnd: OwnedCmnd<NoData>) -> bool {
    let data = cmnd.data_in();

    // Error: E0502
    cmnd.zero_buffer();
    data.is_some()
}

fn awake_after_the_device(device: ARef<Device<NoData>>) -> AutopmGuard<'static, NoData> {
    // Error: E0515
    device.autopm_get()
}

fn devices_after_the_host(host: Pin<KBox<Host<NoData>>>) -> Devices<'static, NoData> {
    // Error: E0515
    host.devices()
}

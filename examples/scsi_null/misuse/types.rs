// SPDX-License-Identifier: GPL-2.0

//! Uses of `scsi_glue` that do not type-check. Each error is expected in the line below its code.

use crate::{
    host::{
        NoData,
        NullHost,
        LIMITS, //
    },
    kernel_glue::RcuSection,
    scsi_glue::{
        Busy,
        Cmnd,
        CommandData,
        Device,
        DeviceData,
        Driver,
        Host,
        HostStatus,
        OwnedCmnd, //
    },
};
use core::cell::Cell;
use kernel::{
    device,
    prelude::*,
    sync::Arc, //
};

/// Data of a device that must stay on their thread.
struct SharedCell(Cell<u32>);

// Error: E0277
impl DeviceData for SharedCell {
    fn new(target: u32, _lun: u64) -> Self {
        Self(Cell::new(target))
    }
}

/// A request with padding, which is not initialised.
enum PaddedRequest {}

impl CommandData for PaddedRequest {
    // Error: E0277
    type Request = (u8, u32);
    type Response = ();
    type Private = ();
    type Device = ();
}

/// A request with an address in it.
enum RequestWithPointer {}

impl CommandData for RequestWithPointer {
    // Error: E0277
    type Request = Option<&'static u8>;
    type Response = ();
    type Private = ();
    type Device = ();
}

/// A response with padding, which is not initialised.
enum PaddedResponse {}

impl CommandData for PaddedResponse {
    type Request = ();
    // Error: E0277
    type Response = (u8, u32);
    type Private = ();
    type Device = ();
}

/// A response with an address in it.
enum ResponseWithPointer {}

impl CommandData for ResponseWithPointer {
    type Request = ();
    // Error: E0277
    type Response = &'static u8;
    type Private = ();
    type Device = ();
}

/// A driver that forgets the attribute, and so would offer no optional callback.
struct NoVtable;

// Error: E0046
impl Driver for NoVtable {
    const NAME: &'static CStr = c"";
    const PROC_NAME: &'static CStr = c"";

    type CommandData = NoData;

    fn queue_command(
        &self,
        _queue: u32,
        _cmnd: OwnedCmnd<NoData>,
        _rcu: RcuSection<'_>,
    ) -> Result<(), Busy<NoData>> {
        Ok(())
    }
}

/// Other data than those of `NullHost`.
enum OtherData {}

impl CommandData for OtherData {
    type Request = ();
    type Response = ();
    type Private = ();
    type Device = ();
}

fn unbound_parent(parent: &device::Device, driver: Arc<NullHost>) {
    // Error: E0308
    let _ = Host::new(parent, LIMITS, driver);
}

fn device_of_another_host(device: &Device<NoData>) -> &Device<OtherData> {
    // Error: E0308
    device
}

fn complete_what_is_lent(cmnd: &Cmnd<NoData>) {
    // Error: E0599
    cmnd.complete(HostStatus::Ok, 0);
}

fn data_of_what_is_lent(cmnd: &Cmnd<NoData>) -> bool {
    // Error: E0599
    cmnd.data_in().is_some()
}

fn two_of_one(cmnd: &OwnedCmnd<NoData>) -> OwnedCmnd<NoData> {
    // Error: E0308
    cmnd.clone()
}

// Error: E0277
fn share_a_command(cmnd: &'static OwnedCmnd<NoData>) -> impl Sync {
    cmnd
}

fn raw_command(cmnd: &OwnedCmnd<NoData>) -> bool {
    // Error: E0624
    cmnd.as_raw().is_null()
}

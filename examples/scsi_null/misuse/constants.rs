// SPDX-License-Identifier: GPL-2.0

//! Uses of `scsi_glue` whose constants do not evaluate: the midlayer never drops a private area.

use crate::{
    host::LIMITS,
    kernel_glue::RcuSection,
    scsi_glue::{
        Busy,
        CommandData,
        Driver,
        Host,
        OwnedCmnd, //
    },
};
use kernel::{
    device,
    prelude::*,
    sync::Arc, //
};

/// Data of a command that own memory.
pub enum Leaks {}

impl CommandData for Leaks {
    type Request = ();
    type Response = ();
    // Error: E0080
    type Private = Option<KBox<u32>>;
    type Device = ();
}

/// A driver with them.
pub struct LeakingHost;

#[vtable]
impl Driver for LeakingHost {
    const NAME: &'static CStr = c"";
    const PROC_NAME: &'static CStr = c"";

    type CommandData = Leaks;

    fn queue_command(
        &self,
        _queue: u32,
        _cmnd: OwnedCmnd<Leaks>,
        _rcu: RcuSection<'_>,
    ) -> Result<(), Busy<Leaks>> {
        Ok(())
    }
}

/// Makes a host of it.
pub fn host(parent: &device::Device<device::Bound>) -> Result<Pin<KBox<Host<Leaks>>>> {
    let driver = Arc::new(LeakingHost, GFP_KERNEL)?;

    KBox::pin_init(Host::new(parent, LIMITS, driver), GFP_KERNEL)
}

// SPDX-License-Identifier: GPL-2.0

//! A probe that does nothing, for a driver that wants tracepoints to be on.

use super::bindings;
use kernel::{
    bindings::{
        tracepoint,
        tracepoint_probe_register,
        tracepoint_probe_unregister, //
    },
    error::to_result,
    ffi::c_void,
    prelude::*, //
};

/// Keeps the tracepoints [`queue_command`] and [`complete_command`] on, so that the closures that
/// they take are called.
///
/// # Invariants
///
/// [`probe_queue`] and [`probe_complete`] are registered with the address of `data`.
///
/// [`queue_command`]: super::queue_command
/// [`complete_command`]: super::complete_command
pub struct Recording {
    /// Tells this registration from others. A probe is registered once for each.
    data: KBox<u8>,
}

/// A probe of `queue_command`.
extern "C" fn probe_queue(_: *mut c_void, _: *const bindings::trace_helper_command) {}

/// A probe of `complete_command`.
extern "C" fn probe_complete(
    _: *mut c_void,
    _: *const bindings::trace_helper_command,
    _: *const bindings::trace_helper_end,
) {
}

/// Returns the tracepoints and their probes.
fn probes() -> [(*mut tracepoint, *mut c_void); 2] {
    [
        (
            &raw mut bindings::__tracepoint_virtio_scsi_queue_command,
            probe_queue as *mut c_void,
        ),
        (
            &raw mut bindings::__tracepoint_virtio_scsi_complete_command,
            probe_complete as *mut c_void,
        ),
    ]
}

impl Recording {
    /// Turns the tracepoints on, or keeps them on.
    ///
    /// Process context. Fails with [`ENOMEM`].
    pub fn new() -> Result<Self> {
        let data = KBox::new(0, GFP_KERNEL)?;
        let [queue, complete] = probes();

        register(queue, &data)?;
        register(complete, &data).inspect_err(|_| {
            unregister(queue, &data);
            synchronize();
        })?;

        // INVARIANT: Both are registered.
        Ok(Self { data })
    }
}

/// Registers a probe.
fn register((point, probe): (*mut tracepoint, *mut c_void), data: &KBox<u8>) -> Result {
    // SAFETY: The probe has the prototype of the tracepoint, and does not use the data.
    to_result(unsafe { tracepoint_probe_register(point, probe, address(data)) })
}

/// Unregisters a probe, which may still run for a moment.
fn unregister((point, probe): (*mut tracepoint, *mut c_void), data: &KBox<u8>) {
    // SAFETY: The probe is registered with these data, which it does not use.
    unsafe { tracepoint_probe_unregister(point, probe, address(data)) };
}

/// Waits until no probe that was unregistered runs any more, so that the module may go.
fn synchronize() {
    // SAFETY: The function only waits.
    unsafe { bindings::trace_helper_synchronize() };
}

/// Returns the address of the data.
fn address(data: &KBox<u8>) -> *mut c_void {
    (&raw const **data).cast_mut().cast()
}

impl Drop for Recording {
    /// Process context.
    fn drop(&mut self) {
        for each in probes() {
            unregister(each, &self.data);
        }
        synchronize();
    }
}

// SPDX-License-Identifier: GPL-2.0

//! The tracepoints of this driver, as safe functions. `docs/seeing-inside.md` says what they tell.
//!
//! Each takes a closure for what it tells, which is called only while the tracepoint is on. One
//! that is off costs a static branch, of one instruction. Any context.
//!
//! `declare_trace!` of the kernel crate cannot be used by a module outside of the kernel's tree: it
//! looks for the tracepoint among the kernel crate's own bindings.
//!
//! C header: [`include/linux/tracepoint.h`](srctree/include/linux/tracepoint.h)

// Nothing calls the functions that make facts for C.
#![cfg_attr(not(CONFIG_TRACEPOINTS), allow(dead_code))]

mod bindings;
#[cfg(CONFIG_TRACEPOINTS)]
mod recording;
#[cfg(not(CONFIG_TRACEPOINTS))]
#[path = "no_recording.rs"]
mod recording;

pub use self::recording::Recording;

use kernel::prelude::*;

#[cfg(CONFIG_TRACEPOINTS)]
use kernel::{
    bindings::tracepoint,
    jump_label::static_branch_unlikely, //
};

/// The longest CDB that a tracepoint takes, in bytes.
pub const CDB_SIZE: usize = bindings::TRACE_HELPER_CDB_SIZE as usize;

/// A command.
pub struct CommandFacts<'a> {
    /// The device on the virtio bus.
    pub device: &'a CStr,
    /// The kernel's number of the host.
    pub host: u32,
    /// The target.
    pub target: u32,
    /// The kernel's number of the LUN.
    pub lun: u64,
    /// The hardware queue.
    pub queue: u32,
    /// The tag by which the device knows it.
    pub tag: u64,
    /// The CDB, with zeroes after it.
    pub cdb: [u8; CDB_SIZE],
    /// The length of the CDB, in bytes.
    pub cdb_len: u8,
}

impl CommandFacts<'_> {
    /// Returns the facts for C. They borrow the name of the device.
    fn for_c(&self) -> bindings::trace_helper_command {
        bindings::trace_helper_command {
            device: self.device.as_char_ptr(),
            host: self.host,
            target: self.target,
            lun: self.lun,
            queue: self.queue,
            cdb_len: self
                .cdb_len
                .min(bindings::TRACE_HELPER_CDB_SIZE as u8)
                .into(),
            tag: self.tag,
            cdb: self.cdb,
        }
    }
}

/// The end of a command.
#[derive(Default)]
pub struct EndFacts {
    /// Whether the device has used it. If not, the rest is 0.
    pub used: bool,
    /// The response code.
    pub response: u8,
    /// The SCSI status.
    pub status: u8,
    /// How many bytes were not transferred.
    pub residual: u32,
    /// How many bytes of sense data the device claims to have written.
    pub sense_len: u32,
}

impl EndFacts {
    fn for_c(&self) -> bindings::trace_helper_end {
        bindings::trace_helper_end {
            used: self.used,
            response: self.response,
            status: self.status,
            residual: self.residual,
            sense_len: self.sense_len,
        }
    }
}

/// A logical unit.
#[derive(Clone, Copy)]
pub struct UnitFacts {
    /// The target.
    pub target: u32,
    /// The kernel's number of the LUN.
    pub lun: u64,
}

impl UnitFacts {
    fn for_c(self) -> bindings::trace_helper_unit {
        bindings::trace_helper_unit {
            target: self.target,
            lun: self.lun,
        }
    }
}

/// A task management function.
pub struct FunctionFacts<'a> {
    /// The device on the virtio bus.
    pub device: &'a CStr,
    /// The logical unit.
    pub unit: UnitFacts,
    /// Its name.
    pub function: &'static str,
    /// The tag of the command that it is about, or 0.
    pub tag: u64,
}

/// An event.
pub struct EventFacts<'a> {
    /// The device on the virtio bus.
    pub device: &'a CStr,
    /// The logical unit.
    pub unit: UnitFacts,
    /// Its name.
    pub event: &'static str,
    /// The detail that the event has besides, or 0.
    pub detail: u32,
}

/// Returns text for C. It borrows `text`.
fn text(text: &str) -> bindings::trace_helper_text {
    bindings::trace_helper_text {
        bytes: text.as_ptr().cast(),
        len: text.len(),
    }
}

/// Declares a tracepoint of `trace.h`: a function that takes a closure for what it tells, and the
/// arguments of the C function that are made of that.
macro_rules! tracepoint {
    (
        $(#[$meta:meta])*
        fn $name:ident($facts:ident: $type:ty), $key:ident, $trace:ident($($argument:expr),*)
    ) => {
        $(#[$meta])*
        #[inline(always)]
        pub fn $name<'a>(tell: impl FnOnce() -> $type) {
            #[cfg(CONFIG_TRACEPOINTS)]
            // SAFETY: `trace.c` defines the tracepoint, whose key is a static one.
            let is_on = unsafe { static_branch_unlikely!(bindings::$key, tracepoint, key) };

            #[cfg(CONFIG_TRACEPOINTS)]
            if is_on {
                let $facts = tell();

                // SAFETY: The pointers are valid during the call, and what they point to is not
                // used after it.
                unsafe { bindings::$trace($($argument),*) };
            }

            #[cfg(not(CONFIG_TRACEPOINTS))]
            let _ = tell;
        }
    };
}

/// Returns whether [`complete_command`] is on, for a driver that asks once for many commands.
#[inline(always)]
pub fn tells_of_completions() -> bool {
    #[cfg(CONFIG_TRACEPOINTS)]
    // SAFETY: `trace.c` defines the tracepoint, whose key is a static one.
    let is_on = unsafe {
        static_branch_unlikely!(
            bindings::__tracepoint_virtio_scsi_complete_command,
            tracepoint,
            key
        )
    };

    #[cfg(not(CONFIG_TRACEPOINTS))]
    let is_on = false;

    is_on
}

tracepoint! {
    /// Tells of a command that is about to be put on a request queue.
    fn queue_command(facts: CommandFacts<'a>),
    __tracepoint_virtio_scsi_queue_command, rust_do_trace_virtio_scsi_queue_command(&facts.for_c())
}

tracepoint! {
    /// Tells of a command that goes back to the midlayer, which sends it again.
    fn requeue_command(facts: CommandFacts<'a>),
    __tracepoint_virtio_scsi_requeue_command,
    rust_do_trace_virtio_scsi_requeue_command(&facts.for_c())
}

tracepoint! {
    /// Tells of a command whose time is over.
    fn time_out_command(facts: CommandFacts<'a>),
    __tracepoint_virtio_scsi_time_out_command,
    rust_do_trace_virtio_scsi_time_out_command(&facts.for_c())
}

tracepoint! {
    /// Tells of a command that has left its request queue.
    fn complete_command(facts: (CommandFacts<'a>, EndFacts)),
    __tracepoint_virtio_scsi_complete_command,
    rust_do_trace_virtio_scsi_complete_command(&facts.0.for_c(), &facts.1.for_c())
}

tracepoint! {
    /// Tells of a task management function that the device is sent.
    fn send_function(facts: FunctionFacts<'a>),
    __tracepoint_virtio_scsi_send_function,
    rust_do_trace_virtio_scsi_send_function(
        facts.device.as_char_ptr(),
        &facts.unit.for_c(),
        &text(facts.function),
        facts.tag
    )
}

tracepoint! {
    /// Tells of a task management function that was answered, or not in its time, and how.
    fn answer_function(facts: (FunctionFacts<'a>, &'static str)),
    __tracepoint_virtio_scsi_answer_function,
    rust_do_trace_virtio_scsi_answer_function(
        facts.0.device.as_char_ptr(),
        &facts.0.unit.for_c(),
        &text(facts.0.function),
        &text(facts.1),
        facts.0.tag
    )
}

tracepoint! {
    /// Tells of an event that the device has reported.
    fn receive_event(facts: EventFacts<'a>),
    __tracepoint_virtio_scsi_receive_event,
    rust_do_trace_virtio_scsi_receive_event(
        facts.device.as_char_ptr(),
        &facts.unit.for_c(),
        &text(facts.event),
        facts.detail
    )
}

tracepoint! {
    /// Tells of an event that was handled.
    fn handle_event(facts: EventFacts<'a>),
    __tracepoint_virtio_scsi_handle_event,
    rust_do_trace_virtio_scsi_handle_event(
        facts.device.as_char_ptr(),
        &facts.unit.for_c(),
        &text(facts.event),
        facts.detail
    )
}

tracepoint! {
    /// Tells of a device, by its name on the virtio bus, that has got into another state.
    fn change_state(facts: (&'a CStr, &'static str)),
    __tracepoint_virtio_scsi_change_state,
    rust_do_trace_virtio_scsi_change_state(facts.0.as_char_ptr(), &text(facts.1))
}

tracepoint! {
    /// Tells of a device, by its name on the virtio bus, that has violated the protocol, and how.
    fn violate(facts: (&'a CStr, &'static str)),
    __tracepoint_virtio_scsi_violate,
    rust_do_trace_virtio_scsi_violate(facts.0.as_char_ptr(), &text(facts.1))
}

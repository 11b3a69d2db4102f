// SPDX-License-Identifier: GPL-2.0

//! Parts that the `kernel` crate does not have yet.
//!
//! The head of each file names the C header that it wraps, and the part of the kernel crate that
//! takes its place.

mod bindings;
mod bus_interrupts;
mod completion;
mod debugfs;
mod device_buffer;
mod jiffies;
mod lock;
mod modinfo;
mod module_parts;
mod pairs;
mod panic;
mod parameter;
mod rate_limit;
mod rcu_section;
mod scatterlist;
mod token;
mod unordered;
mod version;
mod work_slot;
mod worker;

pub use self::{
    bus_interrupts::BusInterrupts,
    completion::TimedCompletion,
    debugfs::{
        DebugDir,
        DebugFile,
        Show, //
    },
    device_buffer::DeviceBuffer,
    jiffies::{
        jiffies_to_msecs,
        now_ns,
        Stamp, //
    },
    lock::{
        wait_for_rcu,
        IrqSave,
        Locked, //
    },
    module_parts::{
        debug_dir_of,
        ModuleParts,
        Queue, //
    },
    pairs::Pairs,
    panic::{
        is_crash_kernel,
        panic_for_dump, //
    },
    parameter::{
        Entry,
        Parameter, //
    },
    rate_limit::RateLimit,
    rcu_section::RcuSection,
    scatterlist::{
        OneSegment,
        Segments,
        WritableSegments, //
    },
    token::{
        Either,
        EvenToken,
        Token, //
    },
    unordered::Unordered,
    work_slot::{
        AnyWorker,
        WorkSlot, //
    },
    worker::{
        Task,
        Worker, //
    },
};

pub(crate) use self::{
    lock::new_locked,
    modinfo::modinfo,
    parameter::writable_parameter,
    version::module_version,
    worker::{
        Continuation,
        Continue, //
    },
};

// SPDX-License-Identifier: GPL-2.0

//! The files of a device in debugfs. `docs/seeing-inside.md` says what they tell.

use crate::{
    kernel_glue::{
        DebugDir,
        DebugFile, //
    },
    queues::{
        History,
        Host,
        Latencies,
        RequestQueues,
        SharedState, //
    },
    recovery::Recovery,
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// The files of a device in debugfs, which go when this is dropped.
#[pin_data]
pub(super) struct DebugFiles {
    #[pin]
    counters: DebugFile<SharedState>,
    #[pin]
    state: DebugFile<Recovery>,
    #[pin]
    history: DebugFile<History>,
    #[pin]
    queues: DebugFile<RequestQueues>,
    #[pin]
    in_flight: DebugFile<Host>,
    #[pin]
    latencies: DebugFile<Latencies>,
}

impl DebugFiles {
    /// Makes an initialiser for the files in `dir`.
    ///
    /// Process context.
    pub(super) fn new(
        dir: Arc<DebugDir>,
        recovery: Arc<Recovery>,
        queues: Arc<RequestQueues>,
        host: Arc<Host>,
    ) -> impl PinInit<Self> {
        let shared = queues.shared().clone();
        let history = shared.history().clone();
        let latencies = shared.latencies().clone();

        pin_init!(Self {
            counters <- DebugFile::new(c"counters", dir.clone(), shared),
            state <- DebugFile::new(c"state", dir.clone(), recovery),
            history <- DebugFile::new(c"recovery", dir.clone(), history),
            queues <- DebugFile::new(c"queues", dir.clone(), queues),
            in_flight <- DebugFile::new(c"in_flight", dir.clone(), host),
            latencies <- DebugFile::new(c"latency", dir, latencies),
        })
    }
}

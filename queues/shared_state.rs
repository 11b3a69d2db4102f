// SPDX-License-Identifier: GPL-2.0

//! The state of a device that all its queues share.

use super::{
    attentions::Attentions,
    counters::Counters,
    history::History,
    latencies::Latencies,
    life::Life, //
};
use crate::{
    kernel_glue::{
        RateLimit,
        Show,
        WorkSlot, //
    },
    protocol::byte_order::ByteOrder,
    virtio_glue::Device, //
};
use kernel::{
    device, fmt,
    prelude::*,
    sync::{
        aref::ARef,
        Arc, //
    },
};

/// The state of a device that all its queues share.
#[pin_data]
pub struct SharedState {
    dev: ARef<Device>,
    order: ByteOrder,
    #[pin]
    life: Life,
    counters: Counters,
    history: Arc<History>,
    latencies: Arc<Latencies>,
    #[pin]
    attentions: Attentions,
    /// Limits the log lines that the device can cause.
    #[pin]
    complaints: RateLimit,
    /// Resets the device if it does not work. Set from probe to the end of unbinding.
    #[pin]
    healing: WorkSlot,
}

impl Show for SharedState {
    /// Writes a line for each counter of the device.
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.counters.show(f)
    }
}

impl SharedState {
    /// Makes the state of a device that is being probed.
    pub fn new(dev: &Device<device::Bound>) -> Result<Arc<Self>> {
        let order = if dev.is_little_endian() {
            ByteOrder::Little
        } else {
            ByteOrder::Big
        };

        let life = Life::new(Some(dev.into()));
        let history = History::new()?;
        let latencies = Arc::pin_init(Latencies::new(), GFP_KERNEL)?;

        Arc::pin_init(
            pin_init!(Self {
                dev: dev.into(),
                order,
                life <- life,
                counters: Counters::default(),
                history,
                latencies,
                attentions <- Attentions::new(),
                complaints <- RateLimit::new(),
                healing <- WorkSlot::new(),
            }),
            GFP_KERNEL,
        )
    }

    /// Returns the device for log messages.
    pub fn dev(&self) -> &device::Device {
        (*self.dev).as_ref()
    }

    /// Returns the byte order of the device's fields.
    #[inline]
    pub fn order(&self) -> ByteOrder {
        if cfg!(target_endian = "little") {
            // The order of a legacy device is the processor's, that of any other is this one.
            ByteOrder::Little
        } else {
            self.order
        }
    }

    /// Returns the state that the device is in, as an object that can wait for changes.
    pub fn life(&self) -> &Life {
        &self.life
    }

    /// Returns the counters of the device.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Returns the last steps of recovery.
    pub fn history(&self) -> &Arc<History> {
        &self.history
    }

    /// Returns the times of commands.
    #[inline]
    pub fn latencies(&self) -> &Arc<Latencies> {
        &self.latencies
    }

    /// Returns the recent unit attentions of the logical units.
    pub fn attentions(&self) -> &Attentions {
        &self.attentions
    }

    /// Returns whether the rate limit allows a log line that the device has caused. Any context.
    #[inline]
    pub fn may_complain(&self) -> bool {
        self.complaints.pass()
    }

    /// Returns the place for the worker that resets the device if it does not work.
    pub fn healing(&self) -> &WorkSlot {
        &self.healing
    }

    /// Has the device checked soon, and reset if it does not work. Any context.
    #[cold]
    pub fn heal(&self) {
        if !self.life.is_gone() {
            self.healing.schedule();
        }
    }
}

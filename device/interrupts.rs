// SPDX-License-Identifier: GPL-2.0

//! Interrupts of a device, of which there may be too few: a CPU of a PC has about 200 vectors for
//! all its devices.
//!
//! The virtio core takes what is free: a vector for each virtqueue, or one for all of them, or the
//! interrupt line of the PCI function. It frees each when the virtqueues are deleted, and another
//! device may have taken it when they are created again. So the driver holds the line all the time,
//! and the last of the three ways stays open. That costs one vector for all devices on the line. A
//! device without a line, or without a vector for it, waits until vectors are free.

use crate::{
    initiator::Initiator,
    scsi_glue::Driver as _,
    virtio_glue::{
        is_lack_of_interrupts,
        Device,
        Interrupts,
        Virtqueues, //
    },
};
use kernel::{
    device,
    new_mutex,
    prelude::*,
    sync::Mutex, //
};

/// How many virtqueues there are besides the request queues: controlq and eventq.
const OTHER_QUEUES: usize = Initiator::OTHER_INTERRUPTS as usize;

/// Logs that virtqueues could not be created. A device may have fewer than it claims.
pub(super) fn log_creation_failure(dev: &Device<device::Bound>, requests: u32, error: Error) {
    let why = if is_lack_of_interrupts(error) {
        ", as there are no interrupts for them"
    } else {
        ""
    };

    dev_err!(
        dev,
        "controlq, eventq and {requests} request queues could not be created{why}: {error:?}\n"
    );
}

/// The interrupts of a device as they were logged last.
struct Logged {
    /// The interrupts that it has.
    kind: Interrupts,
    /// Whether it waits for some.
    waits: bool,
}

/// The interrupts of a device.
#[pin_data]
pub(super) struct Vectors {
    #[pin]
    logged: Mutex<Logged>,
}

impl Vectors {
    /// Makes an initialiser for a device of which nothing was logged: each queue is expected to
    /// have an interrupt of its own.
    pub(super) fn new() -> impl PinInit<Self> {
        let logged = Logged {
            kind: Interrupts::Own,
            waits: false,
        };

        pin_init!(Self {
            logged <- new_mutex!(logged),
        })
    }

    /// Creates the virtqueues of controlq, eventq and `requests` request queues after a reset.
    ///
    /// Process context. Fails with `EAGAIN` if there are no interrupts for them.
    pub(super) fn create_again(
        &self,
        dev: &Device<device::Bound>,
        virtqueues: &Virtqueues,
        requests: u32,
    ) -> Result {
        virtqueues.hold_line(Initiator::PROC_NAME);

        let count = OTHER_QUEUES + requests as usize;

        match virtqueues.create_again(count, Initiator::OTHER_INTERRUPTS) {
            Ok(()) => {
                self.log_change(dev, requests);
                Ok(())
            }
            Err(error) if is_lack_of_interrupts(error) => {
                let mut logged = self.logged.lock();

                if !logged.waits {
                    logged.waits = true;
                    dev_warn!(
                        dev,
                        "the device waits for interrupts, as none are free: {error:?}\n"
                    );
                }
                Err(EAGAIN)
            }
            Err(error) => Err(error),
        }
    }

    /// Logs which interrupts the virtqueues have, if that has changed.
    pub(super) fn log_change(&self, dev: &Device<device::Bound>, requests: u32) {
        let now = dev.interrupts();
        let mut logged = self.logged.lock();

        if logged.waits {
            logged.waits = false;
            dev_info!(dev, "the device has interrupts again\n");
        }
        if logged.kind == now {
            return;
        }
        logged.kind = now;
        match now {
            Interrupts::Own => dev_info!(dev, "each queue has an interrupt of its own again\n"),
            Interrupts::Shared => dev_warn!(
                dev,
                "controlq, eventq and {requests} request queues share one interrupt vector, for lack of more\n"
            ),
            Interrupts::Line => dev_warn!(
                dev,
                "controlq, eventq and {requests} request queues share the interrupt line, for lack of vectors\n"
            ),
        }
    }
}

// SPDX-License-Identifier: GPL-2.0

//! What is done about interrupt vectors, of which a CPU of a PC has about 200 for all its devices.
//!
//! The virtio core takes what there is: a vector for each virtqueue, or one for all of them, or the interrupt line
//! of the PCI function. It gives each up as soon as the virtqueues are deleted, and somebody else may have them when
//! the device is back from a reset. So the line is held from before the first virtqueues to the end, which costs a
//! vector for all devices on it together, and the last of these three ways stays open. Where there is no line, or no
//! vector for it, the device waits until there are vectors.

use super::{
    Device,
    Initiator,
    OTHER_QUEUES, //
};
use crate::{
    scsi_glue::Driver as _,
    virtio_glue::{
        is_lack_of_interrupts,
        InterruptLine,
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

/// What is known of a device's interrupts.
struct Inner {
    line: Option<InterruptLine>,
    /// What the log says of them.
    told: Interrupts,
    /// Whether the log says that the device waits for them.
    waits: bool,
}

/// The interrupts of a device.
#[pin_data]
pub(super) struct Vectors {
    #[pin]
    inner: Mutex<Inner>,
}

impl Vectors {
    /// Makes those of a device that has none yet.
    pub(super) fn new() -> impl PinInit<Self> {
        let inner = Inner {
            line: None,
            told: Interrupts::Own,
            waits: false,
        };

        pin_init!(Self {
            inner <- new_mutex!(inner),
        })
    }

    /// Holds the line of the device, if it can be had.
    ///
    /// Process context.
    pub(super) fn hold(&self, dev: &Device<device::Bound>) {
        let mut inner = self.inner.lock();

        if inner.line.is_none() {
            inner.line = InterruptLine::hold(dev, Initiator::PROC_NAME).ok();
        }
    }

    /// Lets go of the line, which may not be there for a while.
    ///
    /// Process context.
    pub(super) fn release(&self) {
        let line = self.inner.lock().line.take();

        drop(line);
    }

    /// Makes controlq, eventq and `requests` request queues of a device that was reset.
    ///
    /// Process context. Fails with `EAGAIN` if there are no interrupts for them.
    pub(super) fn create_again(
        &self,
        dev: &Device<device::Bound>,
        virtqueues: &Virtqueues,
        requests: u32,
    ) -> Result {
        self.hold(dev);

        let count = OTHER_QUEUES + requests as usize;

        match virtqueues.create_again(dev, count, Initiator::OTHER_INTERRUPTS) {
            Ok(()) => {
                self.tell(dev, requests);
                Ok(())
            }
            Err(error) if is_lack_of_interrupts(error) => {
                let mut inner = self.inner.lock();

                if !inner.waits {
                    inner.waits = true;
                    dev_warn!(
                        dev,
                        "there are no interrupts for the device, which waits for some: {error:?}\n"
                    );
                }
                Err(EAGAIN)
            }
            Err(error) => Err(error),
        }
    }

    /// Says what interrupts the virtqueues have got, if they are others than before.
    pub(super) fn tell(&self, dev: &Device<device::Bound>, requests: u32) {
        let now = dev.interrupts();
        let mut inner = self.inner.lock();

        if inner.waits {
            inner.waits = false;
            dev_info!(dev, "there are interrupts for the device again\n");
        }
        if inner.told == now {
            return;
        }
        inner.told = now;
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

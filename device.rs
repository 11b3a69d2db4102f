// SPDX-License-Identifier: GPL-2.0

//! The life of one device: probe, resets by whoever resets it, shutdown, and unbinding.
//!
//! `queues/states.rs` is the table of the states in which a device can be. The functions here are the only ones
//! that take steps in it, but for recovery, which gives up a device that it cannot reset. Every way out of a
//! reset ends in `Live`, in `Gone`, or in `Waiting` for interrupts ([`interrupts`]):
//!
//! | who resets | who brings the device up | who gives it up if that fails |
//! |---|---|---|
//! | the driver | [`resume`] | [`resume`]; `queues/recovery/reset.rs` if the virtio core does not get there |
//! | suspend | [`resume`] | [`resume`]; [`Return`], when tasks run again, if the core does not get there |
//! | a reset of the PCI function | [`resume`] | [`resume`]; [`Return`], after 90 s, if the core does not get there |
//!
//! A device that waits is tried again by whoever wanted it reset, or by [`Return`]. An unbinding gives up a device that
//! is down for one of the last two, or that waits. A shutdown waits for a reset by the driver, allows no other, and
//! leaves the device reset.

mod interrupts;
mod probe;

pub use self::probe::probe;

use core::pin::Pin;
use kernel::{
    debugfs,
    device,
    ffi::c_uint,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    },
    time::msecs_to_jiffies, //
};

use self::interrupts::Vectors;
use crate::{
    events::EventQueue,
    queues::{
        config,
        limits::{
            Adjustments,
            DeviceLimits,
            Refusal,
            Settings, //
        },
        recovery::{
            Return,
            BETWEEN_TRIES, //
        },
        states::{
            Answer,
            Cause,
            State, //
        },
        Initiator,
        Removal,
        RequestQueue,
        Shared, //
    },
    scsi_glue::{
        Driver as _,
        Host, //
    },
    virtio_glue::{
        is_lack_of_interrupts,
        Device,
        Resets,
        Resetter,
        Stamp,
        Virtqueues,
        Worker, //
    },
};

/// The device tells when logical units come and go.
pub const VIRTIO_SCSI_F_HOTPLUG: c_uint = 1;

/// The device tells when something about a logical unit changes.
pub const VIRTIO_SCSI_F_CHANGE: c_uint = 2;

/// How long a reset by somebody else waits for one that is under way, in milliseconds.
const RESET_ELSEWHERE: i64 = 60_000;

/// The driver's data of a device. The fields are dropped from top to bottom.
#[pin_data]
pub struct DeviceData {
    #[pin]
    _counters: debugfs::File<Arc<Shared>>,
    shared: Arc<Shared>,
    events: Arc<EventQueue>,
    initiator: Arc<Initiator>,
    settings: Settings,
    limits: DeviceLimits,
    removal: Removal,
    /// The host sends commands, so it is removed before the virtqueues are.
    host: Arc<Host<Initiator>>,
    virtqueues: Arc<Virtqueues>,
    resetter: Arc<Resetter>,
    /// Gives the device up if it does not come back from somebody else's reset.
    comes_back: Arc<Worker<Return>>,
    /// Held by whoever takes the device down or brings it up, as that takes more than a step in the table.
    #[pin]
    work: Mutex<()>,
    /// It lets go of the line before the transport, or the PCI core, does away with it.
    vectors: Pin<KBox<Vectors>>,
}

impl DeviceData {
    /// Returns what all queues of the device have in common.
    pub fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Returns what resets the device.
    pub fn resetter(&self) -> &Resetter {
        &self.resetter
    }
}

/// How many virtqueues there are besides the request queues: controlq and eventq.
const OTHER_QUEUES: usize = Initiator::OTHER_INTERRUPTS as usize;

/// Says why a device cannot be served.
fn refuse(dev: &Device<device::Bound>, refusal: Refusal) -> Error {
    dev_err!(dev, "the device cannot be served: {refusal}\n");
    EINVAL
}

/// Says that the virtqueues could not be made: the device may not have as many as it says.
fn tell_virtqueues(dev: &Device<device::Bound>, requests: u32, error: Error) {
    let why = if is_lack_of_interrupts(error) {
        ", as there are no interrupts for them"
    } else {
        ""
    };

    dev_err!(
        dev,
        "controlq, eventq and {requests} request queues could not be made{why}: {error:?}\n"
    );
}

/// Starts to handle events, and looks for logical units.
pub fn scan(data: &DeviceData) {
    if EventQueue::start(&data.events, data.host.clone()).is_err() {
        dev_err!(
            data.shared.dev(),
            "no memory to handle events of the device\n"
        );
    }
    // A failure that was found before the device could be reset is looked at now.
    data.shared.heal();
    data.host.scan();
}

/// Builds the virtqueues of a device that was reset, whose host is there.
///
/// A device that comes back with less than the midlayer was told cannot be served any more.
fn rebuild(dev: &Device<device::Bound>, data: &DeviceData) -> Result {
    let mut adjustments = Adjustments::default();
    let now = config::read_limits(dev, &data.settings, &mut adjustments)
        .map_err(|refusal| refuse(dev, refusal))?;
    let before = data.initiator.request_queue_count();
    let count = before.min(now.interrupt_queues + now.polled_queues);

    data.vectors
        .create_again(dev, &data.virtqueues, count)
        .inspect_err(|error| {
            if *error != EAGAIN {
                tell_virtqueues(dev, count, *error);
            }
        })?;
    if count < before {
        dev_warn!(
            dev,
            "the device has come back with {count} request queues, of {before}\n"
        );
    }
    data.initiator.set_present(count);

    let layout =
        config::set_layout(dev, &mut adjustments).map_err(|refusal| refuse(dev, refusal))?;
    let size = data
        .initiator
        .request_queues()
        .take(count as usize)
        .map(RequestQueue::size)
        .min();

    data.limits
        .still_served(
            &now,
            (data.initiator.layout(), layout),
            &data.initiator.limits(),
            size.unwrap_or(0),
        )
        .map_err(|refusal| refuse(dev, refusal))?;

    data.virtqueues.start(dev);
    data.host.limit_queue_depth(now.commands_per_lun);
    data.events.resume();
    Ok(())
}

/// Ends all commands of a device that was taken away without notice, and takes no more.
fn vanish(dev: &Device<device::Bound>, data: &DeviceData) {
    if data.shared.life().give_up() {
        dev_warn!(dev, "the device is not there any more\n");
    }
    data.virtqueues.delete();
}

/// Takes the device out of service for good. What it has of commands ends.
fn retire(data: &DeviceData) {
    data.shared.life().give_up();
    data.virtqueues.delete();
}

/// Takes the device down before it is reset.
///
/// Process context. If `by` is not the driver, this waits for a reset that is under way.
pub fn quiesce(dev: &Device<device::Bound>, data: &DeviceData, by: Resets) -> Result {
    let life = data.shared.life();
    let cause = match by {
        Resets::Driver => Cause::Driver,
        Resets::System => Cause::Suspend,
        Resets::Transport => Cause::Transport,
    };

    // A device whose function is being reset reads like one that is gone.
    if matches!(life.state(), State::Live | State::Waiting) && dev.is_gone() {
        // The caller would wait for the reset of a device that is not there.
        vanish(dev, data);
        return Err(ENODEV);
    }

    let began = Stamp::now();

    loop {
        if cause != Cause::Driver {
            life.settle(RESET_ELSEWHERE);
            // Its time for an earlier reset must not end now. What it does if the device waits for interrupts needs
            // the lock.
            data.comes_back.cancel();
        }

        let _work = data.work.lock();

        match life.take_down(cause) {
            Answer::Go(_) => {
                // The midlayer tries commands that were in flight again, and gets them back as busy until the
                // device is there again.
                data.virtqueues.delete();
                if cause == Cause::Transport {
                    data.vectors.release();
                }
                if let Some(bound) = Return::bound(cause) {
                    data.comes_back.schedule_after(bound);
                }
                return Ok(());
            }
            // The driver was quicker, which does not take long.
            Answer::Wait
                if cause != Cause::Driver
                    && began.elapsed() < msecs_to_jiffies(RESET_ELSEWHERE as u32) => {}
            Answer::Wait => return Err(EBUSY),
            // There is nothing left to quiesce, and the system may be suspended.
            Answer::Nothing if cause == Cause::Suspend => return Ok(()),
            Answer::Nothing => return Err(ENODEV),
        }
    }
}

/// Brings the device up after it was reset.
///
/// Process context.
pub fn resume(dev: &Device<device::Bound>, data: &DeviceData) -> Result {
    let _work = data.work.lock();
    let life = data.shared.life();

    let State::Down(cause) = life.state() else {
        // The device was given up meanwhile, or the core did not tell that it would reset it.
        return Err(ENODEV);
    };

    let result = rebuild(dev, data).and_then(|()| life.bring_up().then_some(()).ok_or(ENODEV));

    if let Err(error) = result {
        let waits = error == EAGAIN && life.lack();

        if !waits && life.give_up() {
            dev_err!(
                dev,
                "the device could not be set up again and is given up\n"
            );
        }
        data.virtqueues.delete();
    }
    match cause {
        // Whoever has reset it tries again, which may be this very worker.
        Cause::Driver | Cause::Probe => {}
        Cause::Suspend | Cause::Transport if life.state() == State::Waiting => {
            data.comes_back
                .schedule_after(msecs_to_jiffies(BETWEEN_TRIES));
        }
        Cause::Suspend | Cause::Transport => data.comes_back.cancel(),
    }
    result
}

/// Leaves the device reset, and without virtqueues, before the system goes down.
///
/// Process context.
pub fn shutdown(data: &DeviceData) {
    data.shared.life().give_up();
    // A reset that is under way sees to it that the device stays down.
    data.resetter.disable();

    let _work = data.work.lock();

    retire(data);
}

/// Takes the device from the driver: removes its host, and leaves it reset and without virtqueues.
///
/// Process context.
pub fn unbind(dev: &Device<device::Bound>, data: Pin<&DeviceData>) {
    let data = data.get_ref();
    let life = data.shared.life();

    life.leave();
    if data.virtqueues.are_lost() {
        // Then nothing that the removal sends or waits for takes any time.
        vanish(dev, data);
    }
    // Neither suspend nor the transport brings a device up that is being unbound, and it waits for nothing.
    if let State::Down(Cause::Suspend | Cause::Transport) | State::Waiting = life.state() {
        retire(data);
    }

    // Events that are being handled wait for the device, too.
    let guard = data.removal.watch();

    data.initiator.recovery().look();
    data.events.stop();
    data.host.remove();
    drop(guard);

    data.initiator.recovery().set_asker(None);
    data.shared.set_healing(None);
    data.comes_back.cancel();
    data.resetter.disable();
    retire(data);
}

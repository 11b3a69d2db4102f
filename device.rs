// SPDX-License-Identifier: GPL-2.0

//! The life of one device: probe, resets, shutdown, and unbinding.
//!
//! `protocol/states.rs` has the table of the states of a device. Only the functions here take steps
//! in it, and recovery, which gives up a device that it cannot reset. Every way out of a reset ends
//! in `Live`, in `Gone`, or in `Waiting` for interrupts ([`interrupts`]):
//!
//! | reset by | who brings the device up | who gives it up if that fails |
//! |---|---|---|
//! | the driver | [`bring_up`] | [`bring_up`], or `recovery/reset.rs` |
//! | suspend | [`bring_up`] | [`bring_up`], or [`ReturnWatchdog`] when tasks run again |
//! | a reset of the PCI function | [`bring_up`] | [`bring_up`], or [`ReturnWatchdog`] after 90 s |
//!
//! The watchdog and recovery behind an "or" act if the virtio core does not call [`bring_up`].
//!
//! A device that waits is reset again by the thread that wanted the reset, or by
//! [`ReturnWatchdog`]. An unbinding gives up a device that is down for one of the last two causes,
//! or that waits. A shutdown waits for a reset by the driver, allows no other, and leaves the
//! device reset.

mod config_space;
mod debug_files;
mod interrupts;
mod probe;

pub use self::probe::probe;

use core::pin::Pin;
use kernel::{
    device,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    },
    time::msecs_to_jiffies, //
};

use self::{
    config_space::refuse,
    debug_files::DebugFiles,
    interrupts::{
        log_creation_failure,
        Vectors, //
    },
};
use crate::{
    events::Events,
    kernel_glue::{
        Stamp,
        Worker, //
    },
    protocol::{
        adjustments::Adjustments,
        limits::Rings,
        settings::Settings,
        states::{
            Answer,
            Cause,
            State, //
        },
    },
    queues::{
        Host,
        RequestQueues,
        SharedState, //
    },
    recovery::{
        Recovery,
        Removal,
        ReturnWatchdog,
        RETRY_INTERVAL_MS, //
    },
    virtio_glue::{
        Device,
        Resetter,
        Virtqueues, //
    },
};

/// How long a suspend or a reset of the function waits for a reset that is under way, in
/// milliseconds.
const RESET_ELSEWHERE_MS: u32 = 60_000;

/// The driver's data of a device. The fields are dropped from top to bottom.
#[pin_data]
pub struct DeviceData {
    #[pin]
    _files: DebugFiles,
    shared: Arc<SharedState>,
    events: Arc<Events>,
    queues: Arc<RequestQueues>,
    recovery: Arc<Recovery>,
    settings: Settings,
    removal: Removal,
    /// The host sends commands, so it is removed before the virtqueues are.
    host: Arc<Host>,
    virtqueues: Arc<Virtqueues>,
    resetter: Arc<Resetter>,
    /// Gives the device up if it does not come back from a suspend or a reset of its function.
    return_watchdog: Arc<Worker<ReturnWatchdog>>,
    /// Held while the device is taken down or brought up, which takes more than one step in the
    /// table.
    #[pin]
    work: Mutex<()>,
    vectors: Pin<KBox<Vectors>>,
}

impl DeviceData {
    /// Returns the state of the device that all its queues share.
    pub fn shared(&self) -> &SharedState {
        &self.shared
    }
}

/// Starts the handling of events, and a scan for logical units.
///
/// Process context.
pub fn scan(data: &DeviceData) {
    if data
        .events
        .start(data.host.clone(), data.recovery.clone())
        .is_err()
    {
        dev_err!(
            data.shared.dev(),
            "no memory to handle events of the device\n"
        );
    }
    // A failure before this could not be handled yet: the device could not be reset.
    data.shared.heal();
    data.host.scan();
}

/// Creates the virtqueues of a device again, after a reset, and adapts to its present limits.
///
/// Fails if these are below what the midlayer was told, and with [`EAGAIN`] if there are no
/// interrupts.
fn rebuild(dev: &Device<device::Bound>, data: &DeviceData) -> Result {
    let mut adjustments = Adjustments::default();
    let now = config_space::read_limits(dev, &data.settings, &mut adjustments)?;
    let limits = data.queues.limits();
    let before = limits.request_queues();
    let count = before.min(now.request_queues());

    data.vectors
        .create_again(dev, &data.virtqueues, count)
        .inspect_err(|error| {
            if *error != EAGAIN {
                log_creation_failure(dev, count, *error);
            }
        })?;
    if count < before {
        dev_warn!(
            dev,
            "the device has come back with {count} request queues, of {before}\n"
        );
    }
    data.queues.set_present(count);

    let layout = config_space::set_layout(dev, &mut adjustments)?;
    let rings = Rings {
        size: data.queues.smallest_ring(count),
        control: data.recovery.control().size(),
        indirect: dev.has_indirect_descriptors(),
    };

    limits
        .still_served(&now, layout, rings)
        .map_err(|refusal| refuse(dev, refusal))?;

    data.virtqueues.start();
    data.host.limit_queue_depth(now.commands_per_lun);
    Ok(())
}

/// Gives up a device that was unplugged without notice, which ends all its commands, and logs it.
fn vanish(dev: &Device<device::Bound>, data: &DeviceData) {
    if data.shared.life().give_up() {
        data.shared.history().add(None, "give_up", "not_there");
        dev_warn!(dev, "the device is not there any more\n");
    }
    data.virtqueues.delete();
}

/// Gives the device up, and leaves it reset and without virtqueues, which ends all its commands.
fn retire(data: &DeviceData) {
    data.shared.life().give_up();
    data.virtqueues.delete();
}

/// Takes the device down before it is reset.
///
/// Process context. If `cause` is not the driver, waits for a reset that is under way. Fails with
/// [`EBUSY`] if that takes too long, and with [`ENODEV`] if the device is gone.
pub fn take_down(dev: &Device<device::Bound>, data: &DeviceData, cause: Cause) -> Result {
    let life = data.shared.life();

    // Not in other states: the registers of a function that is being reset read as those of a
    // device that is gone.
    if matches!(life.state(), State::Live | State::Waiting) && dev.is_gone() {
        // The reset of an unplugged device would poll its status for ever.
        vanish(dev, data);
        return Err(ENODEV);
    }

    let began = Stamp::now();

    loop {
        if cause != Cause::Driver {
            life.settle(RESET_ELSEWHERE_MS.into());
            // The bound of an earlier reset must not end during this one. Cancelled without the
            // lock, because its reset of a device that waits for interrupts takes the lock.
            data.return_watchdog.cancel();
        }

        let _work = data.work.lock();

        match life.take_down(cause) {
            Answer::Go(_) => {
                data.shared.history().add(None, "take_down", cause.name());
                // The midlayer retries the commands that were in flight, and gets them back as busy
                // until the device is live.
                data.virtqueues.delete();
                if let Some(bound) = ReturnWatchdog::bound(cause) {
                    data.return_watchdog.schedule_after(bound);
                }
                return Ok(());
            }
            // The driver has begun a reset since.
            Answer::Wait
                if cause != Cause::Driver
                    && began.elapsed() < msecs_to_jiffies(RESET_ELSEWHERE_MS) => {}
            Answer::Wait => return Err(EBUSY),
            // Nothing is left to quiesce, so this must not stop the system's suspend.
            Answer::Nothing if cause == Cause::Suspend => return Ok(()),
            Answer::Nothing => return Err(ENODEV),
        }
    }
}

/// Brings the device up after a reset.
///
/// Process context. Fails with [`EAGAIN`] if there are no interrupts for it, and with [`ENODEV`] if
/// it was given up.
pub fn bring_up(dev: &Device<device::Bound>, data: &DeviceData) -> Result {
    let _work = data.work.lock();
    let life = data.shared.life();

    let State::Down(cause) = life.state() else {
        // The device was given up meanwhile, or the virtio core did not call `take_down()`.
        return Err(ENODEV);
    };

    let result = rebuild(dev, data).and_then(|()| life.bring_up().then_some(()).ok_or(ENODEV));

    let outcome = match result {
        // After the reset was counted: the handler gives up what it does when it sees another
        // number, for this to begin again.
        Ok(()) => {
            data.events.resume();
            "done"
        }
        Err(error) => {
            let waits = error == EAGAIN && life.lack();

            if !waits && life.give_up() {
                dev_err!(
                    dev,
                    "the device could not be set up again and is given up\n"
                );
            }
            data.virtqueues.delete();
            if waits {
                "lacks_interrupts"
            } else {
                "failed"
            }
        }
    };

    data.shared.history().add(None, "bring_up", outcome);
    match cause {
        // The thread that has reset the device tries again. It may be the watchdog's, which cannot
        // cancel itself.
        Cause::Driver | Cause::Probe => {}
        Cause::Suspend | Cause::Transport if life.state() == State::Waiting => {
            data.return_watchdog
                .schedule_after(msecs_to_jiffies(RETRY_INTERVAL_MS));
        }
        Cause::Suspend | Cause::Transport => data.return_watchdog.cancel(),
    }
    result
}

/// Leaves the device reset and without virtqueues, before the system goes down.
///
/// Process context.
pub fn shutdown(data: &DeviceData) {
    data.shared.life().give_up();
    // Waits for a reset that is under way. A device that was given up stays down after it.
    data.resetter.disable();

    let _work = data.work.lock();

    retire(data);
}

/// Removes the host of the device, and leaves the device reset and without virtqueues.
///
/// Process context.
pub fn unbind(dev: &Device<device::Bound>, data: Pin<&DeviceData>) {
    let data = data.get_ref();
    let life = data.shared.life();

    life.leave();
    if data.virtqueues.are_lost() {
        // So that nothing that the removal sends or waits for takes any time.
        vanish(dev, data);
    }
    // Neither the system nor the transport brings up a device that is being unbound.
    if let State::Down(Cause::Suspend | Cause::Transport) | State::Waiting = life.state() {
        retire(data);
    }

    // From here on, as the handling of an event may wait for the device, too.
    let guard = data.removal.watch();

    data.recovery.request_review();
    data.events.stop();
    data.host.remove();
    drop(guard);
    // Not by the last reference to the state, which may be dropped where it must not sleep.
    let _ = data.shared.latencies().set(false);

    data.recovery.review().clear();
    data.shared.healing().clear();
    data.return_watchdog.cancel();
    data.resetter.disable();
    retire(data);
}

// SPDX-License-Identifier: GPL-2.0

//! A request queue: commands on their way to the device and back.

use super::{
    initiator::Initiator,
    limits::Layout,
    own::OwnCommand,
    shared::Shared,
    wire::{
        Address,
        Protection,
        ResponseHeader, //
    },
};
use crate::{
    scsi_glue::{
        Command,
        CommandList,
        CommandRef,
        DataDirection,
        HostStatus,
        Sense, //
    },
    virtio_glue::{
        new_locked,
        AddError,
        Chain,
        Either,
        Handler,
        Locked,
        Rest,
        Virtqueue, //
    },
};
use kernel::{
    prelude::*,
    sync::{
        rcu,
        Arc, //
    },
};

/// INVALID COMMAND OPERATION CODE, with the sense key ILLEGAL REQUEST (SPC).
const SENSE_CANNOT_SEND: Sense = Sense {
    key: 0x05,
    asc: 0x20,
    ascq: 0x00,
};

/// How often the interrupt handler takes what is on the ring before it leaves the rest to softirq context.
const ROUNDS: usize = 2;

/// A request queue.
#[pin_data]
pub struct RequestQueue {
    shared: Arc<Shared>,
    polled: bool,
    #[pin]
    ring: Locked<Virtqueue<Sent>>,
}

/// What is on the ring: a command of the midlayer, or one that the driver has sent by itself.
type Sent = Either<Command<Initiator>, Arc<OwnCommand>>;

impl RequestQueue {
    /// Makes a request queue that has no ring yet.
    pub fn new(shared: Arc<Shared>, polled: bool) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                shared,
                polled,
                ring <- new_locked!(Virtqueue::default(), c"RequestQueue::ring"),
            }),
            GFP_KERNEL,
        )
    }

    /// Returns what all queues of the device have in common.
    #[inline]
    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Returns how many descriptors its ring has.
    pub fn size(&self) -> u32 {
        self.ring.lock().size()
    }

    /// Sends a command to the device.
    ///
    /// Any context. `layout` is what the device takes commands to look like, `segments` how many
    /// segments the data of a command can have. A command that cannot be put on the ring is given back.
    #[inline]
    pub(super) fn send(
        &self,
        mut command: Command<Initiator>,
        layout: Layout,
        segments: u16,
    ) -> Result<(), (Command<Initiator>, AddError)> {
        // The midlayer does not make any of these; should it, that is no reason to stop the kernel.
        if command.cdb().len() > layout.cdb_size.into()
            || command.segments() > segments.into()
            || command.direction() == DataDirection::Bidirectional
        {
            self.instead_of_sending(command, |command| {
                command.complete_with_sense(SENSE_CANNOT_SEND)
            });
            return Ok(());
        }

        if command.is_condemned() {
            self.instead_of_sending(command, |command| {
                command.complete(HostStatus::NoConnect, 0)
            });
            return Ok(());
        }

        let about = command.as_ref();
        let unique_tag = about.unique_tag();
        let lun = u8::try_from(about.target()).ok().and_then(|target| {
            let lun = about.lun();

            Address { target, lun }.encode()
        });
        let Some(lun) = lun else {
            self.instead_of_sending(command, |command| {
                command.complete(HostStatus::BadTarget, 0)
            });
            return Ok(());
        };

        let tag = about.private().next_tag(unique_tag);

        let protection = layout.protection.then(|| Self::protection(&command));

        command
            .prepare(|request, cdb| request.fill(self.shared.order(), lun, tag, protection, cdb));
        command.response_mut().preset(ResponseHeader::PRESET);

        let is_last = command.is_last();
        let rcu = rcu::read_lock();
        let mut ring = self.ring.lock();

        command.as_ref().private().set_on_ring(true);
        match ring.add(Either::First(command), |sent, chain| {
            if let Either::First(command) = sent {
                Self::describe(command, layout, chain);
            }
        }) {
            Ok(()) => {
                if is_last {
                    let notify = ring.prepare_notify(&rcu);

                    drop(ring);
                    notify.send();
                }
                Ok(())
            }
            Err((Either::First(command), error)) => {
                command.as_ref().private().set_on_ring(false);
                Err((command, error))
            }
            // It is what was to be added.
            Err((Either::Second(_), _)) => Ok(()),
        }
    }

    /// Sends a command of the driver's own to the device. Any context.
    pub(super) fn send_own(
        &self,
        command: Arc<OwnCommand>,
        layout: Layout,
    ) -> Result<(), AddError> {
        let rcu = rcu::read_lock();
        let mut ring = self.ring.lock();

        ring.add(Either::Second(command), |sent, chain| {
            if let Either::Second(command) = sent {
                command.describe(layout, chain);
            }
        })
        .map_err(|(_, error)| error)?;

        let notify = ring.prepare_notify(&rcu);

        drop(ring);
        notify.send();
        Ok(())
    }

    /// Completes a command without sending it. If it is the last of a batch, the device is notified of those
    /// before it, as nobody else does it.
    #[cold]
    pub(super) fn instead_of_sending(
        &self,
        command: Command<Initiator>,
        complete: impl FnOnce(Command<Initiator>),
    ) {
        let is_last = command.is_last();

        complete(command);
        if is_last {
            self.commit();
        }
    }

    /// Returns how much protection information goes with a command, which way.
    fn protection(command: &Command<Initiator>) -> Protection {
        let bytes = command.protection_len();

        match command.direction() {
            DataDirection::ToDevice => Protection {
                bytes_out: bytes,
                bytes_in: 0,
            },
            DataDirection::FromDevice => Protection {
                bytes_out: 0,
                bytes_in: bytes,
            },
            DataDirection::None | DataDirection::Bidirectional => Protection::default(),
        }
    }

    /// Puts the memory of a command in a chain: header and data out, response and data in, with
    /// protection information before the data that it protects.
    #[inline]
    fn describe<'a>(command: &'a Command<Initiator>, layout: Layout, chain: &mut Chain<'a>) {
        let direction = command.direction();

        let request = command.request();

        chain.readable(request.bytes(layout.protection, layout.cdb_size.into()));
        if direction == DataDirection::ToDevice {
            if let Some(protection) = command.protection() {
                chain.readable_segments(protection);
            }
            if let Some(data) = command.data() {
                chain.readable_segments(data);
            }
        }

        chain.writable(
            command.response(),
            ResponseHeader::SIZE + usize::from(layout.sense_size),
        );
        if direction == DataDirection::FromDevice {
            if let Some(protection) = command.protection() {
                chain.writable_segments(protection);
            }
            if let Some(data) = command.data() {
                chain.writable_segments(data);
            }
        }
    }

    /// Notifies the device of what was sent.
    pub(super) fn commit(&self) {
        let rcu = rcu::read_lock();
        let mut ring = self.ring.lock();
        let notify = ring.prepare_notify(&rcu);

        drop(ring);
        notify.send();
    }

    /// Completes all commands that the device has finished, and returns how many.
    ///
    /// Any context. The interrupt stays as it is.
    pub(super) fn poll(&self) -> u32 {
        // See `holds`.
        let _rcu = rcu::read_lock();
        let mut finished = CommandList::default();
        let mut ring = self.ring.lock();
        let count = Self::take_all(&mut ring, &mut finished);

        drop(ring);
        self.finish_all(finished);
        count
    }

    /// Takes all commands that the device has finished off the ring, and returns how many.
    #[inline]
    fn take_all(ring: &mut Virtqueue<Sent>, finished: &mut CommandList<Initiator>) -> u32 {
        let mut count = 0;

        // The length is the device's word, and some devices always say 0.
        while let Some((sent, _len)) = ring.take_used() {
            match sent {
                Either::First(command) => {
                    command.as_ref().private().set_on_ring(false);
                    finished.push(command);
                    count += 1;
                }
                Either::Second(command) => command.end(true),
            }
        }
        count
    }

    /// Returns whether the device has a command of this queue, and may transfer its data.
    ///
    /// A command that it does not have may just be on its way to the midlayer. Whoever wants to be
    /// sure that it got there has to wait for an RCU grace period.
    pub(super) fn holds(&self, command: &CommandRef<'_, Initiator>) -> bool {
        let _ring = self.ring.lock();

        command.private().is_on_ring()
    }

    /// Notifies the device whether or not it has asked for it: it may have missed one.
    pub(super) fn notify_again(&self) {
        let rcu = rcu::read_lock();
        let notify = self.ring.lock().notify_again(&rcu);

        notify.send();
    }

    /// Returns how many commands the device has, and how many it has ever finished.
    pub(super) fn progress(&self) -> (u64, u64) {
        let ring = self.ring.lock();

        (ring.in_flight(), ring.taken())
    }

    /// Completes commands, in the order in which the device has finished them.
    fn finish_all(&self, mut finished: CommandList<Initiator>) {
        while let Some(command) = finished.pop() {
            self.finish(command);
        }
    }
}

impl Handler for RequestQueue {
    type Token = Sent;

    fn virtqueue(&self) -> &Locked<Virtqueue<Self::Token>> {
        &self.ring
    }

    fn name(&self) -> &'static CStr {
        if self.polled {
            c"request_poll"
        } else {
            c"request"
        }
    }

    fn has_interrupt(&self) -> bool {
        !self.polled
    }

    fn used(&self) -> Rest {
        // See `holds`.
        let _rcu = rcu::read_lock();

        for round in 1..=ROUNDS {
            let mut finished = CommandList::default();
            let mut ring = self.ring.lock();

            ring.disable_interrupts();
            Self::take_all(&mut ring, &mut finished);
            // Other CPUs send more as soon as the lock is free, and the device may be as quick. So after the
            // last round no interrupt is asked for until softirq context has been here.
            let settled = round < ROUNDS && ring.enable_interrupts();
            let broken = ring.is_broken();

            drop(ring);
            self.finish_all(finished);
            if broken {
                self.shared.heal();
                return Rest::None;
            }

            if settled {
                return Rest::None;
            }
        }
        self.shared.counters().continued.count();
        Rest::More
    }

    fn unused(&self, sent: Self::Token) {
        let mut command = match sent {
            Either::First(command) => command,
            Either::Second(command) => return command.end(false),
        };
        let status = if self.shared.life().is_gone() {
            HostStatus::NoConnect
        } else {
            // However long the device has had it, that was no attempt that has failed.
            command.renew();
            HostStatus::Reset
        };
        let _rcu = rcu::read_lock();

        command.as_ref().private().set_on_ring(false);
        command.complete(status, 0);
    }
}

// SPDX-License-Identifier: GPL-2.0

//! The way of one of the driver's own commands, until it is answered or given up.

use super::{
    own_command::{
        Answer,
        ExecuteResult,
        Job,
        Next,
        OwnCommand, //
    },
    request_queues::RequestQueues,
    sender::Sender, //
};
use crate::{
    kernel_glue::Stamp,
    protocol::{
        address::Address,
        command::{
            padded_cdb,
            CommandRequest,
            Protection, //
        },
    },
    virtio_glue::AddError, //
};
use core::mem::replace;
use kernel::{
    prelude::*,
    sync::Arc,
    time::{
        msecs_to_jiffies,
        Jiffies, //
    },
};

/// How long to wait before a command is sent again to a busy target, in milliseconds.
const BUSY_DELAY_MS: u32 = 50;

/// How long to wait before a command is sent again that the ring had no room for, in milliseconds.
const FULL_DELAY_MS: u32 = 20;

/// How many times a command is sent again after a unit attention, an abort or a reset. A unit
/// reports each of its attentions once.
const RESENDS: usize = 8;

/// Hardware queue and tag in the tags of these commands. No command of the midlayer has them, as
/// there are not as many hardware queues.
const UNIQUE_TAG: u64 = u32::MAX as u64;

/// A command that the device has.
struct Sent {
    command: Arc<OwnCommand>,
    tag: u64,
    /// When it was sent, or the device was notified again.
    since: Stamp,
    /// How long it is waited for from `since` on.
    patience: Jiffies,
    /// Whether the device was notified again.
    renotified: bool,
}

impl Sent {
    /// Returns how long it is waited for before something is done about it, in jiffies. An
    /// unbinding does not wait for answers.
    fn rest(&self, queues: &RequestQueues) -> Jiffies {
        if queues.shared().life().is_leaving() {
            return 0;
        }
        self.patience.saturating_sub(self.since.elapsed())
    }

    /// Polls the queue, for a lost interrupt, and returns whether the device has used it.
    fn is_back(&self, queues: &RequestQueues) -> bool {
        queues.poll_first();
        self.command.has_ended()
    }

    /// Notifies the device again, for a lost notification.
    fn renotify(self, queues: &RequestQueues) -> Self {
        if let Some(queue) = queues.first() {
            queue.notify_again();
        }
        Self {
            since: Stamp::now(),
            renotified: true,
            ..self
        }
    }
}

/// Where a command is.
enum State {
    /// It is to be sent.
    Ready,
    /// It is to be sent after a delay, in jiffies. If no time is left for that, `result` is the
    /// result.
    Paused {
        since: Stamp,
        delay: Jiffies,
        result: ExecuteResult,
    },
    /// The device has it.
    Sent(Sent),
}

impl State {
    /// Makes a pause of `delay_ms` milliseconds.
    fn pause(delay_ms: u32, result: ExecuteResult) -> Self {
        Self::Paused {
            since: Stamp::now(),
            delay: msecs_to_jiffies(delay_ms),
            result,
        }
    }
}

/// What has become of a command.
pub(super) enum Step<'a> {
    /// It is to be looked at again when a command has ended, or after this many jiffies.
    Wait(Flight<'a>, Jiffies),
    /// It is over.
    Ended(Job<'a>, Answer),
}

impl<'a> Step<'a> {
    /// Ends a command without data.
    pub(super) fn ended(job: Job<'a>, result: ExecuteResult) -> Self {
        Self::Ended(job, Answer::without_data(result))
    }
}

/// A command of the driver's own that is to be answered.
pub(super) struct Flight<'a> {
    job: Job<'a>,
    timeout: Jiffies,
    began: Stamp,
    resends: usize,
    state: State,
}

impl<'a> Flight<'a> {
    /// Sends the command of `job`, which is waited for up to `timeout` jiffies, unless too much
    /// that was sent before was not answered. See [`Self::step`].
    pub(super) fn start(
        job: Job<'a>,
        timeout: Jiffies,
        sender: &mut Sender<'_, impl FnMut(Address, u64)>,
    ) -> Step<'a> {
        if sender.queues().unanswered().blocks(job.address) {
            return Step::ended(job, ExecuteResult::Unanswered);
        }

        let flight = Self {
            job,
            timeout,
            began: Stamp::now(),
            resends: 0,
            state: State::Ready,
        };

        flight.step(sender)
    }

    /// Goes on as far as that is possible now.
    ///
    /// Process context. Sleeps in [`Sender::abandon`] only.
    pub(super) fn step(mut self, sender: &mut Sender<'_, impl FnMut(Address, u64)>) -> Step<'a> {
        let queues = sender.queues();

        loop {
            self.state = match replace(&mut self.state, State::Ready) {
                State::Ready => match self.send(sender) {
                    Ok(state) => state,
                    Err(_) => return Step::ended(self.job, ExecuteResult::NotSent),
                },
                State::Paused { result, .. } if self.is_over(queues) => {
                    return Step::ended(self.job, result);
                }
                State::Paused {
                    since,
                    delay,
                    result,
                } => match delay.saturating_sub(since.elapsed()) {
                    0 => State::Ready,
                    rest => {
                        self.state = State::Paused {
                            since,
                            delay,
                            result,
                        };
                        return Step::Wait(self, rest);
                    }
                },
                State::Sent(sent) if sent.command.has_ended() => {
                    match sent.command.next(queues.shared().order()) {
                        Next::Return(result) => {
                            return Step::Ended(self.job, Answer::new(result, sent.command));
                        }
                        Next::Resend if self.resends < RESENDS && !self.is_over(queues) => {
                            self.resends += 1;
                            State::Ready
                        }
                        Next::Resend => return Step::ended(self.job, ExecuteResult::Failed),
                        Next::ResendLater => State::pause(BUSY_DELAY_MS, ExecuteResult::Failed),
                    }
                }
                State::Sent(sent) => match sent.rest(queues) {
                    // An interrupt may be lost.
                    0 if sent.is_back(queues) => State::Sent(sent),
                    0 if !sent.renotified => State::Sent(sent.renotify(queues)),
                    0 => return self.give_up(sent, sender),
                    rest => {
                        self.state = State::Sent(sent);
                        return Step::Wait(self, rest);
                    }
                },
            };
        }
    }

    /// Returns whether it is not sent again.
    fn is_over(&self, queues: &RequestQueues) -> bool {
        self.began.elapsed() >= self.timeout || queues.shared().life().is_leaving()
    }

    /// Sends it. Fails if no later try would succeed.
    fn send(&self, sender: &mut Sender<'_, impl FnMut(Address, u64)>) -> Result<State> {
        if sender.is_full() {
            return Ok(State::pause(FULL_DELAY_MS, ExecuteResult::NotSent));
        }

        let queues = sender.queues();
        let shared = queues.shared();
        let layout = queues.limits().layout;
        let lun = self.job.address.encode().ok_or(EINVAL)?;
        let tag = queues.next_own_number() << 32 | UNIQUE_TAG;
        let protection = layout.protection.then(Protection::default);
        let mut request = CommandRequest::default();

        request.fill(
            shared.order(),
            lun,
            tag,
            protection,
            &padded_cdb(self.job.cdb),
        );

        let command = OwnCommand::new(request, self.job.len, sender.done())?;

        match sender.add(command.clone()) {
            Ok(()) => {
                let rest = self.timeout.saturating_sub(self.began.elapsed());

                shared.counters().own_commands.count();
                Ok(State::Sent(Sent {
                    command,
                    tag,
                    since: Stamp::now(),
                    patience: (rest / 2).max(msecs_to_jiffies(1)),
                    renotified: false,
                }))
            }
            Err(AddError::Full | AddError::NoMemory) => {
                Ok(State::pause(FULL_DELAY_MS, ExecuteResult::NotSent))
            }
            Err(AddError::Gone) => Ok(State::pause(BUSY_DELAY_MS, ExecuteResult::NotSent)),
            Err(AddError::Invalid) => Err(EINVAL),
            Err(AddError::Broken) => {
                shared.heal();
                Ok(State::pause(BUSY_DELAY_MS, ExecuteResult::NotSent))
            }
        }
    }

    /// Gives up a command that was not answered. The device may keep it.
    fn give_up(&self, sent: Sent, sender: &mut Sender<'_, impl FnMut(Address, u64)>) -> Step<'a> {
        let Job { address, .. } = self.job;
        let queues = sender.queues();

        queues.shared().counters().own_commands_unanswered.count();
        sender.abandon(address, sent.tag);
        if !sent.is_back(queues) {
            queues.unanswered().add(address, sent.command);
        }
        Step::ended(self.job, ExecuteResult::Unanswered)
    }
}

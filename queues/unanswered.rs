// SPDX-License-Identifier: GPL-2.0

//! The driver's own commands that the device has not answered in time, and still has.

use super::own_command::OwnCommand;
use crate::{
    kernel_glue::{
        new_locked,
        Locked,
        Stamp, //
    },
    protocol::address::Address, //
};
use kernel::{
    prelude::*,
    sync::Arc,
    time::msecs_to_jiffies, //
};

/// The most commands on the list. The driver sends no more commands of its own then.
pub(super) const UNANSWERED_MAX: usize = 32;

/// The most commands for one address.
const UNANSWERED_PER_ADDRESS: usize = 2;

/// After how many milliseconds another command is sent to an address that has not answered one.
const RESEND_DELAY_MS: u32 = 30_000;

/// A command that was not answered.
struct Unanswered {
    address: Address,
    command: Arc<OwnCommand>,
    /// When that was noted.
    since: Stamp,
}

/// The driver's own commands that the device has not answered in time.
#[pin_data]
pub(super) struct UnansweredCommands {
    #[pin]
    commands: Locked<[Option<Unanswered>; UNANSWERED_MAX]>,
}

impl UnansweredCommands {
    /// Makes an empty list.
    pub(super) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            commands <- new_locked!(
                [const { None }; UNANSWERED_MAX],
                c"UnansweredCommands::commands"
            ),
        })
    }

    /// Returns how many of the commands the device still has.
    pub(super) fn count(&self) -> usize {
        let mut commands = self.commands.lock();

        for place in commands.iter_mut() {
            place.take_if(|one| one.command.has_ended());
        }
        commands.iter().flatten().count()
    }

    /// Returns whether no command is to be sent to an address: a recent one was not answered, or
    /// too many were not.
    pub(super) fn blocks(&self, address: Address) -> bool {
        let commands = self.commands.lock();
        let mut count = 0;

        for one in commands.iter().flatten() {
            if one.address != address || one.command.has_ended() {
                continue;
            }
            if one.since.elapsed() < msecs_to_jiffies(RESEND_DELAY_MS) {
                return true;
            }
            count += 1;
        }
        count >= UNANSWERED_PER_ADDRESS
    }

    /// Adds a command.
    pub(super) fn add(&self, address: Address, command: Arc<OwnCommand>) {
        let mut commands = self.commands.lock();

        // Without a free place, because of other threads, the device has a command that is not
        // listed.
        if let Some(place) = commands.iter_mut().find(|place| place.is_none()) {
            *place = Some(Unanswered {
                address,
                command,
                since: Stamp::now(),
            });
        }
    }
}

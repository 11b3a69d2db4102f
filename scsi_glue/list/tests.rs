// SPDX-License-Identifier: GPL-2.0

//! KUnit tests of the list of commands. The tests make the C commands, instead of the midlayer.

use super::*;
use crate::scsi_glue::{
    HostStatus,
    Lengths, //
};
use core::mem::MaybeUninit;
use kernel::{
    ffi::c_int,
    prelude::*, //
};

/// The data of commands of no host.
struct Hostless;

impl CommandData for Hostless {
    type Request = ();
    type Response = ();
    type Private = ();
    type Device = ();
}

/// The result of a command that was not completed. No completion leaves it.
const OPEN: c_int = -1;

/// The result of a command that was dropped.
const DROPPED: c_int = (bindings::scsi_host_status_DID_ERROR << 16) as c_int;

/// A command and its private area, as the midlayer sets them aside.
#[repr(C)]
struct Memory {
    cmd: bindings::scsi_cmnd,
    pdu: Pdu<Hostless>,
}

/// Commands, numbered from 0. The number is their CDB.
struct Commands(KVec<MaybeUninit<Memory>>);

impl Commands {
    fn new(count: u8) -> Result<Self> {
        let mut commands = Self(KVec::with_capacity(count.into(), GFP_KERNEL)?);

        for number in 0..count {
            let _ = commands.0.push_within_capacity(MaybeUninit::zeroed());
            let cmd = commands.at(number);

            // SAFETY: `cmd` is a zeroed command, followed by an area that was not initialised. The
            // vector has room for all of them, from `kmalloc()`, so they stay in place.
            unsafe { Pdu::<Hostless>::init(cmd, Lengths::ALL) };

            // A command of SG_SCSI_RESET has no request, and `scsi_done()` touches none.
            //
            // SAFETY: `cmd` is in the vector, which is borrowed exclusively.
            unsafe {
                (*cmd.as_ptr()).submitter =
                    bindings::scsi_cmnd_submitter_SUBMITTED_BY_SCSI_RESET_IOCTL;
                (*cmd.as_ptr()).result = OPEN;
                (*cmd.as_ptr()).cmnd[0] = number;
                (*cmd.as_ptr()).cmd_len = 1;
            }
        }
        Ok(commands)
    }

    /// Returns the C command of a number, which is less than the count.
    fn at(&mut self, number: u8) -> NonNull<bindings::scsi_cmnd> {
        let commands = self.0.as_mut_ptr();

        // SAFETY: There is a command of that number, so the address is in bounds and not null.
        unsafe { NonNull::new_unchecked(commands.add(number.into())) }.cast()
    }

    /// Returns an owned command, of which the test must not have another.
    fn owned(&mut self, number: u8) -> OwnedCmnd<Hostless> {
        let cmd = self.at(number);

        // SAFETY: `cmd` and its area are initialised, they stay where they are until the test is
        // over, and by the rule above there is no other `OwnedCmnd` of it. It has no request, which
        // nothing that a list does asks for.
        unsafe { OwnedCmnd::from_ptr(cmd) }
    }

    /// Returns the result of a command.
    fn result(&mut self, number: u8) -> c_int {
        // SAFETY: `cmd` is initialised.
        unsafe { (*self.at(number).as_ptr()).result }
    }
}

/// Takes the command at the start, without completing it, and returns its number.
fn pop(list: &mut CmndList<Hostless>) -> Option<u8> {
    let command = list.pop()?;
    let number = command.cdb().first().copied();

    command.into_ptr();
    Some(number.unwrap_or(u8::MAX))
}

#[kunit_tests(virtio_scsi_rs_cmnd_list)]
mod cmnd_list {
    use super::*;

    #[test]
    fn new_list_is_empty() {
        let mut list = CmndList::default();

        assert!(pop(&mut list).is_none());
        assert!(pop(&mut list).is_none());
    }

    #[test]
    fn commands_are_popped_in_the_order_in_which_they_were_pushed() -> Result {
        let mut commands = Commands::new(4)?;
        let mut list = CmndList::default();

        for number in [2, 0, 3, 1] {
            list.push(commands.owned(number));
        }
        for number in [2, 0, 3, 1] {
            assert_eq!(pop(&mut list), Some(number));
        }
        assert!(pop(&mut list).is_none());
        Ok(())
    }

    #[test]
    fn command_is_pushed_behind_those_that_are_left() -> Result {
        let mut commands = Commands::new(4)?;
        let mut list = CmndList::default();

        list.push(commands.owned(0));
        list.push(commands.owned(1));
        assert_eq!(pop(&mut list), Some(0));
        list.push(commands.owned(2));
        assert_eq!(pop(&mut list), Some(1));
        list.push(commands.owned(3));
        assert_eq!(pop(&mut list), Some(2));
        assert_eq!(pop(&mut list), Some(3));
        assert!(pop(&mut list).is_none());
        Ok(())
    }

    #[test]
    fn list_that_was_emptied_takes_commands_again() -> Result {
        let mut commands = Commands::new(2)?;
        let mut list = CmndList::default();

        for _ in 0..3 {
            list.push(commands.owned(0));
            assert_eq!(pop(&mut list), Some(0));
            assert!(pop(&mut list).is_none());
            list.push(commands.owned(1));
            assert_eq!(pop(&mut list), Some(1));
            assert!(pop(&mut list).is_none());
        }
        Ok(())
    }

    #[test]
    fn command_that_was_popped_brings_no_other_to_the_next_list() -> Result {
        let mut commands = Commands::new(2)?;
        let mut list = CmndList::default();
        let mut next = CmndList::default();

        list.push(commands.owned(0));
        list.push(commands.owned(1));
        assert_eq!(pop(&mut list), Some(0));
        next.push(commands.owned(0));
        assert_eq!(pop(&mut next), Some(0));
        assert!(pop(&mut next).is_none());
        assert_eq!(pop(&mut list), Some(1));
        Ok(())
    }

    #[test]
    fn commands_on_a_list_are_not_completed() -> Result {
        let mut commands = Commands::new(2)?;
        let mut list = CmndList::default();

        list.push(commands.owned(0));
        list.push(commands.owned(1));
        assert_eq!(pop(&mut list), Some(0));
        assert_eq!(commands.result(0), OPEN);
        assert_eq!(commands.result(1), OPEN);
        Ok(())
    }

    #[test]
    fn commands_on_a_list_that_is_dropped_end_with_an_error() -> Result {
        let mut commands = Commands::new(3)?;
        let mut list = CmndList::default();

        for number in 0..3 {
            list.push(commands.owned(number));
        }
        assert_eq!(pop(&mut list), Some(0));
        drop(list);
        assert_eq!(commands.result(0), OPEN);
        assert_eq!(commands.result(1), DROPPED);
        assert_eq!(commands.result(2), DROPPED);
        Ok(())
    }

    #[test]
    fn popped_command_is_completed_by_whoever_has_it() -> Result {
        let mut commands = Commands::new(1)?;
        let mut list = CmndList::default();

        list.push(commands.owned(0));
        if let Some(command) = list.pop() {
            command.complete(HostStatus::Ok, 2);
        }
        drop(list);
        assert_eq!(commands.result(0), 2);
        Ok(())
    }
}

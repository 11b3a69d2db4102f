// SPDX-License-Identifier: GPL-2.0

//! A list of commands on their way to completion.

use super::{
    bindings,
    command::{
        Area,
        Command, //
    },
    driver::Driver,
};
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};

/// A first-in, first-out list of owned commands, linked through their private areas.
///
/// It lets a driver take all finished commands off its ring under the ring's lock, and complete
/// them after it is dropped, without memory for more than two pointers. Commands that are on it
/// when it is dropped are dropped.
///
/// # Invariants
///
/// `head` to `tail` are linked by `Area::next`; `tail` is there if `head` is, and its `next` is not
/// there. The list owns each of them as a [`Command`] does.
pub struct CommandList<T: Driver> {
    head: Option<NonNull<bindings::scsi_cmnd>>,
    tail: Option<NonNull<bindings::scsi_cmnd>>,
    _driver: PhantomData<fn() -> T>,
}

impl<T: Driver> Default for CommandList<T> {
    /// Makes an empty list.
    #[inline]
    fn default() -> Self {
        // INVARIANT: Nothing is linked.
        Self {
            head: None,
            tail: None,
            _driver: PhantomData,
        }
    }
}

impl<T: Driver> CommandList<T> {
    /// Adds a command at the end.
    #[inline]
    pub fn push(&mut self, command: Command<T>) {
        let cmd = command.into_ptr();

        // INVARIANT: `cmd` becomes the tail, linked to the former one, and has no next. The list
        // takes over its ownership.
        //
        // SAFETY: The list owns `cmd` and `tail`, so both areas are valid and nobody else uses
        // `next`.
        unsafe {
            Area::<T>::of(cmd).as_ref().next.set(None);
            match self.tail {
                Some(tail) => Area::<T>::of(tail).as_ref().next.set(Some(cmd)),
                None => self.head = Some(cmd),
            }
        }
        self.tail = Some(cmd);
    }

    /// Takes the command at the start.
    #[inline]
    pub fn pop(&mut self) -> Option<Command<T>> {
        let cmd = self.head?;

        // INVARIANT: The head is what was linked to it; without a head there is no tail.
        //
        // SAFETY: By the type invariant the list owns `cmd`, so its area is valid.
        self.head = unsafe { Area::<T>::of(cmd).as_ref().next.take() };
        if self.head.is_none() {
            self.tail = None;
        }

        // SAFETY: By the type invariant the list owned `cmd` as a `Command` does.
        Some(unsafe { Command::from_ptr(cmd) })
    }
}

impl<T: Driver> Drop for CommandList<T> {
    fn drop(&mut self) {
        while self.pop().is_some() {}
    }
}

// SPDX-License-Identifier: GPL-2.0

//! A list of commands on their way to completion.
//!
//! The kernel crate's `List` links objects that are reference-counted. Commands are not.

use super::{
    bindings,
    owned_cmnd::OwnedCmnd,
    pdu::{
        CommandData,
        Pdu, //
    },
};
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};

/// A first-in, first-out list of owned commands, linked through their private areas.
///
/// With it a driver can take all finished commands off its ring under the ring's lock, and complete
/// them after it has dropped the lock, without further memory. Commands that are on the list when
/// it is dropped are dropped.
///
/// # Invariants
///
/// `head` to `tail` are linked by `Pdu::next`, and that of `tail` may be anything. `tail` is `None`
/// if and only if `head` is. The list owns each of the commands as an [`OwnedCmnd`] does.
pub struct CmndList<D: CommandData> {
    head: Option<NonNull<bindings::scsi_cmnd>>,
    tail: Option<NonNull<bindings::scsi_cmnd>>,
    _data: PhantomData<fn() -> D>,
}

impl<D: CommandData> Default for CmndList<D> {
    /// Makes an empty list.
    #[inline]
    fn default() -> Self {
        // INVARIANT: Nothing is linked.
        Self {
            head: None,
            tail: None,
            _data: PhantomData,
        }
    }
}

impl<D: CommandData> CmndList<D> {
    /// Adds a command at the end.
    #[inline]
    pub fn push(&mut self, cmnd: OwnedCmnd<D>) {
        let cmd = cmnd.into_ptr();

        // INVARIANT: `cmd` becomes the tail, linked to the former one. The list takes over its
        // ownership.
        match self.tail {
            // SAFETY: The list owns `tail`, so its area is valid, and no other thread uses `next`.
            Some(tail) => unsafe { Pdu::<D>::of(tail).as_ref() }.next.set(Some(cmd)),
            None => self.head = Some(cmd),
        }
        self.tail = Some(cmd);
    }

    /// Takes the command at the start.
    #[inline]
    pub fn pop(&mut self) -> Option<OwnedCmnd<D>> {
        let cmd = self.head?;

        // INVARIANT: The command that was linked to the head becomes the head, unless the head was
        // the tail.
        if self.tail == Some(cmd) {
            self.head = None;
            self.tail = None;
        } else {
            // SAFETY: By the type invariant the list owns `cmd`, so its area is valid.
            self.head = unsafe { Pdu::<D>::of(cmd).as_ref() }.next.get();
        }

        // SAFETY: By the type invariant the list owned `cmd` as an `OwnedCmnd` does.
        Some(unsafe { OwnedCmnd::from_ptr(cmd) })
    }
}

impl<D: CommandData> Drop for CmndList<D> {
    fn drop(&mut self) {
        while self.pop().is_some() {}
    }
}

#[cfg(CONFIG_KUNIT = "y")]
mod tests;

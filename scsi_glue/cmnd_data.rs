// SPDX-License-Identifier: GPL-2.0

//! The data of a command that the driver owns, and the protection information of the data.
//!
//! C headers: [`include/scsi/scsi_cmnd.h`](srctree/include/scsi/scsi_cmnd.h),
//! [`include/linux/scatterlist.h`](srctree/include/linux/scatterlist.h)

use super::{
    bindings,
    owned_cmnd::OwnedCmnd,
    pdu::CommandData, //
};
use crate::kernel_glue::{
    Segments,
    WritableSegments, //
};
use core::ptr::NonNull;
use kernel::dma;

/// Which way the data of a command goes: `enum dma_data_direction`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DataDirection {
    /// There is no data.
    None,
    /// From the initiator to the target.
    ToDevice,
    /// From the target to the initiator.
    FromDevice,
    /// Both. The midlayer no longer makes such commands.
    Bidirectional,
}

impl<D: CommandData> OwnedCmnd<D> {
    /// Returns which way its data goes.
    #[inline]
    pub fn direction(&self) -> DataDirection {
        // SAFETY: By the type invariant the command is valid.
        let direction = unsafe { (*self.as_raw()).sc_data_direction };

        // Comparing with what the kernel crate has, because 7.2 has integers here and 7.3 a type.
        if direction == dma::DataDirection::None.into() {
            DataDirection::None
        } else if direction == dma::DataDirection::ToDevice.into() {
            DataDirection::ToDevice
        } else if direction == dma::DataDirection::FromDevice.into() {
            DataDirection::FromDevice
        } else {
            DataDirection::Bidirectional
        }
    }

    /// Returns the scatterlist of its data, if it has any: `scsi_sglist()`. The midlayer terminates
    /// the list, and keeps it and the data until the command is completed.
    #[inline]
    fn sglist(&self) -> Option<NonNull<kernel::bindings::scatterlist>> {
        // SAFETY: By the type invariant the command is valid.
        let sgl = unsafe { (*self.as_raw()).sdb.table.sgl };

        NonNull::new(sgl).filter(|_| self.segments() != 0)
    }

    /// Returns the scatterlist of what goes from the initiator to the target, if anything does.
    #[inline]
    pub fn data_out(&self) -> Option<Segments<'_>> {
        let list = self
            .sglist()
            .filter(|_| self.direction() == DataDirection::ToDevice)?;

        // SAFETY: The list is terminated, and stays while `self` is borrowed: see `sglist`.
        Some(unsafe { Segments::from_raw(list) })
    }

    /// Returns the scatterlist of the places for what goes from the target to the initiator, if
    /// anything does.
    #[inline]
    pub fn data_in(&self) -> Option<WritableSegments<'_>> {
        let list = self
            .sglist()
            .filter(|_| self.direction() == DataDirection::FromDevice)?;

        // SAFETY: As in `data_out`. The memory is there to be written until the command is
        // completed, and nothing lends out a reference to it.
        Some(unsafe { WritableSegments::from_raw(list) })
    }

    /// Returns the scatterlist of the protection information of [`OwnedCmnd::data_out`], if there
    /// is any.
    pub fn protection_out(&self) -> Option<Segments<'_>> {
        let list = self
            .prot_sglist()
            .filter(|_| self.direction() == DataDirection::ToDevice)?;

        // SAFETY: As in `data_out`: see `prot_sglist`.
        Some(unsafe { Segments::from_raw(list) })
    }

    /// Returns the scatterlist of the places for the protection information of
    /// [`OwnedCmnd::data_in`], if there is any.
    pub fn protection_in(&self) -> Option<WritableSegments<'_>> {
        let list = self
            .prot_sglist()
            .filter(|_| self.direction() == DataDirection::FromDevice)?;

        // SAFETY: As in `data_in`.
        Some(unsafe { WritableSegments::from_raw(list) })
    }

    /// Returns how many segments its data has: `scsi_sg_count()`.
    #[inline]
    pub fn segments(&self) -> u32 {
        // SAFETY: By the type invariant the command is valid.
        unsafe { (*self.as_raw()).sdb.table.nents }
    }

    /// Returns the length of its data, in bytes: `scsi_bufflen()`.
    #[inline]
    pub fn data_len(&self) -> u32 {
        // SAFETY: By the type invariant the command is valid.
        unsafe { (*self.as_raw()).sdb.length }
    }

    /// Returns the scatterlist of its protection information, if it has any: `scsi_prot_sglist()`.
    /// What [`OwnedCmnd::sglist`] says of the data holds for it, too.
    #[inline]
    fn prot_sglist(&self) -> Option<NonNull<kernel::bindings::scatterlist>> {
        // SAFETY: By the type invariant the command is valid.
        let prot_sdb = NonNull::new(unsafe { (*self.as_raw()).prot_sdb })?;

        // SAFETY: The midlayer keeps the table until the command is completed.
        let table = unsafe { &(*prot_sdb.as_ptr()).table };

        NonNull::new(table.sgl).filter(|_| table.nents != 0)
    }

    /// Returns the length of its protection information, in bytes.
    pub fn protection_len(&self) -> u32 {
        // SAFETY: By the type invariant the command is valid.
        unsafe { bindings::scsi_helper_protection_bytes(self.as_raw()) }
    }

    /// Copies the start of the data that the initiator reads to `bytes` (`sg_copy_to_buffer()`), as
    /// far as there are any, and returns the number of bytes copied.
    pub fn copy_to_buffer(&self, bytes: &mut [u8]) -> usize {
        let Some(data) = self.data_in() else {
            return 0;
        };

        // SAFETY: By the type invariant of `WritableSegments` the list is valid, and it has that
        // many entries. Its memory is only read, and `bytes` has that length.
        unsafe {
            kernel::bindings::sg_copy_to_buffer(
                data.as_raw().as_ptr(),
                self.segments(),
                bytes.as_mut_ptr().cast(),
                bytes.len(),
            )
        }
    }

    /// Copies `bytes` to the start of the data that the initiator reads (`sg_copy_from_buffer()`),
    /// as far as there is room, and returns the number of bytes copied.
    pub fn copy_from_buffer(&mut self, bytes: &[u8]) -> usize {
        let Some(data) = self.data_in() else {
            return 0;
        };

        // SAFETY: By the type invariant of `WritableSegments` the list is valid, and it has that
        // many entries. The buffer is only read.
        unsafe {
            kernel::bindings::sg_copy_from_buffer(
                data.as_raw().as_ptr(),
                self.segments(),
                bytes.as_ptr().cast(),
                bytes.len(),
            )
        }
    }

    /// Clears the data that the initiator reads (`sg_zero_buffer()`), and returns the number of
    /// bytes cleared.
    pub fn zero_buffer(&mut self) -> usize {
        let Some(data) = self.data_in() else {
            return 0;
        };

        // SAFETY: By the type invariant of `WritableSegments` the list is valid, and it has that
        // many entries.
        unsafe {
            kernel::bindings::sg_zero_buffer(
                data.as_raw().as_ptr(),
                self.segments(),
                self.data_len() as usize,
                0,
            )
        }
    }

    /// Sets the residual, in bytes: how many were not transferred. At most all of them.
    #[inline]
    pub fn set_residual(&mut self, bytes: u32) {
        let bytes = bytes.min(self.data_len());

        // SAFETY: By the type invariant the command is valid and the driver's.
        unsafe { (*self.as_raw()).resid_len = bytes };
    }
}

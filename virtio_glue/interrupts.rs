// SPDX-License-Identifier: GPL-2.0

//! The interrupts of virtqueues, and the interrupt line of a PCI function.
//!
//! C headers: [`include/linux/interrupt.h`](srctree/include/linux/interrupt.h),
//! [`include/linux/pci.h`](srctree/include/linux/pci.h)

use super::{
    bindings,
    Device, //
};
use kernel::{
    device,
    error::to_result,
    ffi::c_uint,
    prelude::*, //
};

/// The interrupts of the virtqueues of a device, best first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Interrupts {
    /// Each virtqueue that is not polled has a vector of its own. Other transports than PCI count
    /// as this.
    Own,
    /// All virtqueues share one vector, and changes of the configuration have another.
    Shared,
    /// The device has no vectors. All virtqueues share the interrupt line of the PCI function,
    /// which other devices may share, too.
    Line,
}

/// Returns whether virtqueues could not be created for lack of interrupts, to judge by the error.
///
/// The virtio core returns the error of the last way that it has tried. For the line, these are: no
/// vector for it, another handler that does not share it, or no connection of it.
pub fn is_lack_of_interrupts(error: Error) -> bool {
    [ENOSPC, EBUSY].contains(&error)
        || error.to_errno().unsigned_abs() == kernel::bindings::ENOTCONN
}

impl Device<device::Bound> {
    /// Returns the interrupts of the virtqueues, which must have been created.
    pub fn interrupts(&self) -> Interrupts {
        // SAFETY: By the type invariant the device is valid. It is bound, so its PCI function, if
        // any, is the driver's.
        match unsafe { bindings::virtio_helper_interrupts(self.as_raw()) } {
            bindings::virtio_helper_interrupt_kind_VIRTIO_HELPER_SHARED => Interrupts::Shared,
            bindings::virtio_helper_interrupt_kind_VIRTIO_HELPER_LINE => Interrupts::Line,
            _ => Interrupts::Own,
        }
    }
}

/// The interrupt line of a device's PCI function, kept allocated, so that no other device gets the
/// vector that the line needs. All devices on the line share this vector.
///
/// # Invariants
///
/// A handler is registered for `irq`, with the address of `irq` as its cookie.
pub(super) struct InterruptLine {
    irq: KBox<c_uint>,
}

impl InterruptLine {
    /// Allocates the line of a device: `request_irq()`. `name` is for `/proc/interrupts`.
    ///
    /// Fails if the device has no line, if no vector is free for it, or if another handler does not
    /// share it.
    ///
    /// Process context.
    ///
    /// # Safety
    ///
    /// The device must be bound. The returned object must be dropped before the device is unbound,
    /// and before the transport resets the function, as the PCI core may free the interrupt then.
    /// It must not be leaked, as the handler is code of the module.
    pub(super) unsafe fn hold(dev: &Device, name: &'static CStr) -> Result<Self> {
        let mut irq = KBox::new(0, GFP_KERNEL)?;
        let cookie: *mut c_uint = &raw mut *irq;

        // SAFETY: The caller guarantees that the device is bound. The name is valid for ever. The
        // address in a box is unique as a cookie while the handler is registered, and the handler
        // ignores it.
        let result = unsafe {
            bindings::virtio_helper_hold_line(dev.as_raw(), name.as_char_ptr(), cookie.cast())
        };

        to_result(result)?;
        *irq = result.try_into()?;
        // INVARIANT: The function has registered the handler, with this number and cookie.
        Ok(Self { irq })
    }
}

impl Drop for InterruptLine {
    fn drop(&mut self) {
        let cookie: *mut c_uint = &raw mut *self.irq;

        // SAFETY: By the type invariant a handler is registered with this number and cookie.
        unsafe { kernel::bindings::free_irq(*self.irq, cookie.cast()) };
    }
}

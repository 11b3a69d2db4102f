// SPDX-License-Identifier: GPL-2.0

//! What interrupts the virtqueues of a device have, and the interrupt line of its PCI function.
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

/// What interrupts the virtqueues of a device have, best first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Interrupts {
    /// Each virtqueue that is not polled has a vector of its own, or the transport has nothing of the kind.
    Own,
    /// All share one vector, and changes of the configuration have another.
    Shared,
    /// There are no vectors. All share the interrupt line of the PCI function, perhaps with other devices.
    Line,
}

/// Returns whether this is why virtqueues could not be made: there were no interrupts for them.
///
/// The virtio core passes on what it heard of the last way that it tried. If that was the line: there is no vector
/// for it, somebody does not share it, or it leads nowhere.
pub fn is_lack_of_interrupts(error: Error) -> bool {
    [ENOSPC, EBUSY].contains(&error)
        || error.to_errno().unsigned_abs() == kernel::bindings::ENOTCONN
}

impl Device<device::Bound> {
    /// Returns what interrupts the virtqueues have, which must have been created.
    pub fn interrupts(&self) -> Interrupts {
        // SAFETY: By the type invariant the device is valid, and it is bound, so its transport is there.
        match unsafe { bindings::virtio_helper_interrupts(self.as_raw()) } {
            bindings::virtio_helper_interrupt_kind_VIRTIO_HELPER_SHARED => Interrupts::Shared,
            bindings::virtio_helper_interrupt_kind_VIRTIO_HELPER_LINE => Interrupts::Line,
            _ => Interrupts::Own,
        }
    }
}

/// The interrupt line of a device's PCI function, held ready: the vector that the line needs cannot be had by
/// others. All devices on the line share it, so many devices need few vectors for that.
///
/// It has to be dropped before the device is unbound, and before the transport resets the function: then the PCI
/// core may do away with the line.
///
/// # Invariants
///
/// A handler is registered for `irq`, with the address of `irq` as its cookie.
pub struct InterruptLine {
    irq: KBox<c_uint>,
}

impl InterruptLine {
    /// Takes the line of a device. Fails if it has none, if there is no vector for it, or if somebody does not
    /// share it. `name` is for `/proc/interrupts`.
    ///
    /// Process context.
    pub fn hold(dev: &Device<device::Bound>, name: &'static CStr) -> Result<Self> {
        let mut irq = KBox::new(0, GFP_KERNEL)?;
        let cookie: *mut c_uint = &raw mut *irq;

        // SAFETY: The device is valid and bound, so its transport is there. The name lives for ever. The cookie
        // is nobody else's for as long as the handler is registered, which does not look at it.
        let result = unsafe {
            bindings::virtio_helper_hold_line(dev.as_raw(), name.as_char_ptr(), cookie.cast())
        };

        to_result(result)?;
        *irq = result.try_into()?;
        // INVARIANT: The handler was registered just now.
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

// SPDX-License-Identifier: GPL-2.0

//! Attributes of a host in sysfs: text files in `/sys/class/scsi_host/hostN/`.
//!
//! C headers: [`include/linux/device.h`](srctree/include/linux/device.h),
//! [`include/linux/sysfs.h`](srctree/include/linux/sysfs.h)

use super::{
    attribute_groups::AttributePointer,
    bindings,
    driver::Driver,
    host_data::driver_of, //
};
use core::{
    cell::UnsafeCell,
    marker::PhantomData, //
};
use kernel::{
    bindings::device,
    container_of,
    ffi::c_char,
    fmt,
    prelude::*,
    str::CString, //
};

/// An attribute of the hosts of `T`, with mode 0644: `struct device_attribute`, by which it begins.
/// `host_attributes!` makes it.
#[repr(C)]
pub struct HostAttribute<T> {
    c: UnsafeCell<bindings::scsi_helper_attribute>,
    /// The number by which the driver knows it.
    number: usize,
    _driver: PhantomData<fn() -> T>,
}

// SAFETY: C uses the attribute with its own locks. The number does not change.
unsafe impl<T> Sync for HostAttribute<T> {}

impl<T: Driver> HostAttribute<T> {
    /// Makes an attribute.
    // `CStr::as_char_ptr()` cannot be called in a constant.
    #[expect(clippy::disallowed_methods)]
    pub const fn new(name: &'static core::ffi::CStr, number: usize) -> Self {
        let mut c: bindings::scsi_helper_attribute = pin_init::zeroed();

        c.attr.name = name.as_ptr().cast();
        c.attr.mode = 0o644;
        c.show = Some(Self::show);
        c.store = Some(Self::store);
        Self {
            c: UnsafeCell::new(c),
            number,
            _driver: PhantomData,
        }
    }

    /// Returns a pointer to it for the list of a group.
    pub const fn pointer(&'static self) -> AttributePointer<T> {
        // By its attribute the C structure begins, by which the object does. The pointer is to the
        // whole object, for `find`.
        AttributePointer::to(core::ptr::from_ref(self).cast_mut().cast())
    }

    /// Borrows the driver of a host, and returns the number of its attribute.
    ///
    /// # Safety
    ///
    /// As for [`Self::show`].
    unsafe fn find<'a>(
        dev: *mut device,
        attr: *mut bindings::scsi_helper_attribute,
    ) -> Option<(&'a T, usize)> {
        // SAFETY: The device is that of a host in its class.
        let shost = unsafe { container_of!(dev, bindings::Scsi_Host, shost_dev) };

        // SAFETY: The attribute is the first field of a static `HostAttribute<T>`.
        let number = unsafe { (*attr.cast::<Self>()).number };

        // SAFETY: The host is one of `T`, whose `Host` is there: its removal waits until nobody
        // reads or writes the attributes.
        unsafe { driver_of::<T>(shost) }.map(|driver| (driver, number))
    }

    /// Writes the text of an attribute to `buffer`, and returns its length.
    ///
    /// # Safety
    ///
    /// Called by sysfs, in process context, with a [`HostAttribute`] of `T`. `dev` is the device in
    /// the class of a host of `T`, which was added and is not removed before this returns. `buffer`
    /// is a page.
    unsafe extern "C" fn show(
        dev: *mut device,
        attr: *mut bindings::scsi_helper_attribute,
        buffer: *mut c_char,
    ) -> isize {
        // SAFETY: The requirements are the same.
        let Some((driver, number)) = (unsafe { Self::find(dev, attr) }) else {
            return errno(ENODEV);
        };

        match CString::try_from_fmt(fmt!("{}", Shown(driver, number))) {
            // SAFETY: The buffer is a page, the format takes a C string, and the function writes no
            // more than a page.
            //
            // CAST: A page is less than an `isize` holds.
            Ok(text) => unsafe {
                kernel::bindings::sysfs_emit(buffer, c"%s\n".as_char_ptr(), text.as_char_ptr())
                    as isize
            },
            Err(error) => errno(error),
        }
    }

    /// Has the driver take what was written to an attribute, and returns how much that was.
    ///
    /// # Safety
    ///
    /// As for [`Self::show`]. `buffer` has `count` bytes.
    unsafe extern "C" fn store(
        dev: *mut device,
        attr: *mut bindings::scsi_helper_attribute,
        buffer: *const c_char,
        count: usize,
    ) -> isize {
        // SAFETY: The requirements are the same.
        let Some((driver, number)) = (unsafe { Self::find(dev, attr) }) else {
            return errno(ENODEV);
        };

        // SAFETY: The buffer has that many bytes, and nobody writes them meanwhile.
        let bytes = unsafe { core::slice::from_raw_parts(buffer.cast::<u8>(), count) };
        let result = core::str::from_utf8(bytes)
            .map_err(|_| EINVAL)
            .and_then(|text| driver.store_attribute(number, text.trim()));

        match result {
            // CAST: sysfs passes a page at the most.
            Ok(()) => count as isize,
            Err(error) => errno(error),
        }
    }
}

/// Returns an error as sysfs wants it.
fn errno(error: Error) -> isize {
    // CAST: Every error number is small.
    error.to_errno() as isize
}

/// An attribute of a driver as text.
struct Shown<'a, T>(&'a T, usize);

impl<T: Driver> fmt::Display for Shown<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.show_attribute(self.1, f)
    }
}

/// Declares the attributes of the hosts of a driver: the name of each, and the number by which
/// [`Driver::show_attribute`] and [`Driver::store_attribute`] know it.
macro_rules! host_attributes {
    (
        $visibility:vis static $name:ident: $driver:ty = [
            $($text:literal => $number:expr),* $(,)?
        ]
    ) => {
        $visibility static $name: $crate::scsi_glue::HostAttributes<$driver> = {
            use $crate::scsi_glue::{
                AttributeGroup, AttributePointer, HostAttribute, HostAttributes,
            };

            static LIST: &[AttributePointer<$driver>] = &[
                $({
                    static ATTRIBUTE: HostAttribute<$driver> = HostAttribute::new($text, $number);

                    ATTRIBUTE.pointer()
                },)*
                AttributePointer::END,
            ];
            static GROUP: AttributeGroup<$driver> = AttributeGroup::new(LIST);

            HostAttributes::new(&GROUP)
        };
    };
}
pub(crate) use host_attributes;

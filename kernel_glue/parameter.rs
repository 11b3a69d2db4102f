// SPDX-License-Identifier: GPL-2.0

//! Module parameters that root can change while the module is loaded.
//!
//! The parameters of [`kernel::prelude::module`] of 7.2 and 7.3 are set when the module is loaded,
//! and are not in sysfs. This file goes when they can be written there.
//!
//! C header: [`include/linux/moduleparam.h`](srctree/include/linux/moduleparam.h)

use core::cell::UnsafeCell;
use kernel::{
    bindings,
    ffi::c_uint, //
};

/// A parameter of type `uint`, in `/sys/module/<module>/parameters/` with mode 0644.
/// `writable_parameter!` declares it.
#[repr(transparent)]
pub struct Parameter(UnsafeCell<c_uint>);

// SAFETY: C writes the number, and `get` reads it with a volatile access of its natural size: a
// reader gets the former value or the new one.
unsafe impl Sync for Parameter {}

impl Parameter {
    /// Makes a parameter with its default value.
    pub const fn new(default: u32) -> Self {
        Self(UnsafeCell::new(default))
    }

    /// Returns the present value. Any context.
    #[inline]
    pub fn get(&self) -> u32 {
        // SAFETY: The pointer is to a field of `self`, and every bit pattern is a number.
        unsafe { self.0.get().read_volatile() }
    }
}

/// The entry of a [`Parameter`] in the table of the module: `struct kernel_param`.
#[repr(transparent)]
pub struct Entry(bindings::kernel_param);

// SAFETY: Only C uses the entry, under a lock of its own.
unsafe impl Sync for Entry {}

impl Entry {
    /// Makes the entry of a parameter.
    // `CStr::as_char_ptr()` cannot be called in a constant.
    #[expect(clippy::disallowed_methods)]
    pub const fn new(name: &'static core::ffi::CStr, parameter: &'static Parameter) -> Self {
        Self(bindings::kernel_param {
            name: name.as_ptr().cast(),
            mod_: (&raw const bindings::__this_module).cast_mut(),
            // For an `unsigned int`, which a `Parameter` is.
            ops: &raw const bindings::param_ops_uint,
            perm: 0o644,
            level: -1,
            flags: 0,
            __bindgen_anon_1: bindings::kernel_param__bindgen_ty_1 {
                arg: parameter.0.get().cast(),
            },
        })
    }
}

/// Declares a [`Parameter`] with its name, its default value, and its description for modinfo.
macro_rules! writable_parameter {
    (
        $(#[$meta:meta])*
        $visibility:vis static $name:ident, $text:literal: $default:expr, $description:literal
    ) => {
        $(#[$meta])*
        $visibility static $name: $crate::kernel_glue::Parameter =
            $crate::kernel_glue::Parameter::new($default);

        const _: () = {
            const NAME: &core::ffi::CStr = match core::ffi::CStr::from_bytes_with_nul(
                concat!($text, "\0").as_bytes(),
            ) {
                Ok(name) => name,
                Err(_) => panic!("a parameter's name has a zero byte"),
            };

            #[link_section = "__param"]
            #[used]
            static ENTRY: $crate::kernel_glue::Entry =
                $crate::kernel_glue::Entry::new(NAME, &$name);
        };

        $crate::kernel_glue::modinfo!("parm", $text, ":", $description);
        $crate::kernel_glue::modinfo!("parmtype", $text, ":uint");
    };
}
pub(crate) use writable_parameter;

// SPDX-License-Identifier: GPL-2.0

//! Module parameters that root can change while the module is loaded.
//!
//! The parameters of [`kernel::prelude::module`] are set once, when the module is loaded, and are not
//! in sysfs. This file goes when they can be written.
//!
//! C header: [`include/linux/moduleparam.h`](srctree/include/linux/moduleparam.h)

use core::cell::UnsafeCell;
use kernel::{
    bindings,
    ffi::c_uint, //
};

/// A parameter of type `uint`, in `/sys/module/<module>/parameters/` with mode 0644.
///
/// It is declared by `writable_parameter!`.
#[repr(transparent)]
pub struct Parameter(UnsafeCell<c_uint>);

// SAFETY: The C side writes the number, and Rust reads it with a volatile access of its natural size:
// a reader gets the old value or the new one.
unsafe impl Sync for Parameter {}

impl Parameter {
    /// Makes a parameter with the value that it has until somebody sets it.
    pub const fn new(default: u32) -> Self {
        Self(UnsafeCell::new(default))
    }

    /// Returns the value that it has now. Any context.
    pub fn get(&self) -> u32 {
        // SAFETY: The pointer is that of `self`, and every bit pattern is a number.
        unsafe { self.0.get().read_volatile() }
    }
}

/// The entry of a [`Parameter`] in the module's table: `struct kernel_param`.
#[repr(transparent)]
pub struct Entry(bindings::kernel_param);

// SAFETY: The C side alone uses it, under a lock of its own.
unsafe impl Sync for Entry {}

impl Entry {
    /// Makes the entry of a parameter.
    // `CStr::as_char_ptr()` cannot be called in a constant.
    #[expect(clippy::disallowed_methods)]
    pub const fn new(name: &'static core::ffi::CStr, parameter: &'static Parameter) -> Self {
        Self(bindings::kernel_param {
            name: name.as_ptr().cast(),
            mod_: (&raw const bindings::__this_module).cast_mut(),
            // It reads and writes an `unsigned int`, which is what a `Parameter` is.
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

/// Declares a [`Parameter`] with its name, the value that it has at first, and what modinfo says of it.
macro_rules! writable_parameter {
    ($(#[$meta:meta])* $visibility:vis static $name:ident, $text:literal: $default:expr, $description:literal) => {
        $(#[$meta])*
        $visibility static $name: $crate::kernel_glue::Parameter =
            $crate::kernel_glue::Parameter::new($default);

        const _: () = {
            const fn bytes<const N: usize>(text: &str) -> [u8; N] {
                let mut to = [0; N];
                let mut i = 0;

                while i < N {
                    to[i] = text.as_bytes()[i];
                    i += 1;
                }
                to
            }

            const DESCRIPTION: &str = concat!("parm=", $text, ":", $description, "\0");
            const TYPE: &str = concat!("parmtype=", $text, ":uint\0");
            const NAME: &core::ffi::CStr = match core::ffi::CStr::from_bytes_with_nul(
                concat!($text, "\0").as_bytes(),
            ) {
                Ok(name) => name,
                Err(_) => panic!("a parameter's name has a zero byte"),
            };

            #[link_section = "__param"]
            #[used]
            static ENTRY: $crate::kernel_glue::Entry = $crate::kernel_glue::Entry::new(NAME, &$name);

            #[link_section = ".modinfo"]
            #[used]
            static DESCRIPTION_TEXT: [u8; DESCRIPTION.len()] = bytes(DESCRIPTION);

            #[link_section = ".modinfo"]
            #[used]
            static TYPE_TEXT: [u8; TYPE.len()] = bytes(TYPE);
        };
    };
}
pub(crate) use writable_parameter;

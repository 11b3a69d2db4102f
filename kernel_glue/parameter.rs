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
    error::to_result,
    ffi::{
        c_char,
        c_int,
        c_uint, //
    },
    prelude::*,
    str::CStrExt, //
};

/// A parameter of type `uint`, in `/sys/module/<module>/parameters/` with mode 0644.
/// `writable_parameter!` declares it.
///
/// # Invariants
///
/// The value is within the bounds.
#[repr(C)]
pub struct Parameter {
    /// The first field: C reads the number by a pointer to the parameter.
    value: UnsafeCell<c_uint>,
    least: c_uint,
    most: c_uint,
}

// SAFETY: `Entry::set` writes the number, and `get` reads it, both with a volatile access of its
// natural size: a reader gets the former value or the new one.
unsafe impl Sync for Parameter {}

impl Parameter {
    /// Makes a parameter with its bounds and its default value, which is within them.
    pub const fn new(default: u32, least: u32, most: u32) -> Self {
        assert!(
            least <= default && default <= most,
            "the default value of a parameter is out of its bounds"
        );
        // INVARIANT: As just checked.
        Self {
            value: UnsafeCell::new(default),
            least,
            most,
        }
    }

    /// Returns the present value. Any context.
    #[inline]
    pub fn get(&self) -> u32 {
        // SAFETY: The pointer is to a field of `self`, and every bit pattern is a number.
        unsafe { self.value.get().read_volatile() }
    }

    /// Returns whether a value is within the bounds.
    pub fn allows(&self, value: u32) -> bool {
        (self.least..=self.most).contains(&value)
    }
}

/// The functions of all parameters.
static OPS: bindings::kernel_param_ops = bindings::kernel_param_ops {
    flags: 0,
    set: Some(Entry::set),
    // For an `unsigned int`, by which a `Parameter` begins.
    get: Some(bindings::param_get_uint),
    free: None,
};

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
            ops: &raw const OPS,
            perm: 0o644,
            level: -1,
            flags: 0,
            __bindgen_anon_1: bindings::kernel_param__bindgen_ty_1 {
                arg: (&raw const *parameter).cast_mut().cast(),
            },
        })
    }

    /// Sets a parameter, when the module is loaded and when root writes it.
    ///
    /// # Safety
    ///
    /// Called by C, one at a time for a module. `value` is a C string, and `entry` is that of an
    /// [`Entry`].
    unsafe extern "C" fn set(value: *const c_char, entry: *const bindings::kernel_param) -> c_int {
        let mut number = 0;

        // SAFETY: `value` is a C string, and `number` takes the result.
        if let Err(error) = to_result(unsafe { bindings::kstrtouint(value, 10, &mut number) }) {
            return error.to_errno();
        }

        // SAFETY: `new` has made the entry with the address of a `Parameter`, which is never
        // dropped.
        let parameter = unsafe { &*(*entry).__bindgen_anon_1.arg.cast::<Parameter>() };

        if !parameter.allows(number) {
            // SAFETY: `new` has made the entry with the address of a C string.
            let name = unsafe { CStr::from_char_ptr((*entry).name) };

            pr_err!(
                "{name}={number} is not from {} to {}\n",
                parameter.least,
                parameter.most
            );
            return EINVAL.to_errno();
        }

        // INVARIANT: As just checked.
        //
        // SAFETY: The pointer is to a field of the parameter, and nobody else writes it.
        unsafe { parameter.value.get().write_volatile(number) };
        0
    }
}

/// Declares a [`Parameter`] with its name, its default value, its bounds, and its description for
/// modinfo.
macro_rules! writable_parameter {
    (
        $(#[$meta:meta])*
        $visibility:vis static $name:ident,
        $text:literal: $default:literal in $least:literal..=$most:expr, $description:literal
    ) => {
        $(#[$meta])*
        $visibility static $name: $crate::kernel_glue::Parameter =
            $crate::kernel_glue::Parameter::new($default, $least, $most);

        const _: () = {
            const NAME: &core::ffi::CStr = match core::ffi::CStr::from_bytes_with_nul(
                concat!($text, "\0").as_bytes(),
            ) {
                Ok(name) => name,
                Err(_) => panic!("a parameter's name has a zero byte"),
            };

            #[link_section = "__param"]
            #[used(compiler)]
            static ENTRY: $crate::kernel_glue::Entry =
                $crate::kernel_glue::Entry::new(NAME, &$name);
        };

        $crate::kernel_glue::modinfo!("parm", $text, ":", $description);
        $crate::kernel_glue::modinfo!("parmtype", $text, ":uint");
    };
}
pub(crate) use writable_parameter;

// SPDX-License-Identifier: GPL-2.0

//! Panics of the kernel that the user wants.
//!
//! A `panic!` of Rust is a bug, after which the kernel may go on. This file goes when the kernel
//! crate has the other kind.
//!
//! C header: [`include/linux/panic.h`](srctree/include/linux/panic.h)

use kernel::{
    bindings,
    fmt,
    prelude::*,
    str::CString, //
};

/// Stops the kernel for good, and has it write a dump if it was set up for that: `panic()`.
///
/// Process context.
#[cold]
pub fn panic_for_dump(reason: fmt::Arguments<'_>) -> ! {
    let text = CString::try_from_fmt(reason);
    let text: &CStr = match &text {
        Ok(text) => text,
        Err(_) => c"a driver wants a dump",
    };

    // SAFETY: The format takes a C string, which is one.
    unsafe { bindings::panic(c"%s".as_char_ptr(), text.as_char_ptr()) }
}

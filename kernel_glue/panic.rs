// SPDX-License-Identifier: GPL-2.0

//! Panics of the kernel that the user wants, and the kernel that writes the dump of one.
//!
//! A `panic!` of Rust is a bug, after which the kernel may go on. This file goes when the kernel
//! crate has the other kind.
//!
//! C headers: [`include/linux/panic.h`](srctree/include/linux/panic.h),
//! [`include/linux/crash_dump.h`](srctree/include/linux/crash_dump.h)

use super::bindings::kernel_helper_is_crash_kernel;
use core::fmt::Write;
use kernel::{
    bindings,
    fmt,
    prelude::*,
    str::Formatter, //
};

/// The longest reason, in bytes, with the zero at its end.
const LENGTH: usize = 160;

/// Stops the kernel for good, and has it write a dump if it was set up for that: `panic()`. Takes
/// 159 bytes of the reason, and no memory: the kernel may wait for the very device to have some.
///
/// Process context.
#[cold]
pub fn panic_for_dump(reason: fmt::Arguments<'_>) -> ! {
    let mut buffer = [0; LENGTH];
    let (text, _) = buffer.split_at_mut(LENGTH - 1);

    // The rest of a longer reason is cut off.
    let _ = Formatter::new(text).write_fmt(reason);

    // SAFETY: The format takes a C string. There is a zero at the end of the buffer at the latest.
    unsafe { bindings::panic(c"%s".as_char_ptr(), buffer.as_ptr()) }
}

/// Returns whether this kernel was started by one that has panicked, to write its dump:
/// `is_kdump_kernel()`. Any context.
pub fn is_crash_kernel() -> bool {
    // SAFETY: The function only reads what was set when the kernel was started.
    unsafe { kernel_helper_is_crash_kernel() }
}

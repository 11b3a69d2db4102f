// SPDX-License-Identifier: GPL-2.0

//! Entries for modinfo.
//!
//! [`kernel::prelude::module`] of 7.2 and 7.3 has no key for the version, and none for parameters
//! that can be written. This file goes with the two that use it, `version.rs` and `parameter.rs`.
//!
//! C header: [`include/linux/moduleparam.h`](srctree/include/linux/moduleparam.h)

/// Declares an entry: `MODULE_INFO()`. Concatenates the arguments after the tag.
///
/// `used(compiler)` as [`kernel::prelude::module`] has it: since Rust 1.89 the plain attribute has
/// the linker retain the entry, in a second section of that name, and modpost reads only one.
macro_rules! modinfo {
    ($tag:literal, $($text:literal),+) => {
        const _: () = {
            const TEXT: &[u8] = concat!($tag, "=", $($text,)+ "\0").as_bytes();

            #[link_section = ".modinfo"]
            #[used(compiler)]
            static ENTRY: [u8; TEXT.len()] = match TEXT.first_chunk() {
                Some(text) => *text,
                None => panic!("a text is shorter than itself"),
            };
        };
    };
}
pub(crate) use modinfo;

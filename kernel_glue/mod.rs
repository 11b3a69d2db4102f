// SPDX-License-Identifier: GPL-2.0

//! Parts that the `kernel` crate does not have yet.
//!
//! Each file names the C header that it is about, and what of the kernel crate will take its place.

mod parameter;

pub use self::parameter::{
    Entry,
    Parameter, //
};

pub(crate) use self::parameter::writable_parameter;

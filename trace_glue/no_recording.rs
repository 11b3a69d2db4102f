// SPDX-License-Identifier: GPL-2.0

//! In the place of `recording.rs` in a kernel without tracepoints.

use kernel::prelude::*;

/// See `recording.rs`.
pub struct Recording(());

impl Recording {
    /// Fails with `EOPNOTSUPP`.
    pub fn new() -> Result<Self> {
        // CAST: The constant is small. The kernel crate of 7.2 does not have this error.
        Err(Error::from_errno(
            -(kernel::bindings::EOPNOTSUPP as kernel::ffi::c_int),
        ))
    }
}

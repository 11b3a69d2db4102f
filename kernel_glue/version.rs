// SPDX-License-Identifier: GPL-2.0

//! The version of a module, for modinfo and `/sys/module/<module>/version`.
//!
//! [`kernel::prelude::module`] of 7.2 and 7.3 has no key for the version. This file goes when it
//! has one.
//!
//! C header: [`include/linux/module.h`](srctree/include/linux/module.h)

/// Declares the version of the module: `MODULE_VERSION()`.
macro_rules! module_version {
    ($version:literal) => {
        $crate::kernel_glue::modinfo!("version", $version);
    };
}
pub(crate) use module_version;

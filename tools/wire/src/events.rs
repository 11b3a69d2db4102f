// SPDX-License-Identifier: GPL-2.0

//! `events/` of the module.

#[path = "../../../events/vpd.rs"]
pub mod vpd;
#[path = "../../../events/wire.rs"]
pub mod wire;

// SPDX-License-Identifier: GPL-2.0

//! `queues/` of the module.

#[path = "../../../queues/adjustments.rs"]
pub mod adjustments;
#[path = "../../../queues/limits.rs"]
pub mod limits;
#[path = "../../../queues/response.rs"]
pub mod response;
#[path = "../../../queues/sense.rs"]
pub mod sense;
#[path = "../../../queues/states.rs"]
pub mod states;
#[path = "../../../queues/wire.rs"]
pub mod wire;

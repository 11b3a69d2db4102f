// SPDX-License-Identifier: GPL-2.0-or-later

//! vhost-user, as its back-end. `message` is the bytes on the socket, `session` what they mean to
//! the device.
//!
//! `vhost-user-backend` is not used: it keeps the set-up of the queues to itself, cannot tell of a
//! changed configuration, takes only a socket (and not User-Mode Linux' pipe) for what the back-end
//! has to say, and knows only split rings.

pub mod message;
pub mod session;

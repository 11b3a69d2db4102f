// SPDX-License-Identifier: GPL-2.0

//! The memory of a command, as a chain of buffers.

use super::command_state::OwnedCmnd;
use crate::{
    protocol::command::{
        Layout,
        Protection, //
    },
    scsi_glue::DataDirection,
    virtio_glue::Chain, //
};

/// Returns the lengths of the protection information of a command.
pub(super) fn protection_of(command: &OwnedCmnd) -> Protection {
    let bytes = command.protection_len();

    match command.direction() {
        DataDirection::ToDevice => Protection {
            bytes_out: bytes,
            bytes_in: 0,
        },
        DataDirection::FromDevice => Protection {
            bytes_out: 0,
            bytes_in: bytes,
        },
        DataDirection::None | DataDirection::Bidirectional => Protection::default(),
    }
}

/// Describes the memory of a command: request, data out, response, data in. Protection
/// information precedes the data that it protects.
#[inline]
pub(super) fn describe<'a>(command: &'a OwnedCmnd, layout: Layout, chain: &mut Chain<'a>) {
    let response = command.response_segments();

    chain.readable_segments(command.request_segments());

    // One way or the other, so that the compiler knows the place of each piece.
    match command.direction() {
        DataDirection::ToDevice => {
            if layout.protection {
                if let Some(protection) = command.protection_out() {
                    chain.readable_segments(protection);
                }
            }
            if let Some(data) = command.data_out() {
                chain.readable_segments(data);
            }
            chain.writable_segments(response);
        }
        DataDirection::FromDevice => {
            chain.writable_segments(response);
            if layout.protection {
                if let Some(protection) = command.protection_in() {
                    chain.writable_segments(protection);
                }
            }
            if let Some(data) = command.data_in() {
                chain.writable_segments(data);
            }
        }
        DataDirection::None | DataDirection::Bidirectional => chain.writable_segments(response),
    }
}

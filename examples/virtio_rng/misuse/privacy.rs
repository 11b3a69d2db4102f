// SPDX-License-Identifier: GPL-2.0

//! Uses of `virtio_glue` that name private fields. Each error is expected in the line below its
//! code.

use crate::virtio_glue::{
    Chain,
    DeviceId,
    IdArray, //
};

fn table_without_end() -> IdArray<1> {
    IdArray {
        // Error: E0451
        ids: [DeviceId::any_vendor(4)],
        // Error: E0451
        end: DeviceId::any_vendor(4),
    }
}

fn forget_what_was_left_out(chain: Chain<'_>) -> Chain<'_> {
    Chain {
        // Error: E0451
        invalid: false,
        // Error: E0451
        ..chain
    }
}

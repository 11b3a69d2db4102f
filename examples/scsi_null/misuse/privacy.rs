// SPDX-License-Identifier: GPL-2.0

//! Uses of `scsi_glue` that name private fields. Each error is expected in the line below its code.

use crate::{
    host::NoData,
    scsi_glue::{
        OwnedCmnd,
        QueueMap, //
    },
};
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};

fn make_a_command() -> OwnedCmnd<NoData> {
    OwnedCmnd {
        // Error: E0451
        cmd: NonNull::dangling(),
        // Error: E0451
        _data: PhantomData,
    }
}

fn other_queues(map: QueueMap<'_>) -> QueueMap<'_> {
    QueueMap {
        // Error: E0451
        polled: true,
        // Error: E0451
        ..map
    }
}

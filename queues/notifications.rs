// SPDX-License-Identifier: GPL-2.0

//! Subscriptions to asynchronous notifications, which MMC units have.

use super::control::ControlQueue;
use crate::protocol::{
    address::Address,
    control::{
        NotificationRequestKind,
        ASYNC_MEDIA_CHANGE,
        ASYNC_OPERATIONAL_CHANGE, //
    },
    response, //
};
use kernel::{
    prelude::*,
    time::Jiffies, //
};

impl ControlQueue {
    /// Subscribes to media and operational change notifications of a logical unit, as far as the
    /// unit has them. A device that rejects the request is not asked again here.
    ///
    /// Process context. Waits up to `timeout` jiffies for each of two responses.
    pub fn subscribe(&self, address: Address, timeout: Jiffies) {
        const WANTED: u32 = ASYNC_MEDIA_CHANGE | ASYNC_OPERATIONAL_CHANGE;

        let Some(lun) = address.encode() else {
            return;
        };
        let ask = |kind, events| {
            self.request_notifications(kind, lun, events, timeout)
                .ok()
                .filter(|answer| response::function_done(answer.response))
                .map(|answer| answer.events & WANTED)
                .filter(|events| *events != 0)
        };

        if let Some(events) = ask(NotificationRequestKind::Query, WANTED) {
            if ask(NotificationRequestKind::Subscribe, events).is_some() {
                dev_dbg!(
                    self.shared().dev(),
                    "target {} lun {}: subscribed to events {:#x}\n",
                    address.target,
                    address.lun,
                    events
                );
            }
        }
    }
}

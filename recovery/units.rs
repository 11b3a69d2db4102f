// SPDX-License-Identifier: GPL-2.0

//! Recovery for the handler of events: its own commands, and the commands of a removed unit.

use super::ladder::{
    Recovery,
    RENOTIFY_GRACE_MS, //
};
use crate::{
    kernel_glue::Stamp,
    protocol::{
        address::Address,
        control::TaskManagement, //
    },
    queues::{
        address_of,
        Answer,
        Bounds,
        ExecuteResult,
        Job,
        Unit, //
    },
};
use kernel::time::{
    msecs_to_jiffies,
    Jiffies, //
};

/// How long the device may take to abort a command of the driver's own, in milliseconds.
const ABORT_TIMEOUT_MS: u32 = 1_000;

/// How long commands of the driver's own that were sent together are aborted, in milliseconds.
const ABORTS_MS: u32 = 2_000;

impl Recovery {
    /// Sends a command to an address and waits for it up to `timeout` jiffies. Its data are read to
    /// `data`, 1,024 bytes at most. A command that is not answered is aborted.
    ///
    /// Process context. The address need not be one of a logical unit that the midlayer has.
    pub fn execute(
        &self,
        address: Address,
        cdb: &[u8],
        data: &mut [u8],
        timeout: Jiffies,
    ) -> ExecuteResult {
        self.queues()
            .execute(address, cdb, data, timeout, self.abort_unanswered())
    }

    /// Sends commands, several at a time, within `bounds`. `answered` is called once for each, in
    /// the order of the answers. Commands that are not answered are aborted, which takes up to
    /// three seconds in all.
    ///
    /// Process context.
    pub(crate) fn execute_all<'a>(
        &self,
        jobs: impl IntoIterator<Item = Job<'a>>,
        bounds: Bounds,
        answered: impl FnMut(Job<'a>, Answer),
    ) {
        self.queues()
            .execute_all(jobs, bounds, self.abort_unanswered(), answered);
    }

    /// Returns what aborts the driver's own commands, by address and tag, until a function is not
    /// answered either or [`ABORTS_MS`] have passed, and one at most while the device is being
    /// unbound. Those of a unit whose commands are waited for are left alone.
    fn abort_unanswered(&self) -> impl FnMut(Address, u64) + use<'_> {
        let mut goes_on = true;
        let mut spent: Jiffies = 0;

        move |address, tag| {
            if let (true, false, Some(lun)) =
                (goes_on, self.is_in_trouble(address), address.encode())
            {
                let began = Stamp::now();
                let answered = self.abort_own(lun, tag, msecs_to_jiffies(ABORT_TIMEOUT_MS));

                spent = spent.saturating_add(began.elapsed());
                goes_on = answered
                    && spent < msecs_to_jiffies(ABORTS_MS)
                    && !self.shared().life().is_leaving();
            }
        }
    }

    /// Gets the commands of a logical unit that was removed back from the device.
    ///
    /// The device has reported the removal, so it has no reason to keep them. If it does, the unit
    /// is reset, and then the device: the midlayer would wait for the commands, and the host could
    /// not be scanned meanwhile. If the user wants commands to be waited for, they are.
    ///
    /// Process context. `busy` returns whether the device has any of the commands, and they are
    /// still wanted back.
    pub fn release(&self, address: Address, busy: impl Fn() -> bool) {
        let seen = self.shared().life().resets();

        if !busy() {
            return;
        }
        self.queues().notify_all_again();
        loop {
            if self.wait_until_back(RENOTIFY_GRACE_MS, &busy) || self.shared().life().is_gone() {
                return;
            }
            if !self.policy().waits() {
                break;
            }
        }
        self.task_management(TaskManagement::LogicalUnitReset, address, 0);
        if busy() {
            let _ = self.reset().reset(seen);
        }
    }

    /// Returns whether commands of a logical unit are being recovered or waited for, or were not
    /// long ago. A command that the driver sends to the unit would need recovery, too.
    ///
    /// Process context.
    pub fn is_in_trouble(&self, address: Address) -> bool {
        self.strikes().has(address) || self.waiting().lock().contains(address)
    }

    /// Forgets the strikes of the address at which a logical unit was found.
    pub(crate) fn forget(&self, unit: &Unit) {
        if let Some(address) = address_of(unit) {
            self.strikes().forget(address);
        }
    }
}

// SPDX-License-Identifier: GPL-2.0

//! The state of a device and the policy of its recovery, in debugfs.

use super::ladder::Recovery;
use crate::kernel_glue::{
    jiffies_to_msecs,
    Pairs,
    Show, //
};
use kernel::fmt;

impl Show for Recovery {
    /// Writes a line for each value: its name, a space, and the value. Times are milliseconds, and
    /// 0 stands for no bound.
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let life = self.shared().life();
        let policy = self.policy();
        let bound = |bound: Option<_>| bound.map_or(0, jiffies_to_msecs);
        let numbers = [
            ("resets", life.resets()),
            ("recovery_wait", policy.waits().into()),
            ("step_ms", jiffies_to_msecs(policy.step())),
            ("patience_ms", bound(policy.patience(false))),
            ("failfast_ms", bound(policy.patience(true))),
            ("refused_ms", bound(policy.refused(false))),
            ("report_ms", bound(policy.report())),
            ("panic_ms", bound(policy.panic())),
        ];

        Pairs::new(f).word("state", life.state().name()).end()?;
        for (name, value) in numbers {
            Pairs::new(f).number(name, value).end()?;
        }
        Ok(())
    }
}

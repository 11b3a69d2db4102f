// SPDX-License-Identifier: GPL-2.0

//! The state of a device and the policy of its recovery, in debugfs.

use super::ladder::Recovery;
use crate::kernel_glue::{
    jiffies_to_msecs,
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

        writeln!(f, "state {}", life.state().name())?;
        writeln!(f, "resets {}", life.resets())?;
        writeln!(f, "recovery_wait {}", u8::from(policy.wait))?;
        writeln!(f, "step_ms {}", jiffies_to_msecs(policy.step()))?;
        writeln!(f, "patience_ms {}", bound(policy.patience(false)))?;
        writeln!(f, "failfast_ms {}", bound(policy.patience(true)))?;
        writeln!(f, "refused_ms {}", bound(policy.refused(false)))
    }
}

// SPDX-License-Identifier: GPL-2.0

//! KUnit tests that pass, fail, or are skipped, for the suite to show that it notices.

use kernel::prelude::*;

module! {
    type: PlantedKunit,
    name: "planted_kunit",
    authors: ["virtio_scsi_rs developers"],
    description: "KUnit tests that fail",
    license: "GPL",
}

struct PlantedKunit;

impl kernel::Module for PlantedKunit {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        Ok(Self)
    }
}

#[kunit_tests(virtio_scsi_rs_planted)]
mod tests {
    use super::*;

    #[test]
    fn passes() {
        assert!(EINVAL.to_errno() < 0);
    }

    #[test]
    fn asserts_what_is_false() {
        assert!(EINVAL.to_errno() > 0);
    }

    #[test]
    fn compares_what_differs() {
        assert_eq!(EINVAL, ENOMEM);
    }

    #[test]
    fn returns_an_error() -> Result {
        Err(EINVAL)
    }

    #[test]
    #[cfg(not(CONFIG_KUNIT))]
    fn is_skipped() {}
}

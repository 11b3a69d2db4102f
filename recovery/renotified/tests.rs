// SPDX-License-Identifier: GPL-2.0

//! Tests of the numbers of commands of which the device was notified again.

use super::*;
use kernel::prelude::*;

#[kunit_tests(virtio_scsi_rs_renotified)]
mod renotified {
    use super::*;

    #[test]
    fn a_command_that_is_held_is_no_loss() {
        let commands = Renotified::new();

        commands.enter(0);
        assert!(commands.take_new());
        assert!(!commands.take_new());
        assert_eq!(commands.take_back(|| 1), 0);
        commands.leave();
        assert_eq!(commands.take_back(|| 0), 0);
    }

    #[test]
    fn a_command_that_comes_back_is_counted_once() {
        let commands = Renotified::new();

        commands.enter(0);
        commands.enter(0);
        assert_eq!(commands.take_back(|| 1), 1);
        assert_eq!(commands.take_back(|| 1), 0);
        assert_eq!(commands.take_back(|| 0), 1);
        assert_eq!(commands.take_back(|| 0), 0);
    }

    #[test]
    fn a_command_that_enters_while_the_others_are_counted_is_no_loss() {
        let commands = Renotified::new();

        commands.enter(0);
        assert_eq!(
            commands.take_back(|| {
                commands.enter(0);
                2
            }),
            0
        );
        assert_eq!(commands.take_back(|| 2), 0);
    }

    #[test]
    fn a_command_that_is_taken_out_before_it_is_counted_is_no_loss() {
        let commands = Renotified::new();

        // The review sees its stage first.
        assert_eq!(commands.take_back(|| 1), 0);
        commands.leave();
        commands.enter(0);
        assert!(commands.take_new());
        assert_eq!(commands.take_back(|| 0), 0);
    }

    #[test]
    fn a_reset_counts_from_when_a_command_has_entered() {
        let commands = Renotified::new();

        commands.enter(3);
        assert!(!commands.is_before(3));
        assert!(commands.is_before(4));
    }
}

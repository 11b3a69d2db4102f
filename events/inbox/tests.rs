// SPDX-License-Identifier: GPL-2.0

//! KUnit tests of the inbox.

use super::*;

/// A logical unit.
const UNIT: Address = Address { target: 3, lun: 1 };

/// Another one of the same target.
const SIBLING: Address = Address { target: 3, lun: 2 };

/// The one that can stand for the target of both.
const TARGET: Address = Address { target: 3, lun: 0 };

/// One of another target.
const STRANGER: Address = Address { target: 4, lun: 0 };

fn rescan(address: Address) -> Work {
    Work::Event(Event::Rescan(address))
}

fn removed(address: Address) -> Work {
    Work::Event(Event::Removed(address))
}

/// Returns an item for a number. Each number has a logical unit of its own, which is not LUN 0, so
/// none has to stay behind another.
fn nth(number: usize) -> Work {
    Work::Event(Event::Rescan(Address {
        target: (number % 256) as u8,
        lun: 1 + (number / 256) as u64,
    }))
}

/// Returns an inbox to which `items` were added.
fn filled(items: impl IntoIterator<Item = Work>) -> Result<Arc<Inbox>> {
    let inbox = Inbox::new()?;

    for item in items {
        inbox.add(item);
    }
    Ok(inbox)
}

/// Returns whether `inbox` holds `expected`, in that order, and nothing else. Empties it.
fn holds(inbox: &Inbox, expected: impl IntoIterator<Item = Work>) -> bool {
    expected
        .into_iter()
        .all(|item| !inbox.is_empty() && inbox.take() == Some(item))
        && inbox.is_empty()
        && inbox.take().is_none()
}

#[kunit_tests(virtio_scsi_rs_inbox)]
mod inbox {
    use super::*;

    #[test]
    fn new_inbox_is_empty() -> Result {
        assert!(holds(&*Inbox::new()?, []));
        Ok(())
    }

    #[test]
    fn items_are_taken_in_the_order_in_which_they_came() -> Result {
        let items = [removed(UNIT), Work::Subscribe(STRANGER), rescan(SIBLING)];

        assert!(holds(&*filled(items)?, items));
        Ok(())
    }

    #[test]
    fn same_event_twice_is_one() -> Result {
        let inbox = filled([rescan(UNIT), rescan(UNIT), rescan(UNIT)])?;

        assert!(holds(&inbox, [rescan(UNIT)]));
        Ok(())
    }

    #[test]
    fn same_event_twice_is_one_if_others_came_between() -> Result {
        let others = [removed(SIBLING), Work::Subscribe(STRANGER)];
        let inbox = filled([rescan(UNIT), others[0], others[1], rescan(UNIT)])?;

        assert!(holds(&inbox, [rescan(UNIT), others[0], others[1]]));
        Ok(())
    }

    #[test]
    fn different_events_of_a_unit_keep_their_order() -> Result {
        let items = [rescan(UNIT), removed(UNIT), rescan(UNIT), removed(UNIT)];

        assert!(holds(&*filled(items)?, items));
        Ok(())
    }

    #[test]
    fn event_of_a_target_keeps_its_order_with_those_of_its_units() -> Result {
        let items = [rescan(UNIT), removed(TARGET), rescan(UNIT), removed(TARGET)];

        assert!(holds(&*filled(items)?, items));
        Ok(())
    }

    #[test]
    fn event_of_another_target_is_not_in_between() -> Result {
        let inbox = filled([rescan(UNIT), removed(STRANGER), rescan(UNIT)])?;

        assert!(holds(&inbox, [rescan(UNIT), removed(STRANGER)]));
        Ok(())
    }

    #[test]
    fn event_without_a_unit_keeps_its_order_with_all() -> Result {
        let unknown = Work::Event(Event::Unknown);
        let items = [rescan(UNIT), unknown, rescan(UNIT), unknown];

        assert!(holds(&*filled(items)?, items));
        Ok(())
    }

    #[test]
    fn event_that_was_taken_is_added_again() -> Result {
        let inbox = filled([rescan(UNIT), removed(STRANGER)])?;

        assert_eq!(inbox.take(), Some(rescan(UNIT)));
        inbox.add(rescan(UNIT));
        assert!(holds(&inbox, [removed(STRANGER), rescan(UNIT)]));
        Ok(())
    }

    #[test]
    fn missed_events_replace_those_that_wait() -> Result {
        let inbox = filled([
            rescan(UNIT),
            Work::Subscribe(SIBLING),
            Work::Reconcile,
            Work::Reconcile,
            removed(UNIT),
        ])?;

        assert!(holds(
            &inbox,
            [Work::Reconcile, Work::Subscribe(SIBLING), removed(UNIT)]
        ));
        Ok(())
    }

    #[test]
    fn missed_events_bring_back_nothing_that_was_taken() -> Result {
        let inbox = filled([Work::Subscribe(UNIT), Work::Subscribe(STRANGER)])?;

        assert_eq!(inbox.take(), Some(Work::Subscribe(UNIT)));
        inbox.add(Work::Reconcile);
        assert!(holds(&inbox, [Work::Reconcile, Work::Subscribe(STRANGER)]));
        Ok(())
    }

    #[test]
    fn all_that_there_is_room_for_is_kept() -> Result {
        let inbox = filled((0..LEN).map(nth))?;

        assert!(holds(&inbox, (0..LEN).map(nth)));
        Ok(())
    }

    #[test]
    fn room_is_free_again_when_all_was_taken() -> Result {
        let inbox = filled((0..LEN).map(nth))?;

        assert!(holds(&inbox, (0..LEN).map(nth)));
        for number in 0..LEN {
            inbox.add(nth(number));
        }
        assert!(holds(&inbox, (0..LEN).map(nth)));
        Ok(())
    }

    #[test]
    fn one_event_too_many_is_as_if_all_were_missed() -> Result {
        let inbox = filled((0..=LEN).map(|number| match number {
            0 => Work::Subscribe(UNIT),
            _ => nth(number),
        }))?;

        assert!(holds(&inbox, [Work::Reconcile, Work::Subscribe(UNIT)]));
        Ok(())
    }

    #[test]
    fn too_many_new_units_are_left_to_reconciling() -> Result {
        let inbox =
            filled((0..=LEN).filter_map(|number| nth(number).address().map(Work::Subscribe)))?;

        assert!(holds(&inbox, [Work::Reconcile]));
        Ok(())
    }
}

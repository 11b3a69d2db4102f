// SPDX-License-Identifier: GPL-2.0

//! KUnit tests of a device's life, which is the table of `states.rs` under its lock.

use super::*;
use crate::kernel_glue::Stamp;
use kernel::{
    sync::Arc,
    time::msecs_to_jiffies, //
};

/// All states.
const STATES: [State; 7] = [
    State::Live,
    State::Down(Cause::Probe),
    State::Down(Cause::Driver),
    State::Down(Cause::Suspend),
    State::Down(Cause::Transport),
    State::Waiting,
    State::Gone,
];

/// Returns a life in a state, which it has come to by steps.
fn life_in(state: State) -> Result<Arc<Life>> {
    let life = Arc::pin_init(Life::new(None), GFP_KERNEL)?;

    match state {
        State::Live => drop(life.take(Step::BringUp)),
        State::Down(Cause::Probe) => {}
        State::Down(cause) => {
            life.take(Step::BringUp);
            life.take(Step::TakeDown(cause));
        }
        State::Waiting => drop(life.take(Step::Lack)),
        State::Gone => drop(life.take(Step::GiveUp)),
    }
    Ok(life)
}

/// Returns what the head of `states.rs` has in the row of a state and the column of a step.
fn expected(state: State, step: Step) -> Answer {
    match (state, step) {
        (State::Live, Step::TakeDown(cause)) => Answer::Go(State::Down(cause)),
        (State::Live, Step::BringUp) => Answer::Nothing,
        (State::Live, Step::Lack) => Answer::Nothing,
        (State::Live, Step::GiveUp) => Answer::Go(State::Gone),
        (State::Down(_), Step::TakeDown(_)) => Answer::Wait,
        (State::Down(_), Step::BringUp) => Answer::Go(State::Live),
        (State::Down(_), Step::Lack) => Answer::Go(State::Waiting),
        (State::Down(_), Step::GiveUp) => Answer::Go(State::Gone),
        (State::Waiting, Step::TakeDown(cause)) => Answer::Go(State::Down(cause)),
        (State::Waiting, Step::BringUp) => Answer::Nothing,
        (State::Waiting, Step::Lack) => Answer::Nothing,
        (State::Waiting, Step::GiveUp) => Answer::Go(State::Gone),
        (State::Gone, _) => Answer::Nothing,
    }
}

/// Returns whether a step has the table's answer in each state, and leads to the state in the
/// answer.
fn is_as_in_the_table(step: Step) -> Result<bool> {
    for state in STATES {
        let life = life_in(state)?;
        let answer = expected(state, step);
        let next = if let Answer::Go(next) = answer {
            next
        } else {
            state
        };

        if life.state() != state || life.take(step) != answer || life.state() != next {
            return Ok(false);
        }
    }
    Ok(true)
}

#[kunit_tests(virtio_scsi_rs_life)]
mod life {
    use super::*;

    #[test]
    fn take_down_is_as_in_the_table() -> Result {
        for cause in Cause::ALL {
            assert!(is_as_in_the_table(Step::TakeDown(cause))?);
        }
        Ok(())
    }

    #[test]
    fn bring_up_is_as_in_the_table() -> Result {
        assert!(is_as_in_the_table(Step::BringUp)?);
        Ok(())
    }

    #[test]
    fn lack_is_as_in_the_table() -> Result {
        assert!(is_as_in_the_table(Step::Lack)?);
        Ok(())
    }

    #[test]
    fn give_up_is_as_in_the_table() -> Result {
        assert!(is_as_in_the_table(Step::GiveUp)?);
        Ok(())
    }

    #[test]
    fn first_virtqueues_are_no_reset() -> Result {
        let life = life_in(State::Down(Cause::Probe))?;

        assert!(life.bring_up());
        assert_eq!(life.resets(), 0);
        Ok(())
    }

    #[test]
    fn device_that_comes_back_was_reset_once() -> Result {
        let life = life_in(State::Live)?;

        for resets in 1..4 {
            assert_eq!(
                life.take_down(Cause::Driver),
                Answer::Go(State::Down(Cause::Driver))
            );
            assert_eq!(life.take_down(Cause::Transport), Answer::Wait);
            assert_eq!(life.resets(), resets - 1);
            assert!(life.bring_up());
            assert!(!life.bring_up());
            assert_eq!(life.resets(), resets);
        }
        Ok(())
    }

    #[test]
    fn device_that_lacked_interrupts_was_reset_once() -> Result {
        let life = life_in(State::Live)?;

        life.take_down(Cause::Driver);
        assert!(life.lack());
        assert_eq!(life.resets(), 0);
        life.take_down(Cause::Driver);
        assert!(life.bring_up());
        assert_eq!(life.resets(), 1);
        Ok(())
    }

    #[test]
    fn device_that_is_unbound_does_not_wait_for_interrupts() -> Result {
        let life = life_in(State::Down(Cause::Driver))?;

        assert!(!life.is_leaving());
        life.leave();
        assert!(life.is_leaving());
        assert!(!life.lack());
        assert_eq!(life.state(), State::Down(Cause::Driver));
        assert!(life.bring_up());
        Ok(())
    }

    #[test]
    fn device_is_given_up_once() -> Result {
        let life = life_in(State::Down(Cause::Suspend))?;

        assert!(!life.is_gone());
        assert!(life.give_up());
        assert!(!life.give_up());
        assert!(life.is_gone());
        assert!(life.is_leaving());
        assert!(!life.bring_up());
        Ok(())
    }

    #[test]
    fn settled_device_is_not_waited_for() -> Result {
        for state in [State::Live, State::Waiting, State::Gone] {
            let life = life_in(state)?;
            let began = Stamp::now();

            assert_eq!(life.settle(10_000), state);
            assert!(began.elapsed() < msecs_to_jiffies(5_000));
        }
        Ok(())
    }

    #[test]
    fn device_that_is_down_is_waited_for_as_long_as_was_asked() -> Result {
        let life = life_in(State::Down(Cause::Transport))?;
        let began = Stamp::now();

        assert_eq!(life.settle(100), State::Down(Cause::Transport));
        assert!(began.elapsed() >= msecs_to_jiffies(90));
        Ok(())
    }
}

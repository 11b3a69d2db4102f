// SPDX-License-Identifier: GPL-2.0

//! KUnit tests of the life of virtqueues.

use super::*;
use crate::{
    kernel_glue::{
        DeviceBuffer,
        Stamp, //
    },
    virtio_glue::{
        AddError,
        FakeDevice,
        Manner, //
    },
};
use kernel::{
    sync::{
        atomic::Relaxed,
        Arc, //
    },
    time::msecs_to_jiffies, //
};
use recorder::{
    Recorder,
    TOKENS, //
};

mod recorder;

/// A device with two virtqueues.
struct Bench {
    device: FakeDevice,
    handlers: [Arc<Recorder>; 2],
    virtqueues: Arc<Virtqueues>,
}

impl Bench {
    /// Makes one that has no virtqueues yet.
    fn new(at_once: usize) -> Result<Self> {
        let device = FakeDevice::new()?;
        let handlers = [Recorder::new(at_once)?, Recorder::new(at_once)?];
        let mut list = Handlers::new();

        for handler in &handlers {
            list.push(handler.clone())?;
        }

        let virtqueues = device.virtqueues();

        virtqueues.assign(list)?;

        Ok(Self {
            device,
            handlers,
            virtqueues,
        })
    }

    /// Makes one whose virtqueues are in use.
    fn started(at_once: usize) -> Result<Self> {
        let bench = Self::new(at_once)?;

        bench.create(2)?;
        bench.start();
        Ok(bench)
    }

    fn create(&self, count: usize) -> Result {
        self.virtqueues.create(count, 0)
    }

    fn start(&self) {
        self.virtqueues.start();
    }
}

#[kunit_tests(virtio_scsi_rs_virtqueues)]
mod virtqueues {
    use super::*;

    #[test]
    fn nothing_is_added_before_the_start() -> Result {
        let bench = Bench::new(TOKENS)?;

        assert_eq!(bench.handlers[0].add(1)?, Some(AddError::Gone));
        bench.create(2)?;
        assert_eq!(bench.handlers[0].add(1)?, Some(AddError::Gone));
        assert_eq!(bench.device.bound().status(), 0);
        bench.start();
        assert!(bench.device.bound().status() != 0);
        assert!(bench.handlers[0].add(1)?.is_none());
        assert_eq!(bench.device.held(0), 1);
        Ok(())
    }

    #[test]
    fn used_buffers_come_back_to_their_handler() -> Result {
        let bench = Bench::started(TOKENS)?;

        bench.device.behave(Manner::Use(5));
        assert!(bench.handlers[0].add(1)?.is_none());
        assert!(bench.handlers[1].add(2)?.is_none());
        assert!(bench.handlers[1].add(3)?.is_none());
        assert!(bench.handlers[0].has_used(&[(1, 5)]));
        assert!(bench.handlers[1].has_used(&[(2, 5), (3, 5)]));
        assert_eq!(bench.handlers[1].together.load(Relaxed), 2);

        let ring = bench.handlers[1].ring.lock();
        let (taken, in_flight) = (ring.taken(), ring.in_flight());

        drop(ring);
        assert_eq!((taken, in_flight), (2, 0));
        Ok(())
    }

    #[test]
    fn handler_that_leaves_a_rest_is_called_again() -> Result {
        let bench = Bench::started(1)?;

        for number in 1..=3 {
            assert!(bench.handlers[0].add(number)?.is_none());
        }
        for byte in 1..=3 {
            assert!(bench.device.use_next(0, byte));
        }
        bench.device.interrupt(0);

        let began = Stamp::now();

        while bench.handlers[0].calls.load(Relaxed) < 4 && began.elapsed() < msecs_to_jiffies(5_000)
        {
            fsleep(Delta::from_millis(1));
        }
        assert!(bench.handlers[0].has_used(&[(1, 1), (2, 2), (3, 3)]));
        Ok(())
    }

    #[test]
    fn virtqueues_are_not_created_twice() -> Result {
        let bench = Bench::started(TOKENS)?;

        assert_eq!(bench.create(2), Err(EBUSY));
        assert_eq!(bench.device.finds(), 1);
        assert!(bench.handlers[0].add(1)?.is_none());
        Ok(())
    }

    #[test]
    fn handlers_are_assigned_once() -> Result {
        let bench = Bench::started(TOKENS)?;

        assert_eq!(bench.virtqueues.assign(Handlers::new()), Err(EBUSY));
        assert!(bench.handlers[0].add(1)?.is_none());
        Ok(())
    }

    #[test]
    fn virtqueue_has_one_handler() -> Result {
        let recorder = Recorder::new(TOKENS)?;
        let mut list = Handlers::new();

        list.push(recorder.clone())?;
        assert_eq!(list.push(recorder.clone()), Err(EBUSY));
        assert_eq!(Handlers::new().push(recorder), Err(EBUSY));
        Ok(())
    }

    #[test]
    fn memory_that_the_token_does_not_own_is_not_added() -> Result {
        static GREETING: [u8; 4] = *b"ping";

        let bench = Bench::started(TOKENS)?;
        let mut ring = bench.handlers[0].ring.lock();
        let token = KBox::new((1, DeviceBuffer::default()), GFP_ATOMIC)?;
        let elsewhere = ring.add(token, |_, chain| chain.readable(&GREETING));
        let (token, error) = elsewhere.err().ok_or(EINVAL)?;

        assert_eq!(error, AddError::Invalid);

        let crowded = ring.add(token, |token, chain| {
            for _ in 0..7 {
                chain.writable(&token.1, 1);
            }
        });
        let (token, error) = crowded.err().ok_or(EINVAL)?;

        assert_eq!(error, AddError::Invalid);

        let mixed_up = ring.add(token, |token, chain| {
            chain.writable(&token.1, 1);
            chain.readable(core::slice::from_ref(&token.0));
        });
        let (token, error) = mixed_up.err().ok_or(EINVAL)?;

        assert_eq!(error, AddError::Invalid);
        assert!(ring
            .add(token, |token, chain| chain.writable(&token.1, 1))
            .is_ok());
        Ok(())
    }

    #[test]
    fn deletion_hands_back_what_the_device_had() -> Result {
        let bench = Bench::started(TOKENS)?;

        for number in 1..=3 {
            assert!(bench.handlers[0].add(number)?.is_none());
        }
        // Its interrupt does not come any more.
        assert!(bench.device.use_next(0, 7));
        bench.virtqueues.delete();
        assert_eq!(bench.device.resets(), 1);
        assert!(bench.handlers[0].has_used(&[(1, 7)]));
        assert!(bench.handlers[0].has_unused(&[2, 3]));
        assert!(bench.handlers[1].has_unused(&[]));
        assert_eq!(bench.handlers[0].ring.lock().in_flight(), 0);
        assert_eq!(bench.handlers[0].add(4)?, Some(AddError::Gone));
        Ok(())
    }

    #[test]
    fn deletion_ends_although_the_device_makes_up_used_buffers() -> Result {
        // Such a handler has always more to do, and gets nowhere.
        let bench = Bench::started(0)?;

        assert!(bench.handlers[0].add(1)?.is_none());
        assert!(bench.device.use_next(0, 7));
        bench.virtqueues.delete();
        assert!(bench.handlers[0].has_unused(&[1]));
        assert_eq!(bench.handlers[0].ring.lock().in_flight(), 0);
        Ok(())
    }

    #[test]
    fn virtqueues_are_deleted_once() -> Result {
        let bench = Bench::new(TOKENS)?;

        bench.virtqueues.delete();
        assert_eq!(bench.device.resets(), 0);
        bench.create(2)?;
        bench.virtqueues.delete();
        bench.virtqueues.delete();
        assert_eq!(bench.device.resets(), 1);
        Ok(())
    }

    #[test]
    fn virtqueues_do_not_come_back_after_the_device_was_unbound() -> Result {
        let bench = Bench::started(TOKENS)?;

        assert!(bench.handlers[1].add(1)?.is_none());
        bench.virtqueues.retire();
        assert_eq!(bench.device.resets(), 1);
        assert!(bench.handlers[1].has_unused(&[1]));
        assert_eq!(bench.create(2), Err(ENODEV));
        bench.start();
        assert_eq!(bench.handlers[0].add(2)?, Some(AddError::Gone));
        assert!(!bench.virtqueues.are_lost() && !bench.virtqueues.needs_reset());
        assert_eq!(bench.device.finds(), 1);
        Ok(())
    }

    #[test]
    fn device_can_come_back_with_fewer_virtqueues() -> Result {
        let bench = Bench::started(TOKENS)?;

        bench.virtqueues.delete();
        bench.create(1)?;
        bench.start();
        assert!(bench.handlers[0].add(1)?.is_none());
        assert_eq!(bench.handlers[1].add(2)?, Some(AddError::Gone));
        assert!(!bench.virtqueues.are_lost());

        bench.virtqueues.delete();
        bench.create(9)?;
        bench.start();
        assert!(bench.handlers[1].add(3)?.is_none());
        Ok(())
    }

    #[test]
    fn virtqueues_are_created_again_while_memory_is_short() -> Result {
        let bench = Bench::new(TOKENS)?;

        bench.device.fail(2, ENOMEM);
        bench.virtqueues.create_again(2, 0)?;
        assert_eq!(bench.device.finds(), 3);
        bench.start();
        assert!(bench.handlers[1].add(1)?.is_none());
        Ok(())
    }

    #[test]
    fn virtqueues_that_fail_for_another_reason_are_not_created_again() -> Result {
        let bench = Bench::new(TOKENS)?;

        bench.device.fail(1, ENOENT);
        assert_eq!(bench.virtqueues.create_again(2, 0), Err(ENOENT));
        assert_eq!(bench.device.finds(), 1);
        assert_eq!(bench.handlers[0].add(1)?, Some(AddError::Gone));
        Ok(())
    }

    #[test]
    fn device_that_was_pulled_out_is_not_reset() -> Result {
        let bench = Bench::started(TOKENS)?;

        assert!(bench.handlers[0].add(1)?.is_none());
        assert!(!bench.virtqueues.are_lost());
        bench.device.pull_out();
        assert!(bench.virtqueues.are_lost());
        assert!(bench.virtqueues.is_any_broken());
        assert_eq!(bench.handlers[0].add(2)?, Some(AddError::Broken));
        bench.virtqueues.delete();
        assert_eq!(bench.device.resets(), 0);
        assert!(bench.handlers[0].has_unused(&[1]));
        Ok(())
    }
}

// SPDX-License-Identifier: GPL-2.0

//! KUnit tests of the controlq's slots.

use super::*;
use crate::virtio_glue::{
    FakeDevice,
    Handlers,
    Manner,
    Virtqueues, //
};
use kernel::{
    time::msecs_to_jiffies,
    workqueue, //
};

/// The index of the controlq among the virtqueues.
const CONTROL: u32 = 0;

/// A controlq and its device.
struct Bench {
    device: Arc<FakeDevice>,
    control: Arc<ControlQueue>,
    virtqueues: Arc<Virtqueues>,
}

impl Bench {
    /// Makes a controlq that has no ring.
    fn without_ring() -> Result<Self> {
        let device = Arc::new(FakeDevice::new()?, GFP_KERNEL)?;
        let control = ControlQueue::new(SharedState::new(device.bound())?)?;
        let mut handlers = Handlers::new();

        handlers.push(control.clone())?;

        let virtqueues = device.virtqueues();

        virtqueues.assign(handlers)?;

        Ok(Self {
            device,
            control,
            virtqueues,
        })
    }

    /// Makes a controlq that is in use.
    fn new() -> Result<Self> {
        let bench = Self::without_ring()?;

        bench.virtqueues.create(1, 0)?;
        bench.virtqueues.start();
        Ok(bench)
    }

    /// Has the device carry out a function. `timeout` is in milliseconds.
    fn execute(&self, timeout: u32) -> Result<u8> {
        let function = TaskManagement::LogicalUnitReset;

        self.control
            .execute(function, [0; 8], 0, msecs_to_jiffies(timeout))
    }

    /// Sends a function that the device does not answer.
    fn hold(&self) -> Result<u8> {
        self.device.behave(Manner::Hold);
        self.execute(10)
    }

    /// Returns how many slots are not on the virtqueue.
    fn idle(&self) -> usize {
        self.control.idle.lock().len()
    }
}

#[kunit_tests(virtio_scsi_rs_control)]
mod control {
    use super::*;

    #[test]
    fn answer_gets_to_its_sender() -> Result {
        let bench = Bench::new()?;

        for byte in 1..40 {
            bench.device.behave(Manner::Use(byte));
            assert_eq!(bench.execute(5_000), Ok(byte));
            assert_eq!(bench.idle(), REQUESTS);
        }
        Ok(())
    }

    #[test]
    fn answer_whose_interrupt_is_lost_gets_to_its_sender() -> Result {
        let bench = Bench::new()?;

        bench.device.behave(Manner::UseSilently(7));
        assert_eq!(bench.execute(10), Ok(7));
        assert_eq!(bench.idle(), REQUESTS);
        Ok(())
    }

    #[test]
    fn answer_without_a_response_is_one_that_does_not_exist() -> Result {
        let bench = Bench::new()?;

        // The slots are used one after the other: each has a response from before.
        for _ in 0..REQUESTS {
            bench.device.behave(Manner::Use(0));
            assert_eq!(bench.execute(5_000), Ok(0));
            bench.device.behave(Manner::UseUnwritten);
            assert_eq!(bench.execute(5_000), Ok(0xff));
        }
        Ok(())
    }

    #[test]
    fn sender_does_not_wait_longer_than_it_wants() -> Result {
        let bench = Bench::new()?;

        assert_eq!(bench.hold(), Err(ETIMEDOUT));
        assert_eq!(bench.device.held(CONTROL), 1);
        assert_eq!(bench.idle(), REQUESTS - 1);
        Ok(())
    }

    #[test]
    fn slot_of_a_late_answer_is_free_again() -> Result {
        let bench = Bench::new()?;

        assert_eq!(bench.hold(), Err(ETIMEDOUT));
        assert!(bench.device.use_next(CONTROL, 5));
        bench.device.interrupt(CONTROL);
        assert_eq!(bench.idle(), REQUESTS);
        Ok(())
    }

    #[test]
    fn late_answer_is_not_taken_for_that_to_another_request() -> Result {
        let bench = Bench::new()?;

        // The device answers the first request with the byte, the second with the next higher one.
        for byte in 1..40 {
            assert_eq!(bench.hold(), Err(ETIMEDOUT));
            bench.device.behave(Manner::Use(byte));
            assert_eq!(bench.execute(5_000), Ok(byte + 1));
            assert_eq!(bench.idle(), REQUESTS);
        }
        Ok(())
    }

    #[test]
    fn request_is_refused_when_all_slots_are_taken() -> Result {
        let bench = Bench::new()?;

        for taken in 0..REQUESTS {
            assert_eq!(bench.idle(), REQUESTS - taken);
            assert_eq!(bench.hold(), Err(ETIMEDOUT));
        }
        assert_eq!(bench.hold(), Err(EBUSY));
        assert_eq!(bench.device.held(CONTROL) as usize, REQUESTS);

        // One late answer makes room for one request.
        assert!(bench.device.use_next(CONTROL, 5));
        bench.device.interrupt(CONTROL);
        assert_eq!(bench.hold(), Err(ETIMEDOUT));
        assert_eq!(bench.hold(), Err(EBUSY));
        Ok(())
    }

    #[test]
    fn second_answer_to_the_same_request_breaks_the_ring() -> Result {
        let bench = Bench::new()?;

        bench.device.behave(Manner::Use(1));
        assert_eq!(bench.execute(5_000), Ok(1));
        assert!(bench.device.use_again(CONTROL));
        bench.device.interrupt(CONTROL);
        assert_eq!(bench.idle(), REQUESTS);
        assert!(bench.virtqueues.is_any_broken());
        assert_eq!(bench.execute(5_000), Err(EIO));
        assert_eq!(bench.idle(), REQUESTS);
        Ok(())
    }

    #[test]
    fn request_without_a_ring_is_refused() -> Result {
        let bench = Bench::without_ring()?;

        assert_eq!(bench.execute(5_000), Err(EIO));
        assert_eq!(bench.idle(), REQUESTS);
        Ok(())
    }

    #[test]
    fn reset_ends_the_request_that_is_waited_for() -> Result {
        let bench = Bench::new()?;
        let (device, virtqueues) = (bench.device.clone(), bench.virtqueues.clone());

        bench.device.behave(Manner::Hold);
        workqueue::system_unbound().try_spawn(GFP_KERNEL, move || {
            while device.held(CONTROL) == 0 {
                fsleep(Delta::from_millis(1));
            }
            virtqueues.delete();
        })?;
        assert_eq!(bench.execute(20_000), Err(EIO));
        assert_eq!(bench.idle(), REQUESTS);
        Ok(())
    }

    #[test]
    fn reset_frees_the_slots_that_nobody_waits_for() -> Result {
        let bench = Bench::new()?;

        for _ in 0..REQUESTS {
            assert_eq!(bench.hold(), Err(ETIMEDOUT));
        }
        bench.virtqueues.delete();
        assert_eq!(bench.idle(), REQUESTS);

        // All of them can be used again.
        bench.virtqueues.create(1, 0)?;
        bench.virtqueues.start();
        for _ in 0..REQUESTS {
            bench.device.behave(Manner::Use(9));
            assert_eq!(bench.execute(5_000), Ok(9));
        }
        Ok(())
    }
}

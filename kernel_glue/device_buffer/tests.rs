// SPDX-License-Identifier: GPL-2.0

//! KUnit tests of the memory that a device writes.

use super::*;
use kernel::prelude::*;

const SIZE: usize = 40;

/// A buffer behind a byte, so that its words are not aligned.
#[repr(C)]
struct Odd {
    before: u8,
    buffer: DeviceBuffer<[u8; SIZE]>,
    behind: u8,
}

/// Returns the byte that is written at an offset. None is 0.
fn byte(offset: usize) -> u8 {
    (offset % 250 + 1) as u8
}

/// Returns whether a preset of `N` bytes writes these and no others.
fn is_preset<const N: usize>() -> bool {
    let mut odd = Odd {
        before: 0xee,
        buffer: DeviceBuffer::default(),
        behind: 0xee,
    };

    odd.buffer.preset::<N>(core::array::from_fn(byte));

    let Some(bytes) = odd.buffer.copy::<SIZE>(0) else {
        return false;
    };
    let expected = |offset| if offset < N { byte(offset) } else { 0 };

    (odd.before, odd.behind) == (0xee, 0xee)
        && bytes
            .iter()
            .enumerate()
            .all(|(offset, byte)| *byte == expected(offset))
}

#[kunit_tests(virtio_scsi_rs_device_buffer)]
mod device_buffer {
    use super::*;

    #[test]
    fn preset_writes_its_bytes_and_no_others() {
        assert!(is_preset::<0>());
        assert!(is_preset::<1>());
        assert!(is_preset::<4>());
        assert!(is_preset::<7>());
        assert!(is_preset::<8>());
        assert!(is_preset::<12>());
        assert!(is_preset::<15>());
        assert!(is_preset::<SIZE>());
    }

    #[test]
    fn copy_reads_from_an_offset_and_not_beyond_the_end() {
        let mut buffer = DeviceBuffer::<[u8; SIZE]>::default();

        buffer.preset::<SIZE>(core::array::from_fn(byte));
        assert_eq!(buffer.copy::<3>(5), Some([byte(5), byte(6), byte(7)]));
        assert_eq!(
            buffer.copy::<13>(1),
            Some(core::array::from_fn(|i| byte(1 + i)))
        );
        assert!(buffer.copy::<1>(SIZE - 1).is_some());
        assert!(buffer.copy::<2>(SIZE - 1).is_none());
        assert!(buffer.copy::<1>(usize::MAX).is_none());
    }
}

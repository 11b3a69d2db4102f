// SPDX-License-Identifier: GPL-2.0

//! Times in units that suit them.

use crate::latency::LAST;

/// A time in a unit that suits it.
pub fn time(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    match seconds {
        0 => format!("{milliseconds} ms"),
        1..120 => format!("{seconds}.{} s", milliseconds % 1000 / 100),
        120..7200 => format!("{} min {} s", seconds / 60, seconds % 60),
        7200..172_800 => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86400, seconds / 3600 % 24),
    }
}

/// A bound of the times in a range, from the end of the range in microseconds. An upper bound is
/// rounded up, so that it holds. The last range has only a lower one.
pub fn below(microseconds: u64) -> String {
    match microseconds {
        0..10_000 => format!("< {microseconds} us"),
        10_000..10_000_000 => format!("< {} ms", microseconds.div_ceil(1000)),
        10_000_000..LAST => format!("< {} s", microseconds.div_ceil(1_000_000)),
        LAST.. => format!(">= {} s", LAST / 2 / 1_000_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_unit_that_suits_it() {
        for (milliseconds, expected) in [
            (0, "0 ms"),
            (999, "999 ms"),
            (1000, "1.0 s"),
            (119_999, "119.9 s"),
            (120_000, "2 min 0 s"),
            (7_199_999, "119 min 59 s"),
            (7_200_000, "2 h 0 min"),
            (172_800_000, "2 d 0 h"),
            (u64::MAX, "213503982334 d 14 h"),
        ] {
            assert_eq!(time(milliseconds), expected);
        }
    }

    #[test]
    fn a_bound_holds_whatever_its_unit() {
        for (microseconds, expected) in [
            (1, "< 1 us"),
            (8192, "< 8192 us"),
            (16_384, "< 17 ms"),
            (8_388_608, "< 8389 ms"),
            (16_777_216, "< 17 s"),
            (1 << 30, "< 1074 s"),
            (1 << 31, ">= 1073 s"),
            (u64::MAX, ">= 1073 s"),
        ] {
            assert_eq!(below(microseconds), expected);
        }
    }
}

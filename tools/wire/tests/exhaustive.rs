// SPDX-License-Identifier: GPL-2.0

//! What has to hold for all that a device can write, tried with all of it.
//!
//! Decoders are tried with each of their inputs, or with all values of the bytes that decide.
//! Fields of 32 bits are tried with all values up to 2^22 and around each power of two: `cargo test
//! -- --ignored` tries all, which takes minutes.

mod common;

use common::{ORDINARY, UNSET};
use virtio_scsi_wire::protocol::{
    address::{Address, LUN_FLAT, LUN_MAX},
    adjustments::Adjustments,
    byte_order::ByteOrder,
    cdb::is_media_change,
    command::{Layout, ResponseHeader},
    config::Config,
    event::{Event, EventInfo},
    limits::{Limits, Platform, Rings, EVENT_SIZE, EVENT_SIZE_MAX, SECTORS_TOLD_MIN},
    report_luns::List,
    response::{function_done, Outcome, QueryAnswer},
    sense::{SenseCode, SENSE_HEAD},
    vpd::{is_unit, Presence},
};

const PLATFORM: Platform = Platform {
    queues: 8,
    mapping: u64::MAX,
};

/// What [`Limits`] has to be for any configuration, as far as a single field decides it.
fn is_usable(limits: &Limits) -> bool {
    limits.interrupt_queues >= 1
        && limits.request_queues() <= PLATFORM.queues
        && limits.segments >= 1
        && limits.sectors >= SECTORS_TOLD_MIN
        && limits.segment_len >= 65536
        && (1..=32767).contains(&limits.commands_per_lun)
        && (LUN_FLAT..=LUN_FLAT + u64::from(LUN_MAX)).contains(&limits.last_lun)
        && (EVENT_SIZE..=EVENT_SIZE_MAX).contains(&limits.event_size)
}

/// What a value of a field has to lead to.
type Check = fn(u32, Option<&Limits>, &Adjustments) -> bool;

/// Sets a field.
type Set = fn(&mut Config, u32);

/// The fields of the configuration space that have 32 bits, and decide something by themselves.
const FIELDS: [(Set, Check); 6] = [
    (
        |config, value| config.num_queues = value,
        |value, limits, adjustments| {
            limits.is_some_and(|limits| limits.request_queues() == value.clamp(1, PLATFORM.queues))
                && adjustments.is_empty() == (value != 0)
        },
    ),
    (
        |config, value| config.seg_max = value,
        |value, limits, adjustments| {
            limits.is_some_and(|limits| u32::from(limits.segments) == value.clamp(1, 65535))
                && adjustments.is_empty() == (1..=65535).contains(&value)
        },
    ),
    (
        |config, value| config.max_sectors = value,
        |value, limits, _| match value {
            0 => limits.is_some_and(|limits| limits.sectors == 0xffff),
            1..=7 => limits.is_none(),
            _ => limits.is_some_and(|limits| limits.sectors == value.max(128)),
        },
    ),
    (
        |config, value| config.cmd_per_lun = value,
        |value, limits, adjustments| {
            limits.is_some_and(|limits| u32::from(limits.commands_per_lun) == value.clamp(1, 32767))
                && adjustments.is_empty() == (1..=32767).contains(&value)
        },
    ),
    (
        |config, value| config.event_info_size = value,
        |value, limits, _| match value {
            0..=256 => limits.is_some_and(|limits| limits.event_size == value.max(16)),
            _ => limits.is_none(),
        },
    ),
    (
        |config, value| config.max_lun = value,
        |value, limits, adjustments| {
            limits.is_some_and(|limits| limits.last_lun == 0x4000 + u64::from(value.min(16383)))
                && adjustments.is_empty() == (value <= 16383)
        },
    ),
];

/// Tries values of each field of the configuration space.
fn try_configurations(values: impl Iterator<Item = u32> + Clone) {
    for (field, check) in FIELDS {
        let mut config = ORDINARY;

        for value in values.clone() {
            let mut adjustments = Adjustments::default();

            field(&mut config, value);
            let limits = Limits::new(&config, &UNSET, PLATFORM, &mut adjustments).ok();

            assert!(limits.as_ref().is_none_or(is_usable), "{config:?}");
            assert!(
                check(value, limits.as_ref(), &adjustments),
                "{config:?}: {limits:?}"
            );
        }
    }
}

/// Values of a field of 32 bits: all up to beyond 16 bits and more, and around all powers of two.
fn values() -> impl Iterator<Item = u32> + Clone {
    let around = (0..32).flat_map(|bit| (1_u32 << bit).saturating_sub(600)..=(1 << bit) + 600);

    (0..1 << 22).chain(around).chain(u32::MAX - 600..=u32::MAX)
}

#[test]
fn each_field_of_the_configuration() {
    try_configurations(values());
}

#[test]
#[ignore = "takes minutes"]
fn every_value_of_each_field_of_the_configuration() {
    try_configurations(0..=u32::MAX);
}

#[test]
fn every_highest_target() {
    for max_target in 0..=u16::MAX {
        let mut adjustments = Adjustments::default();
        let config = Config {
            max_target,
            ..ORDINARY
        };
        let limits = Limits::new(&config, &UNSET, PLATFORM, &mut adjustments).unwrap();

        assert_eq!(u16::from(limits.last_target), max_target.min(255));
        assert_eq!(adjustments.is_empty(), max_target <= 255);
    }
}

#[test]
fn every_size_of_a_ring() {
    // A virtqueue has 32768 descriptors at most.
    for size in 0..=0x8000 {
        for (indirect, protection) in [(false, false), (false, true), (true, false), (true, true)] {
            let mut adjustments = Adjustments::default();
            let limits = Limits::new(&ORDINARY, &UNSET, PLATFORM, &mut adjustments).unwrap();
            let layout = Layout {
                protection,
                ..Layout::WANTED
            };
            let rings = Rings {
                size,
                control: 2,
                indirect,
            };
            let Ok(fit) = limits.fit(layout, rings, &mut adjustments) else {
                assert!(size < 3);
                continue;
            };
            let lists = if fit.protection { 2 } else { 1 };

            // The longest chain of a command is no longer than the ring.
            assert!(size >= 3 && 2 + lists * u32::from(fit.segments) <= size);
            assert!((1..=size).contains(&fit.commands_per_queue));
            assert_eq!(fit.still_served(&limits, layout, rings), Ok(()));
        }
    }
}

#[test]
fn every_size_of_cdb_and_sense_data() {
    let sizes = || (0..1_u32 << 9).chain(u32::MAX - 9..=u32::MAX);

    for cdb in sizes() {
        for sense in sizes() {
            let layout = Layout::new(cdb, sense, true, &mut Adjustments::default());

            assert_eq!(layout.is_ok(), (6..=32).contains(&cdb) && sense <= 252);
            if let Ok(layout) = layout {
                // No longer than the memory of a command.
                assert_eq!(layout.request_len(), 27 + cdb as usize);
                assert_eq!(layout.response_len(), 12 + sense as usize);
            }
        }
    }
}

#[test]
fn every_lun_field() {
    let mut count = 0_u64;

    // The last four bytes are zero, or it is no address: see below.
    for head in 0..=u32::MAX {
        let [a, target, high, low] = head.to_be_bytes();
        let expected = match (a, high) {
            (1, 0) => Some(u64::from(low)),
            (1, 0x40) => Some(u64::from(low)),
            (1, 0x41..=0x7f) => Some(u64::from(u16::from_be_bytes([high, low]))),
            _ => None,
        };
        let found = Address::decode([a, target, high, low, 0, 0, 0, 0]);

        assert_eq!(found.map(|address| address.lun), expected, "{head:#x}");
        if let Some(address) = found {
            count += 1;
            assert_eq!(address.target, target);
            // It can be asked for, by the same number.
            let number = (u16::from_be_bytes([high, low]) & LUN_MAX) | LUN_FLAT as u16;
            let [high, low] = number.to_be_bytes();
            assert_eq!(address.encode(), Some([1, target, high, low, 0, 0, 0, 0]));
        }
    }
    // Each target has those below 256 in both formats.
    assert_eq!(count, 256 * (256 + 16384));

    for at in 4..8 {
        for byte in 1..=u8::MAX {
            let mut field = [1, 0, 0x40, 0, 0, 0, 0, 0];
            field[at] = byte;
            assert_eq!(Address::decode(field), None);
        }
    }
}

#[test]
fn every_number_of_a_unit() {
    for lun in (0..=u64::from(u16::MAX)).chain([1 << 16, 1 << 32, u64::MAX]) {
        let field = Address { target: 7, lun }.encode();

        assert_eq!(field.is_some(), lun < 2 * LUN_FLAT, "{lun:#x}");
    }
}

/// Returns an event as the device writes it, of target 1, LUN 2.
fn event(order: ByteOrder, code: u32, reason: u32) -> EventInfo {
    let [c0, c1, c2, c3] = order.from_u32(code);
    let [r0, r1, r2, r3] = order.from_u32(reason);

    EventInfo::decode(
        order,
        [c0, c1, c2, c3, 1, 1, 0, 2, 0, 0, 0, 0, r0, r1, r2, r3],
    )
}

/// Tries codes of an event.
fn try_events(codes: impl Iterator<Item = u32>) {
    const MISSED: u32 = 1 << 31;

    for code in codes {
        let EventInfo { missed, event } = event(ByteOrder::Little, code, 1);

        assert_eq!(missed, code & MISSED != 0);
        assert_eq!(
            event == Event::Unknown,
            code & !MISSED > 3,
            "{code:#x} is {event:?}"
        );
    }
}

#[test]
fn every_event() {
    const MISSED: u32 = 1 << 31;

    try_events(values().chain(values().map(|code| code | MISSED)));
}

#[test]
#[ignore = "takes a minute"]
fn every_event_of_32_bits() {
    try_events(0..=u32::MAX);
}

/// Tries reasons of events.
fn try_reasons(reasons: impl Iterator<Item = u32>) {
    let address = Address { target: 1, lun: 2 };

    for reason in reasons {
        let reset = event(ByteOrder::Little, 1, reason).event;
        let expected = match reason {
            0 => Event::HardReset(address),
            1 => Event::Rescan(address),
            2 => Event::Removed(address),
            _ => Event::Unknown,
        };
        assert_eq!(reset, expected);

        let change = event(ByteOrder::Little, 3, reason).event;
        let [asc, ascq, ..] = reason.to_le_bytes();
        let expected = match reason {
            0..=0xffff => Event::ParameterChange { address, asc, ascq },
            _ => Event::Unknown,
        };
        assert_eq!(change, expected);
    }
}

#[test]
fn every_reason_of_an_event() {
    try_reasons(values());
}

#[test]
#[ignore = "takes a minute"]
fn every_reason_of_32_bits() {
    try_reasons(0..=u32::MAX);
}

#[test]
fn every_response_code() {
    for code in 0..=u8::MAX {
        for abort in [false, true] {
            let outcome = Outcome::of_command(code, abort);

            // Only 0 lets the status byte decide, so nothing else can be success.
            assert_eq!(outcome == Outcome::Status, code == 0);
            // Those of functions alone, and those that nobody has defined.
            assert_eq!(
                outcome == Outcome::Violation,
                matches!(code, 10 | 11 | 13..),
                "{code}"
            );
            assert_eq!(outcome == Outcome::Abort, abort && code == 2);
        }
        assert_eq!(function_done(code), matches!(code, 0 | 10));
        assert_eq!(QueryAnswer::of(code) == QueryAnswer::Held, code == 10);
    }
}

#[test]
fn every_status_and_response_code() {
    for status in 0..=u8::MAX {
        for response in 0..=u8::MAX {
            for qualifier in [0, 1, 0x80, 0xff] {
                let header = [
                    0, 0, 0, 0, 0, 0, 0, 0, qualifier, qualifier, status, response,
                ];
                let decoded = ResponseHeader::decode(ByteOrder::Little, header);

                assert_eq!((decoded.status, decoded.response), (status, response));
                assert_eq!(
                    ResponseHeader::is_success(&header),
                    status == 0 && response == 0
                );
            }
        }
    }
}

#[test]
fn every_sense_code() {
    // Format, key, code and qualifier, each with all its values.
    for format in 0..=u8::MAX {
        for key in 0..=u8::MAX {
            for (asc, ascq) in (0..=u8::MAX).flat_map(|asc| [0, 0x0e, 0xff].map(|q| (asc, q))) {
                let mut bytes = [0; SENSE_HEAD];
                let (at_key, at_asc) = if format & 0x7f == 0x70 {
                    (2, 12)
                } else {
                    (1, 2)
                };

                (bytes[0], bytes[at_key]) = (format, key);
                (bytes[at_asc], bytes[at_asc + 1]) = (asc, ascq);
                let found = SenseCode::decode(bytes, SENSE_HEAD);
                let expected = matches!(format & 0x7f, 0x70 | 0x72).then_some(SenseCode {
                    key: key & 0x0f,
                    asc,
                    ascq,
                });
                assert_eq!(found, expected);
            }
        }
    }
    // What is beyond the length that the device claims counts as 0.
    for len in 0..=SENSE_HEAD {
        let mut fixed = [0xff; SENSE_HEAD];
        fixed[0] = 0x70;
        let code = SenseCode::decode(fixed, len);

        assert_eq!(code.is_some(), len > 0);
        if let Some(code) = code {
            assert_eq!(code.key, if len > 2 { 0x0f } else { 0 });
            assert_eq!(code.asc, if len > 12 { 0xff } else { 0 });
            assert_eq!(code.ascq, if len > 13 { 0xff } else { 0 });
        }
    }
}

#[test]
fn every_first_byte_of_inquiry_data() {
    for now in 0..=u8::MAX {
        let (qualifier, kind) = (now >> 5, now & 0x1f);

        assert_eq!(
            is_unit(now),
            qualifier == 0 || qualifier != 3 && kind != 0x1f
        );
        for kept in 0..=u8::MAX {
            let presence = Presence::of(kept, now);

            assert_eq!(presence == Presence::Gone, !is_unit(now));
            if presence == Presence::Same {
                assert_eq!((kept & 0x1f, kept >> 5 == 0), (kind, qualifier == 0));
            }
        }
    }
}

#[test]
fn every_length_of_a_list_of_units() {
    // The data that the device has transferred, and the length that it claims for the list.
    for len in (0..2_000)
        .chain((0..32).map(|bit| 1_u32 << bit))
        .chain([u32::MAX])
    {
        for read in [0, 7, 8, 15, 16, 17, 1024] {
            let mut data = vec![0; read];
            for (to, from) in data.iter_mut().zip(len.to_be_bytes()) {
                *to = from;
            }
            let list = List::decode(&data);

            assert_eq!(list.is_some(), read >= 8);
            if let Some(list) = list {
                let room = (read - 8) / 8;
                assert!(list.luns().count() <= room.min(len as usize / 8));
                assert_eq!(list.is_cut_off(), len > 1016);
            }
        }
    }
}

#[test]
fn every_media_event() {
    for code in 0..=u8::MAX {
        let data = [0, 0, 0, 0, code];

        assert_eq!(is_media_change(&data), matches!(code & 0x0f, 2..=4));
        assert!(!is_media_change(&data[..4]));
    }
}

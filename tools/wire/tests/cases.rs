// SPDX-License-Identifier: GPL-2.0

//! Devices, users and answers that are worth a test of their own.

mod common;

use common::{ORDINARY, UNSET};
use virtio_scsi_wire::protocol::{
    address::Address,
    adjustments::Adjustments,
    byte_order::ByteOrder,
    command::Layout,
    config::Config,
    event::{Event, EventInfo, PRESET},
    limits::{Limits, Platform, Rings},
    response::{function_done, Outcome, QueryAnswer},
    settings::Settings,
    states::{Answer, Cause, State, Step},
};

/// A system with so many processors, which maps what it is asked to.
fn system(queues: u32) -> Platform {
    Platform {
        queues,
        mapping: u64::MAX,
    }
}

/// Request queues whose smallest has so many descriptors, and a controlq that just takes a request.
fn ring(size: u32, indirect: bool) -> Rings {
    Rings {
        size,
        control: 2,
        indirect,
    }
}

#[test]
fn every_edge_of_the_table_of_states() {
    let states: Vec<State> = [State::Live, State::Waiting, State::Gone]
        .into_iter()
        .chain(Cause::ALL.map(State::Down))
        .collect();
    let steps: Vec<Step> = [Step::BringUp, Step::Lack, Step::GiveUp]
        .into_iter()
        .chain(Cause::ALL.map(Step::TakeDown))
        .collect();

    for &state in &states {
        for &step in &steps {
            let answer = state.on(step);
            let expected = match (state, step) {
                (State::Gone, _) | (State::Live | State::Waiting, Step::BringUp | Step::Lack) => {
                    Answer::Nothing
                }
                (State::Live | State::Waiting, Step::TakeDown(cause)) => {
                    Answer::Go(State::Down(cause))
                }
                (State::Down(_), Step::TakeDown(_)) => Answer::Wait,
                (State::Down(_), Step::BringUp) => Answer::Go(State::Live),
                (State::Down(_), Step::Lack) => Answer::Go(State::Waiting),
                (State::Live | State::Down(_) | State::Waiting, Step::GiveUp) => {
                    Answer::Go(State::Gone)
                }
            };

            assert_eq!(answer, expected, "{state:?} on {step:?}");
            // Nobody is told to wait for a state that nobody has to end.
            assert!(answer != Answer::Wait || !state.is_settled());
        }
        // Whatever happened before, a device can be given up in one step, and is given up for good.
        assert!(matches!(
            state.on(Step::GiveUp),
            Answer::Go(State::Gone) | Answer::Nothing
        ));
    }
    assert_eq!(
        states.iter().filter(|state| state.is_settled()).count(),
        3,
        "nobody resets a device in Live, Waiting and Gone only"
    );
}

#[test]
fn an_answer_to_query_task() {
    for code in 0..=u8::MAX {
        let expected = match code {
            10 => QueryAnswer::Held,
            // Complete; no such target; no such logical unit.
            0 | 3 | 12 => QueryAnswer::NotHeld,
            _ => QueryAnswer::Refused,
        };
        assert_eq!(QueryAnswer::of(code), expected, "{code}");
    }
}

#[test]
fn a_command_is_no_larger_than_what_can_be_mapped() {
    for (mapping, sectors, segment_len) in [
        (256 << 10, 256, 256 << 10),
        ((256 << 10) - 1, 255, (256 << 10) - 1),
        // Less than a page of 64 KiB is not told to the block layer.
        (4096, 128, 65536),
        (0, 128, 65536),
        (u64::MAX, 0xffff, u32::MAX),
    ] {
        let mut adjustments = Adjustments::default();
        let platform = Platform { queues: 1, mapping };
        let limits = Limits::new(&ORDINARY, &UNSET, platform, &mut adjustments).unwrap();

        assert_eq!((limits.sectors, limits.segment_len), (sectors, segment_len));
        assert!(adjustments.is_empty());
    }
}

#[test]
fn the_block_layer_is_told_of_no_less_than_64_kib() {
    let mut adjustments = Adjustments::default();
    let config = Config {
        max_sectors: 8,
        ..ORDINARY
    };
    let limits = Limits::new(&config, &UNSET, system(1), &mut adjustments).unwrap();

    assert_eq!(limits.sectors, 128);
    assert_eq!(adjustments.to_string(), "max_sectors 8 -> 128");
}

#[test]
fn formats_that_devices_may_not_use_are_no_addresses() {
    assert_eq!(Address::decode([0, 0, 0x40, 0, 0, 0, 0, 0]), None);
    assert_eq!(Address::decode([1, 0, 0x01, 0, 0, 0, 0, 0]), None);
    assert_eq!(Address::decode([1, 0, 0x80, 0, 0, 0, 0, 0]), None);
    assert_eq!(Address::decode([1, 0, 0x40, 0, 0, 0, 0, 1]), None);
}

#[test]
fn an_ordinary_device_is_taken_as_it_is() {
    let mut adjustments = Adjustments::default();
    let limits = Limits::new(&ORDINARY, &UNSET, system(8), &mut adjustments).unwrap();
    let limits = limits
        .fit(Layout::WANTED, ring(128, true), &mut adjustments)
        .unwrap();

    assert_eq!((limits.interrupt_queues, limits.polled_queues), (4, 0));
    assert_eq!(
        (limits.sectors, limits.last_target, limits.last_lun),
        (0xffff, 255, 0x7fff)
    );
    assert_eq!(
        (
            limits.segments,
            limits.commands_per_queue,
            limits.commands_per_lun
        ),
        (126, 128, 128)
    );
    assert!(adjustments.is_empty());
}

#[test]
fn odd_values_are_told_by_name() {
    let config = Config {
        num_queues: 0,
        seg_max: 65536,
        max_sectors: 0,
        cmd_per_lun: 0,
        max_target: 256,
        max_lun: u32::MAX,
        ..ORDINARY
    };
    let mut adjustments = Adjustments::default();
    let limits = Limits::new(&config, &UNSET, system(1), &mut adjustments).unwrap();
    limits
        .fit(Layout::WANTED, ring(4, false), &mut adjustments)
        .unwrap();

    assert_eq!(
        adjustments.to_string(),
        "num_queues 0 -> 1, seg_max 65536 -> 65535, cmd_per_lun 0 -> 1, max_target 256 -> 255, \
         max_lun 4294967295 -> 16383, max_sectors 0 -> 65535, seg_max 65535 -> 2"
    );
}

#[test]
fn what_cannot_be_served_is_refused_by_name() {
    let mut adjustments = Adjustments::default();

    for (config, said) in [
        (
            Config {
                max_sectors: 7,
                ..ORDINARY
            },
            "max_sectors is 7: ",
        ),
        (
            Config {
                event_info_size: 257,
                ..ORDINARY
            },
            "event_info_size is 257: ",
        ),
    ] {
        let refusal = Limits::new(&config, &UNSET, system(1), &mut adjustments).unwrap_err();
        assert!(refusal.to_string().starts_with(said), "{refusal}");
    }
}

#[test]
fn a_controlq_without_room_for_a_request_is_refused_by_name() {
    let mut adjustments = Adjustments::default();
    let limits = Limits::new(&ORDINARY, &UNSET, system(1), &mut adjustments).unwrap();
    let before = limits
        .fit(Layout::WANTED, ring(128, true), &mut adjustments)
        .unwrap();

    for control in [0, 1] {
        for indirect in [false, true] {
            let rings = Rings {
                control,
                ..ring(128, indirect)
            };
            let refusal = limits
                .fit(Layout::WANTED, rings, &mut adjustments)
                .unwrap_err();
            let said = format!("controlq size is {control}: ");

            assert!(refusal.to_string().starts_with(&said), "{refusal}");
            // Nor is one that comes back with it from a reset.
            let refusal = before
                .still_served(&limits, Layout::WANTED, rings)
                .unwrap_err();

            assert!(refusal.to_string().starts_with(&said), "{refusal}");
        }
    }
}

#[test]
fn settings_that_make_no_sense_are_mistakes() {
    for (settings, word) in [
        (
            Settings {
                queue_depth: 32768,
                ..UNSET
            },
            "queue_depth",
        ),
        (
            Settings {
                request_queues: 65534,
                ..UNSET
            },
            "request_queues",
        ),
        (
            Settings {
                poll_queues: 65534,
                ..UNSET
            },
            "poll_queues",
        ),
        (
            Settings {
                poll_queues: 2,
                request_queues: 2,
                ..UNSET
            },
            "poll_queues",
        ),
    ] {
        assert!(settings
            .mistake()
            .is_some_and(|said| said.starts_with(word)));
    }
    for settings in [
        UNSET,
        Settings {
            poll_queues: 1,
            request_queues: 2,
            queue_depth: 32767,
            max_units: u32::MAX,
        },
        Settings {
            poll_queues: 9,
            ..UNSET
        },
    ] {
        assert_eq!(settings.mistake(), None);
    }
}

#[test]
fn outcomes() {
    for (code, outcome) in [
        (0, Outcome::Status),
        (1, Outcome::Error),
        (2, Outcome::Reset),
        (3, Outcome::BadTarget),
        (4, Outcome::Reset),
        (5, Outcome::Busy),
        (6, Outcome::TransportDisrupted),
        (7, Outcome::TargetFailure),
        (8, Outcome::ReservationConflict),
        (9, Outcome::Error),
        (10, Outcome::Violation),
        (11, Outcome::Violation),
        (12, Outcome::BadTarget),
        (13, Outcome::Violation),
        (255, Outcome::Violation),
    ] {
        assert_eq!(Outcome::of_command(code, false), outcome, "response {code}");
        assert_eq!(
            Outcome::of_command(code, true),
            if code == 2 { Outcome::Abort } else { outcome },
            "response {code} after an abort"
        );
    }
}

#[test]
fn functions_are_done_only_if_the_device_says_so() {
    for code in 0..=255 {
        assert_eq!(
            function_done(code),
            code == 0 || code == 10,
            "response {code}"
        );
    }
}

#[test]
fn nothing_written_is_no_event() {
    for order in [ByteOrder::Little, ByteOrder::Big] {
        let info = EventInfo::decode(order, PRESET);

        assert_eq!((info.missed, info.event), (false, Event::Unknown));
    }
}

#[test]
fn a_device_that_comes_back_with_less_is_refused_by_name() {
    let mut adjustments = Adjustments::default();
    let layout = Layout::new(32, 96, false, &mut adjustments).unwrap();
    let before = Limits::new(&ORDINARY, &UNSET, system(8), &mut adjustments)
        .and_then(|limits| limits.fit(layout, ring(128, true), &mut adjustments))
        .unwrap();
    let check = |config: Config, layout_now, size| {
        let mut adjustments = Adjustments::default();
        let now = Limits::new(&config, &UNSET, system(8), &mut adjustments).unwrap();

        before
            .still_served(&now, layout_now, ring(size, true))
            .map_err(|refusal| refusal.field)
    };

    assert_eq!(check(ORDINARY, layout, 128), Ok(()));
    let more = Config {
        max_sectors: 0x1ffff,
        seg_max: 254,
        num_queues: 1,
        ..ORDINARY
    };
    assert_eq!(check(more, layout, 256), Ok(()));

    let less = Config {
        max_sectors: 0xfffe,
        ..ORDINARY
    };
    assert_eq!(check(less, layout, 128), Err("max_sectors"));
    let less = Config {
        seg_max: 125,
        ..ORDINARY
    };
    assert_eq!(check(less, layout, 128), Err("seg_max"));
    assert_eq!(check(ORDINARY, layout, 127), Err("queue size"));
    let longer = Config {
        event_info_size: 32,
        ..ORDINARY
    };
    assert_eq!(check(longer, layout, 128), Err("event_info_size"));

    for (now, field) in [
        (
            Layout {
                cdb_size: 16,
                ..layout
            },
            "cdb_size",
        ),
        (
            Layout {
                sense_size: 252,
                ..layout
            },
            "sense_size",
        ),
        (
            Layout {
                protection: true,
                ..layout
            },
            "T10_PI",
        ),
    ] {
        assert_eq!(check(ORDINARY, now, 128), Err(field));
    }
}

#[test]
fn units_are_counted_up_to_the_limit() {
    let limited = |max_units| Settings { max_units, ..UNSET };

    assert!(UNSET.allows(16_384) && !UNSET.allows(16_385));
    assert!(limited(1).allows(1) && !limited(1).allows(2));
    assert!(limited(0).allows(u32::MAX));
}

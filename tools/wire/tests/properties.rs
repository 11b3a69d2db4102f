// SPDX-License-Identifier: GPL-2.0

//! What has to hold for anything that a device, a user or the midlayer can come up with.

use proptest::prelude::*;
use virtio_scsi_wire::{
    events::wire::{Event, Report, PRESET},
    queues::{
        limits::{
            Adjustments, Config, DeviceLimits, Layout, RingLimits, Settings, EVENT_SIZE,
            EVENT_SIZE_MAX, SECTORS_MIN,
        },
        response::{function_done, Outcome},
        wire::{
            Address, ByteOrder, CommandRequest, Protection, LUN_FLAT, LUN_MAX, LUN_REPORT_LUNS,
        },
    },
};

/// Numbers among which the odd ones are frequent.
fn number() -> impl Strategy<Value = u32> {
    prop_oneof![
        Just(0),
        Just(1),
        Just(u32::from(u16::MAX)),
        Just(u32::from(u16::MAX) + 1),
        Just(i16::MAX as u32),
        Just(i16::MAX as u32 + 1),
        Just(u32::MAX),
        0..512_u32,
        any::<u32>(),
    ]
}

prop_compose! {
    fn config()(
        num_queues in number(),
        seg_max in number(),
        max_sectors in number(),
        cmd_per_lun in number(),
        event_info_size in number(),
        max_target in any::<u16>(),
        max_lun in number(),
    ) -> Config {
        Config { num_queues, seg_max, max_sectors, cmd_per_lun, event_info_size, max_target, max_lun }
    }
}

/// Settings that the module takes.
fn settings() -> impl Strategy<Value = Settings> {
    (
        0..70_u32,
        prop_oneof![Just(0), 1..70_u32],
        prop_oneof![Just(0), 1..=32767_u32],
    )
        .prop_map(|(poll_queues, request_queues, queue_depth)| Settings {
            poll_queues,
            request_queues,
            queue_depth,
        })
        .prop_filter("a mistake", |settings| settings.mistake().is_none())
}

/// A configuration that is as a device would have it.
const ORDINARY: Config = Config {
    num_queues: 4,
    seg_max: 126,
    max_sectors: 0xffff,
    cmd_per_lun: 128,
    event_info_size: 16,
    max_target: 255,
    max_lun: 16383,
};

/// No settings.
const UNSET: Settings = Settings {
    poll_queues: 0,
    request_queues: 0,
    queue_depth: 0,
};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn limits_hold_for_any_device(
        config in config(),
        settings in settings(),
        cpus in number(),
        size in number(),
        indirect in any::<bool>(),
        protection in any::<bool>(),
    ) {
        let mut adjustments = Adjustments::default();

        let Ok(limits) = DeviceLimits::new(&config, &settings, cpus, &mut adjustments) else {
            prop_assert!(
                (1..SECTORS_MIN).contains(&config.max_sectors)
                    || config.event_info_size > EVENT_SIZE_MAX
            );
            return Ok(());
        };

        let queues = limits.interrupt_queues + limits.polled_queues;
        prop_assert!(limits.interrupt_queues >= 1);
        prop_assert!(queues <= config.num_queues.max(1));
        prop_assert!(queues <= cpus.max(1));
        prop_assert!(settings.request_queues == 0 || queues <= settings.request_queues);
        prop_assert!(limits.polled_queues <= settings.poll_queues);
        prop_assert!(limits.segments >= 1);
        prop_assert!(u32::from(limits.segments) <= config.seg_max.max(1));
        prop_assert!(limits.sectors >= SECTORS_MIN);
        prop_assert!(config.max_sectors == 0 || limits.sectors == config.max_sectors);
        prop_assert!((1..=i16::MAX as u16).contains(&limits.commands_per_lun));
        prop_assert!(u16::from(limits.last_target) <= config.max_target);
        prop_assert!(limits.last_lun >= LUN_FLAT);
        prop_assert!(limits.last_lun <= LUN_FLAT + u64::from(LUN_MAX));
        prop_assert!(limits.last_lun - LUN_FLAT <= u64::from(config.max_lun));
        prop_assert!((EVENT_SIZE..=EVENT_SIZE_MAX).contains(&limits.event_size));
        prop_assert!(limits.event_size >= config.event_info_size);

        match RingLimits::new(&limits, size, indirect, protection, &mut adjustments) {
            Ok(ring) => {
                // Header, response and all segments fit in the ring.
                let lists = if protection { 2 } else { 1 };

                prop_assert!(lists * u32::from(ring.segments) + 2 <= size);
                prop_assert!(lists * u32::from(ring.segments) <= limits.segments.into());
                prop_assert!((1..=limits.segments).contains(&ring.segments));
                prop_assert!((1..=size).contains(&ring.commands_per_queue));
                prop_assert!((1..=limits.commands_per_lun).contains(&ring.commands_per_lun));
                prop_assert!(u32::from(ring.commands_per_lun) <= ring.commands_per_queue);
            }
            Err(refusal) => {
                let said = refusal.to_string();

                if size < 3 || protection && size < 4 {
                    prop_assert!(said.starts_with("queue size is "));
                } else {
                    prop_assert!(protection && limits.segments == 1);
                    prop_assert!(said.starts_with("seg_max is 1: "));
                }
            }
        }
        prop_assert_eq!(adjustments.is_empty(), adjustments.to_string().is_empty());
    }

    #[test]
    fn layouts_are_what_there_is_room_for(cdb in number(), sense in number()) {
        let mut adjustments = Adjustments::default();

        match Layout::new(cdb, sense, false, &mut adjustments) {
            Ok(layout) => {
                prop_assert_eq!(u32::from(layout.cdb_size), cdb);
                prop_assert_eq!(u32::from(layout.sense_size), sense);
                prop_assert!((6..=32).contains(&cdb) && sense <= 252);
                prop_assert_eq!(adjustments.is_empty(), cdb == 32 && sense == 96);
            }
            Err(refusal) => {
                let field = if (6..=32).contains(&cdb) { "sense_size" } else { "cdb_size" };
                prop_assert_eq!(refusal.field, field);
                prop_assert!(field == "cdb_size" || sense > 252);
            }
        }
    }

    #[test]
    fn addresses_come_back(target in any::<u8>(), number in 0..=LUN_MAX) {
        let known_as = match number {
            0..=255 => number.into(),
            _ => LUN_FLAT | u64::from(number),
        };
        let address = Address { target, lun: known_as };

        prop_assert_eq!(address.encode().and_then(Address::decode), Some(address));
        // However a unit is known, its requests say the same.
        let flat = Address { target, lun: LUN_FLAT | u64::from(number) };
        prop_assert_eq!(address.encode(), flat.encode());
        // The C driver sends the very same bytes.
        let lun = known_as as u16;
        prop_assert_eq!(
            address.encode(),
            Some([1, target, (lun >> 8) as u8 | 0x40, lun as u8, 0, 0, 0, 0])
        );
    }

    #[test]
    fn numbers_that_do_not_fit_are_no_addresses(target in any::<u8>(), lun in any::<u64>()) {
        let fits = lun <= u64::from(LUN_MAX)
            || (LUN_FLAT..=LUN_FLAT + u64::from(LUN_MAX)).contains(&lun)
            || lun == LUN_REPORT_LUNS;

        prop_assert_eq!(Address { target, lun }.encode().is_some(), fits);
    }

    #[test]
    fn any_field_is_an_address_of_ours_or_none(field in any::<[u8; 8]>()) {
        if let Some(address) = Address::decode(field) {
            prop_assert_eq!(field[0], 1);
            prop_assert_eq!(field[1], address.target);
            prop_assert!(address.encode().is_some());
        }
    }

    #[test]
    fn any_event_is_decoded(bytes in any::<[u8; 16]>(), little in any::<bool>()) {
        let order = if little { ByteOrder::Little } else { ByteOrder::Big };
        let high = if little { bytes[3] } else { bytes[0] };

        prop_assert_eq!(Report::decode(order, bytes).missed, high & 0x80 != 0);
    }

    #[test]
    fn a_request_is_as_long_as_the_device_wants(
        cdb in prop::collection::vec(any::<u8>(), 0..300),
        size in 6..=32_usize,
        with_protection in any::<bool>(),
    ) {
        let mut request = CommandRequest::default();

        let protection = with_protection.then(Protection::default);
        let header = if with_protection { CommandRequest::HEADER_PI } else { CommandRequest::HEADER };

        request.fill(ByteOrder::Little, [0; 8], 0, protection, &cdb);
        prop_assert_eq!(request.bytes(with_protection, size).len(), header + size);

        let len = cdb.len().min(size);
        let sent = &request.bytes(with_protection, size)[header..];
        prop_assert_eq!(&sent[..len], &cdb[..len]);
        prop_assert!(sent[len..].iter().all(|byte| *byte == 0) || cdb.len() > len);
    }
}

#[test]
fn report_luns_is_a_well_known_logical_unit() {
    let address = Address {
        target: 5,
        lun: LUN_REPORT_LUNS,
    };

    assert_eq!(address.encode(), Some([0xc1, 1, 0, 0, 0, 0, 0, 0]));
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
    let limits = DeviceLimits::new(&ORDINARY, &UNSET, 8, &mut adjustments).unwrap();
    let ring = RingLimits::new(&limits, 128, true, false, &mut adjustments).unwrap();

    assert_eq!((limits.interrupt_queues, limits.polled_queues), (4, 0));
    assert_eq!(
        (limits.sectors, limits.last_target, limits.last_lun),
        (0xffff, 255, 0x7fff)
    );
    assert_eq!(
        (
            ring.segments,
            ring.commands_per_queue,
            ring.commands_per_lun
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
    let limits = DeviceLimits::new(&config, &UNSET, 1, &mut adjustments).unwrap();
    RingLimits::new(&limits, 4, false, false, &mut adjustments).unwrap();

    assert_eq!(
        adjustments.to_string(),
        "num_queues 0 as 1, seg_max 65536 as 65535, cmd_per_lun 0 as 1, max_target 256 as 255, \
         max_lun 4294967295 as 16383, max_sectors 0 as 65535, seg_max 65535 as 2"
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
        let refusal = DeviceLimits::new(&config, &UNSET, 1, &mut adjustments).unwrap_err();
        assert!(refusal.to_string().starts_with(said), "{refusal}");
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
        (5, Outcome::BusBusy),
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
        let report = Report::decode(order, PRESET);

        assert_eq!((report.missed, report.event), (false, Event::Unknown));
    }
}

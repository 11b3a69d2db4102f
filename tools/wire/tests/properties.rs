// SPDX-License-Identifier: GPL-2.0

//! What has to hold for anything that a device, a user or the midlayer can come up with.

use proptest::prelude::*;
use virtio_scsi_wire::protocol::{
    address::{Address, LUN_FLAT, LUN_MAX},
    adjustments::Adjustments,
    byte_order::ByteOrder,
    command::{padded_cdb, CommandRequest, Layout, Protection},
    config::Config,
    event::EventInfo,
    limits::{Limits, Platform, Rings, EVENT_SIZE, EVENT_SIZE_MAX, SECTORS_MIN, SECTORS_TOLD_MIN},
    settings::Settings,
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
        Config {
            num_queues,
            seg_max,
            max_sectors,
            cmd_per_lun,
            event_info_size,
            max_target,
            max_lun,
        }
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
            max_units: Settings::UNITS,
        })
        .prop_filter("a mistake", |settings| settings.mistake().is_none())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn limits_hold_for_any_device(
        config in config(),
        settings in settings(),
        cpus in number(),
        mapping in any::<u64>(),
        size in number(),
        indirect in any::<bool>(),
        protection in any::<bool>(),
    ) {
        let mut adjustments = Adjustments::default();

        let platform = Platform { queues: cpus, mapping };

        let Ok(limits) = Limits::new(&config, &settings, platform, &mut adjustments) else {
            prop_assert!(
                (1..SECTORS_MIN).contains(&config.max_sectors)
                    || config.event_info_size > EVENT_SIZE_MAX
            );
            return Ok(());
        };

        let queues = limits.request_queues();
        prop_assert_eq!(queues, limits.interrupt_queues + limits.polled_queues);
        prop_assert!(limits.interrupt_queues >= 1);
        prop_assert!(queues <= config.num_queues.max(1));
        prop_assert!(queues <= cpus.max(1));
        prop_assert!(settings.request_queues == 0 || queues <= settings.request_queues);
        prop_assert!(limits.polled_queues <= settings.poll_queues);
        prop_assert!(limits.segments >= 1);
        prop_assert!(u32::from(limits.segments) <= config.seg_max.max(1));
        prop_assert!(limits.sectors >= SECTORS_TOLD_MIN);
        prop_assert!(
            config.max_sectors == 0 || limits.sectors <= config.max_sectors.max(SECTORS_TOLD_MIN)
        );
        prop_assert!(
            u64::from(limits.sectors) * 512 <= mapping.max(u64::from(SECTORS_TOLD_MIN) * 512)
        );
        prop_assert!(limits.segment_len >= 65536);
        prop_assert!((1..=i16::MAX as u16).contains(&limits.commands_per_lun));
        prop_assert!(u16::from(limits.last_target) <= config.max_target);
        prop_assert!(limits.last_lun >= LUN_FLAT);
        prop_assert!(limits.last_lun <= LUN_FLAT + u64::from(LUN_MAX));
        prop_assert!(limits.last_lun - LUN_FLAT <= u64::from(config.max_lun));
        prop_assert!((EVENT_SIZE..=EVENT_SIZE_MAX).contains(&limits.event_size));
        prop_assert!(limits.event_size >= config.event_info_size);

        let layout = Layout { protection, ..Layout::WANTED };

        match limits.fit(layout, Rings { size, control: 2, indirect }, &mut adjustments) {
            Ok(ring) => {
                // Header, response and all segments fit in the ring.
                let lists = if ring.protection { 2 } else { 1 };

                // It is left out only where there is no room for it.
                prop_assert_eq!(ring.protection, protection && size >= 4 && limits.segments >= 2);

                prop_assert!(lists * u32::from(ring.segments) + 2 <= size);
                prop_assert!(lists * u32::from(ring.segments) <= limits.segments.into());
                prop_assert!((1..=limits.segments).contains(&ring.segments));
                prop_assert!((1..=size).contains(&ring.commands_per_queue));
                prop_assert!((1..=limits.commands_per_lun).contains(&ring.commands_per_lun));
                prop_assert!(u32::from(ring.commands_per_lun) <= ring.commands_per_queue);
                prop_assert_eq!(ring.layout, layout);

                // The same device comes back from a reset, and one with a ring that is too short
                // for any command.
                let short = Rings { size: 2, control: 2, indirect };
                let same = Rings { size, control: 2, indirect };

                prop_assert_eq!(ring.still_served(&limits, layout, same), Ok(()));
                prop_assert!(ring.still_served(&limits, layout, short).is_err());
            }
            Err(refusal) => {
                let said = refusal.to_string();

                prop_assert!(size < 3);
                prop_assert!(said.starts_with("queue size is "));
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
            || (LUN_FLAT..=LUN_FLAT + u64::from(LUN_MAX)).contains(&lun);

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

        prop_assert_eq!(EventInfo::decode(order, bytes).missed, high & 0x80 != 0);
    }

    #[test]
    fn a_request_is_as_long_as_the_device_wants(
        cdb in prop::collection::vec(any::<u8>(), 0..300),
        size in 6..=32_usize,
        with_protection in any::<bool>(),
    ) {
        let mut request = CommandRequest::default();

        let protection = with_protection.then(Protection::default);
        let header = if with_protection {
            CommandRequest::HEADER_PI
        } else {
            CommandRequest::HEADER
        };

        let layout = Layout {
            cdb_size: u8::try_from(size).unwrap(),
            protection: with_protection,
            ..Layout::WANTED
        };

        request.fill(ByteOrder::Little, [0; 8], 0, protection, &padded_cdb(&cdb));
        prop_assert_eq!(request.bytes(layout).len(), header + size);

        let len = cdb.len().min(size);
        let sent = &request.bytes(layout)[header..];
        prop_assert_eq!(&sent[..len], &cdb[..len]);
        prop_assert!(sent[len..].iter().all(|byte| *byte == 0) || cdb.len() > len);
    }
}

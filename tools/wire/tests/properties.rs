// SPDX-License-Identifier: GPL-2.0

//! What has to hold for anything that a device, a user or the midlayer can come up with.

use proptest::prelude::*;
use virtio_scsi_wire::{
    invariants,
    protocol::{
        address::{Address, LUN_FLAT, LUN_MAX},
        adjustments::Adjustments,
        byte_order::ByteOrder,
        command::{padded_cdb, CommandRequest, Layout, Protection},
        config::Config,
        event::EventInfo,
        limits::{Platform, Rings},
        settings::Settings,
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
        let platform = Platform { queues: cpus, mapping };
        let rings = Rings { size, control: 2, indirect };

        let layout = Layout { protection, ..Layout::WANTED };

        invariants::limits(&config, &settings, platform, rings, layout);
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

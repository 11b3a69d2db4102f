// SPDX-License-Identifier: GPL-2.0

//! Invariants that hold for anything a device can write. Each function tries one input, and panics
//! if something does not hold.
//!
//! The inputs come from the tests beside this, which draw them at random, and from the fuzzer in
//! `fuzz`, which looks for those that get to code that none before has reached.

use crate::protocol::{
    address::{Address, LUN_FLAT, LUN_MAX},
    adjustments::Adjustments,
    claims::Claim,
    command::Layout,
    config::Config,
    limits::{Limits, Platform, Rings, EVENT_SIZE, EVENT_SIZE_MAX, SECTORS_MIN, SECTORS_TOLD_MIN},
    report_luns::List,
    settings::Settings,
    vpd::{is_list_plausible, Identity, Page},
};

/// The limits that come of what a device offers are usable, and within those of the device, the
/// user and the system.
///
/// Returns them, unless the device is refused.
pub fn limits(
    config: &Config,
    settings: &Settings,
    platform: Platform,
    rings: Rings,
    layout: Layout,
) -> Option<Limits> {
    let mut adjustments = Adjustments::default();

    let Ok(limits) = Limits::new(config, settings, platform, &mut adjustments) else {
        assert!(
            (1..SECTORS_MIN).contains(&config.max_sectors)
                || config.event_info_size > EVENT_SIZE_MAX
        );
        return None;
    };

    let queues = limits.request_queues();
    assert_eq!(queues, limits.interrupt_queues + limits.polled_queues);
    assert!(limits.interrupt_queues >= 1);
    assert!(queues <= config.num_queues.max(1));
    assert!(queues <= platform.queues.max(1));
    assert!(settings.request_queues == 0 || queues <= settings.request_queues);
    assert!(limits.polled_queues <= settings.poll_queues);
    assert!(limits.segments >= 1);
    assert!(u32::from(limits.segments) <= config.seg_max.max(1));
    assert!(limits.sectors >= SECTORS_TOLD_MIN);
    assert!(config.max_sectors == 0 || limits.sectors <= config.max_sectors.max(SECTORS_TOLD_MIN));
    assert!(
        u64::from(limits.sectors) * 512 <= platform.mapping.max(u64::from(SECTORS_TOLD_MIN) * 512)
    );
    assert!(limits.segment_len >= 65536);
    assert!((1..=i16::MAX as u16).contains(&limits.commands_per_lun));
    assert!(u16::from(limits.last_target) <= config.max_target);
    assert!(limits.last_lun >= LUN_FLAT);
    assert!(limits.last_lun <= LUN_FLAT + u64::from(LUN_MAX));
    assert!(limits.last_lun - LUN_FLAT <= u64::from(config.max_lun));
    assert!((EVENT_SIZE..=EVENT_SIZE_MAX).contains(&limits.event_size));
    assert!(limits.event_size >= config.event_info_size);

    let fitted = limits.fit(layout, rings, &mut adjustments);

    assert_eq!(adjustments.is_empty(), adjustments.to_string().is_empty());
    match fitted {
        Ok(fitted) => {
            fits(&limits, &fitted, rings);
            // The same device comes back from a reset, and one with a ring that is too short for
            // any command.
            assert_eq!(fitted.still_served(&limits, layout, rings), Ok(()));
            let short = Rings { size: 2, ..rings };
            assert!(fitted.still_served(&limits, layout, short).is_err());
            assert_eq!(fitted.layout, layout);
            Some(fitted)
        }
        Err(refusal) => {
            let said = refusal.to_string();

            if rings.size < 3 {
                assert!(said.starts_with("queue size is "));
            } else {
                assert!(rings.control < 2 && said.starts_with("controlq size is "));
            }
            None
        }
    }
}

/// Request, response and all segments of a command fit into a ring.
fn fits(limits: &Limits, fitted: &Limits, rings: Rings) {
    let lists = if fitted.protection { 2 } else { 1 };
    let segments = lists * u32::from(fitted.segments);

    // Protection is left out only where there is no room for it.
    assert_eq!(
        fitted.protection,
        fitted.layout.protection && rings.size >= 4 && limits.segments >= 2
    );
    assert!(segments + 2 <= rings.size);
    assert!(segments <= limits.segments.into());
    assert!((1..=limits.segments).contains(&fitted.segments));
    assert!((1..=rings.size).contains(&fitted.commands_per_queue));
    assert!((1..=limits.commands_per_lun).contains(&fitted.commands_per_lun));
    assert!(u32::from(fitted.commands_per_lun) <= fitted.commands_per_queue);
}

/// A device that comes back from a reset with other limits is served only if it takes all that it
/// may be sent by the limits from before.
pub fn limits_after_reset(before: &Limits, now: &Limits, layout: Layout, rings: Rings) {
    if before.still_served(now, layout, rings).is_ok() {
        let lists = if before.protection { 2 } else { 1 };
        let segments = lists * u32::from(before.segments);

        assert!(segments <= now.segments.into());
        assert!(segments + 2 <= rings.size && rings.control >= 2);
        assert!(before.sectors <= now.sectors);
        assert!(now.event_size <= before.event_size);
        assert_eq!(before.layout, layout);
    }
}

/// A unit does not differ from itself, and it makes no difference which of two units was first, nor
/// what was not read of a page: units that are the same by a page are not two by the first `len`
/// bytes of it.
pub fn identities(one: &Identity<'_>, other: &Identity<'_>, len: usize) {
    assert!(!one.differs(one));
    assert_eq!(one.differs(other), other.differs(one));

    let serial = |serial| Identity {
        serial,
        identification: &[],
    };
    let identification = |identification| Identity {
        serial: &[],
        identification,
    };
    let part = |page: &'_ [u8]| page.len().min(len);
    let parts = [
        (
            serial(one.serial),
            serial(other.serial),
            serial(&other.serial[..part(other.serial)]),
        ),
        (
            identification(one.identification),
            identification(other.identification),
            identification(&other.identification[..part(other.identification)]),
        ),
    ];

    for (one, other, part) in parts {
        assert!(!one.differs(&one));
        assert_eq!(one.differs(&other), other.differs(&one));
        assert!(
            one.differs(&other) || !one.differs(&part),
            "{one:?} is not two with {other:?}, but with {part:?}"
        );
    }
}

/// A list of VPD pages that the midlayer gets to see has no more pages than there can be, and few
/// of them twice.
pub fn list_of_pages(data: &[u8]) {
    let Some(([_, code, high, low], rest)) = data.split_first_chunk() else {
        return;
    };

    if *code == Page::List.code() && is_list_plausible(data) {
        let len = usize::from(u16::from_be_bytes([*high, *low]));
        let list = &rest[..len.min(rest.len())];
        let mut codes = list.to_vec();

        codes.sort_unstable();
        codes.dedup();
        assert!(len <= 256 && list.len() - codes.len() <= 8);
    }
}

/// Data of REPORT LUNS are units that have addresses, no more of them than there are data, or
/// nothing at all.
pub fn logical_units(data: &[u8]) {
    let Some(list) = List::decode(data) else {
        assert!(data.len() < 8);
        return;
    };

    assert!(list.luns().count() <= data.len() / 8);
    for lun in list.luns() {
        let address = Address { target: 0, lun };

        assert!(lun <= 0x7fff);
        assert!(address.encode().and_then(Address::decode).is_some());
    }
}

/// The length that the kernel gets to see in the data of a command is one that makes sense, and is
/// left alone if it does.
pub fn claims(cdb: &[u8], head: [u8; 4], transferred: u32) {
    let Some(claim) = Claim::of(cdb) else {
        return;
    };

    match claim.excessive(head, transferred) {
        Some((claimed, bound)) => {
            let replaced = claim.replaced(head, bound);

            assert!(claimed > claim.most && bound <= claim.most && bound <= transferred);
            assert_eq!(claim.excessive(replaced, transferred), None);
            // The bytes beside the length stay as they were.
            let kept = |bytes| u32::from_be_bytes(bytes) & !claim.mask;
            assert_eq!(kept(head), kept(replaced));
        }
        None => assert!(u32::from_be_bytes(head) & claim.mask <= claim.most),
    }
}

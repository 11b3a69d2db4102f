// SPDX-License-Identifier: GPL-2.0

//! What logical units say of themselves: sense data, INQUIRY data, and what tells one unit from
//! another.

use proptest::prelude::*;
use virtio_scsi_wire::{
    invariants,
    protocol::{
        cdb::is_media_change,
        claims::Claim,
        report_luns::{List, LIST_LEN, REPORT_LUNS},
        sense::{SenseCode, SENSE_HEAD},
        vpd::{has_page, is_list_plausible, is_unit, Identity, Page, Presence},
    },
};

/// A page with a header that says how long it is.
fn page(page: Page, body: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(body.len()).unwrap().to_be_bytes();

    [&[0, page.code(), high, low], body].concat()
}

/// A designator: code set, association and type, and its value.
fn designator(association: u8, kind: u8, value: &[u8]) -> Vec<u8> {
    let len = u8::try_from(value.len()).unwrap();

    [&[1, (association << 4) | kind, 0, len], value].concat()
}

fn serial(value: &[u8]) -> Vec<u8> {
    page(Page::Serial, value)
}

fn identification(designators: &[Vec<u8>]) -> Vec<u8> {
    page(Page::Identification, &designators.concat())
}

#[test]
fn sense_data_of_both_formats() {
    let code = |key, asc, ascq| Some(SenseCode { key, asc, ascq });
    let fixed = [0x70, 0, 6, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x2a, 9];
    let descriptor = [0x72, 6, 0x2a, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];

    assert_eq!(SenseCode::decode(fixed, 18), code(6, 0x2a, 9));
    assert_eq!(SenseCode::decode(descriptor, 8), code(6, 0x2a, 9));
    // What the device says that it has not written does not count.
    assert_eq!(SenseCode::decode(fixed, 13), code(6, 0x2a, 0));
    assert_eq!(SenseCode::decode(fixed, 3), code(6, 0, 0));
    assert_eq!(SenseCode::decode(descriptor, 1), code(0, 0, 0));
    assert_eq!(SenseCode::decode(fixed, 0), None);
    // Deferred, and vendor specific.
    for first in [0x71, 0x73, 0x7f, 0] {
        let mut bytes = fixed;
        bytes[0] = first;
        assert_eq!(SenseCode::decode(bytes, 18), None);
    }
    // With the bit that says that INFORMATION is valid.
    let mut valid = fixed;
    valid[0] |= 0x80;
    assert_eq!(SenseCode::decode(valid, 18), code(6, 0x2a, 9));

    let sense = |key, asc| SenseCode { key, asc, ascq: 0 };
    assert!(sense(5, 0x25).is_not_there());
    assert!(sense(2, 0x3a).is_no_medium());
    assert!(!sense(2, 0x04).is_no_medium() && !sense(5, 0x3a).is_no_medium());
    assert!(!sense(5, 0x24).is_not_there() && !sense(2, 0x25).is_not_there());
}

/// Whether two readings of a serial number are of two units.
fn serials_differ(kept: &[u8], now: &[u8]) -> bool {
    let identity = |serial| Identity {
        serial,
        identification: &[],
    };

    identity(kept).differs(&identity(now))
}

/// Whether two readings of designators are of two units.
fn designators_differ(kept: &[u8], now: &[u8]) -> bool {
    let identity = |identification| Identity {
        serial: &[],
        identification,
    };

    identity(kept).differs(&identity(now))
}

#[test]
fn the_first_byte_of_inquiry_data() {
    for (kept, now, presence) in [
        (0x00, 0x00, Presence::Same),
        (0x05, 0x05, Presence::Same),
        (0x00, 0x05, Presence::Other),
        (0x00, 0x7f, Presence::Gone),
        (0x00, 0x60, Presence::Gone),
        (0x00, 0x3f, Presence::Gone),
        // A disk that this way does not reach for now.
        (0x00, 0x20, Presence::Away),
        // One that the midlayer knows as not connected, and that is now, gets its driver when it is
        // found anew.
        (0x20, 0x00, Presence::Other),
        (0x20, 0x20, Presence::Same),
        (0x25, 0x20, Presence::Other),
        (0x20, 0x7f, Presence::Gone),
    ] {
        assert_eq!(Presence::of(kept, now), presence, "{kept:#x} {now:#x}");
    }
}

#[test]
fn media_events() {
    let data = |code| [0, 6, 4, 0x10, code, 2, 0, 0];

    // New media, media removal and media changed, whatever the reserved bits are.
    for code in [2, 3, 4, 0xf2] {
        assert!(is_media_change(&data(code)), "{code:#x}");
    }
    // No change, eject request, background format completed and restarted.
    for code in [0, 1, 5, 6, 0x20] {
        assert!(!is_media_change(&data(code)), "{code:#x}");
    }
    assert!(!is_media_change(&data(2)[..4]));
    assert!(!is_media_change(&[]));
}

#[test]
fn lists_of_pages() {
    let list = |codes: &[u8]| page(Page::List, codes);

    assert!(is_list_plausible(&list(&[0, 0x80, 0x83, 0xb0])));
    assert!(is_list_plausible(&list(&[])));
    assert!(is_list_plausible(&list(&(0..=255).collect::<Vec<u8>>())));
    // Cut off: what is there is looked at.
    assert!(is_list_plausible(&list(&[0, 0x80, 0x83, 0xb0])[..6]));
    // Some repeat themselves, which costs little.
    assert!(is_list_plausible(&list(&[0, 0x80, 0x83, 0x83])));
    assert!(!is_list_plausible(&list(&[0x83; 10])));
    assert!(!is_list_plausible(&list(&[0; 300])));
    let mut endless = list(&[0, 0x80, 0x83]);
    endless[2..4].fill(0xff);
    assert!(!is_list_plausible(&endless));
    // The midlayer looks at neither.
    assert!(is_list_plausible(&serial(b"AA")));
    assert_eq!(has_page(&list(&[0, 0x80]), Page::Serial), Some(true));
    assert_eq!(
        has_page(&list(&[0, 0x80]), Page::Identification),
        Some(false)
    );
    assert_eq!(has_page(&[], Page::Serial), None);
    assert_eq!(has_page(&serial(b"A"), Page::Serial), None);
    assert!(is_list_plausible(&[0, 0, 0xff]));
}

#[test]
fn serial_numbers() {
    assert!(!serials_differ(&serial(b"A1"), &serial(b"A1")));
    assert!(serials_differ(&serial(b"A1"), &serial(b"B1")));
    assert!(serials_differ(&serial(b"A1"), &serial(b"A12")));
    assert!(serials_differ(&serial(b"A12"), &serial(b"A1")));
    assert!(!serials_differ(&serial(b"  A1"), &serial(b"A1\0 ")));
    // A unit that cannot tell it yet has spaces.
    assert!(!serials_differ(&serial(b"    "), &serial(b"A1")));
    assert!(!serials_differ(&serial(b"A1"), &serial(b"    ")));
    assert!(!serials_differ(&serial(b""), &serial(b"A1")));
    // Not read, or not read in full, or another page.
    assert!(!serials_differ(&serial(b"A1"), &[]));
    assert!(!serials_differ(&serial(b"A1"), &serial(b"B1")[..4]));
    assert!(!serials_differ(&serial(b"A1"), &serial(b"B1")[..5]));
    assert!(!serials_differ(&serial(b"A1")[..5], &serial(b"B1")));
    assert!(!serials_differ(&serial(b"A1"), &identification(&[])));
}

#[test]
fn designators() {
    let (naa, eui, t10, vendor) = (3, 2, 1, 0);
    let differs = |kept: &[Vec<u8>], now: &[Vec<u8>]| {
        designators_differ(&identification(kept), &identification(now))
    };
    let unit = |kind, value: &str| designator(0, kind, value.as_bytes());
    let port = |kind, value: &str| designator(1, kind, value.as_bytes());

    assert!(!differs(&[unit(naa, "1")], &[unit(naa, "1")]));
    assert!(differs(&[unit(naa, "1")], &[unit(naa, "2")]));
    // Order and number do not matter, and one in common is enough.
    assert!(!differs(
        &[unit(naa, "1"), unit(naa, "2")],
        &[unit(naa, "3"), unit(naa, "2"), unit(naa, "4")]
    ));
    // The best that both have decides: a volume may be given another name.
    assert!(!differs(
        &[unit(t10, "old name"), unit(naa, "1")],
        &[unit(naa, "1"), unit(t10, "new name")]
    ));
    assert!(differs(
        &[unit(t10, "name"), unit(naa, "1")],
        &[unit(t10, "name"), unit(naa, "2")]
    ));
    assert!(differs(&[unit(t10, "1")], &[unit(t10, "2")]));
    // What is vendor specific is a name.
    assert!(!differs(&[unit(vendor, "1")], &[unit(vendor, "2")]));
    // None in common, or none at all: nothing is known.
    assert!(!differs(&[unit(naa, "1")], &[unit(eui, "2")]));
    assert!(!differs(&[unit(naa, "1")], &[]));
    assert!(!differs(&[], &[unit(naa, "1")]));
    // That of a port is another on another way to the same unit.
    assert!(!differs(&[port(naa, "1")], &[port(naa, "2")]));
    assert!(!differs(
        &[port(4, "1"), unit(naa, "1")],
        &[port(4, "2"), unit(naa, "1")]
    ));
    // One that is cut off is not compared.
    let whole = identification(&[unit(naa, "12345678")]);
    let other = identification(&[unit(naa, "12345679")]);
    assert!(designators_differ(&whole, &other));
    assert!(!designators_differ(&whole, &other[..other.len() - 1]));
    // The one in common may be in the part that was not read.
    let more = identification(&[unit(naa, "12345679"), unit(naa, "12345678")]);
    assert!(!designators_differ(&whole, &more));
    assert!(!designators_differ(&whole, &more[..more.len() - 1]));
    assert!(!designators_differ(&more[..more.len() - 1], &whole));
}

#[test]
fn what_is_unique_decides_before_the_serial_number() {
    let pages = |number: &str, kind, value: &str| {
        (
            serial(number.as_bytes()),
            identification(&[designator(0, kind, value.as_bytes())]),
        )
    };
    let differs = |kept: &(Vec<u8>, Vec<u8>), now: &(Vec<u8>, Vec<u8>)| {
        let identity = |(serial, identification)| Identity {
            serial,
            identification,
        };

        identity((&kept.0, &kept.1)).differs(&identity((&now.0, &now.1)))
    };

    // Some report the number of the controller, which is another after a failover.
    assert!(!differs(&pages("A", 3, "1"), &pages("B", 3, "1")));
    assert!(differs(&pages("A", 3, "1"), &pages("A", 3, "2")));
    assert!(differs(&pages("A", 1, "1"), &pages("B", 1, "1")));
    assert!(!differs(&pages("A", 1, "1"), &pages("A", 1, "2")));
    assert!(differs(&pages("A", 3, "1"), &pages("B", 2, "1")));
}

/// A page of any kind, or any bytes.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let body = || prop::collection::vec(prop_oneof![Just(0), Just(3), any::<u8>()], 0..40);

    prop_oneof![
        body(),
        body().prop_map(|body| serial(&body)),
        body().prop_map(|body| identification(&[body])),
        body().prop_map(|body| page(Page::List, &body)),
    ]
}

proptest! {
    #[test]
    fn any_two_units_are_compared(
        pages in prop::array::uniform4(bytes()),
        len in 0_usize..40,
        same in any::<bool>(),
    ) {
        let [serial, identification, other_serial, other_identification] = &pages;
        let one = Identity { serial, identification };
        let other = if same {
            one
        } else {
            Identity { serial: other_serial, identification: other_identification }
        };

        invariants::identities(&one, &other, len);
        let _ = (is_list_plausible(serial), has_page(serial, Page::Serial));
    }

    #[test]
    fn any_sense_data(bytes: [u8; SENSE_HEAD], len: usize) {
        if let Some(sense) = SenseCode::decode(bytes, len) {
            prop_assert!(sense.key < 16);
        }
    }

    #[test]
    fn a_list_that_is_plausible_is_short(body in prop::collection::vec(any::<u8>(), 0..600)) {
        invariants::list_of_pages(&page(Page::List, &body));
    }
}

/// The data of REPORT LUNS: a length in bytes and the entries.
fn luns(len: u32, entries: &[[u8; 8]]) -> Vec<u8> {
    [&len.to_be_bytes()[..], &[0; 4], &entries.concat()].concat()
}

/// The units of a list, and whether there are more.
fn listed(data: &[u8]) -> Option<(Vec<u64>, bool)> {
    List::decode(data).map(|list| (list.luns().collect(), list.is_cut_off()))
}

#[test]
fn logical_units_are_listed_as_the_midlayer_numbers_them() {
    let entries = [
        [0; 8],
        [0, 255, 0, 0, 0, 0, 0, 0],
        [0x40, 5, 0, 0, 0, 0, 0, 0],
        [0x7f, 0xff, 0, 0, 0, 0, 0, 0],
        // Not flat, as LIO lists them.
        [1, 44, 0, 0, 0, 0, 0, 0],
        // The third format, a well known unit, two levels.
        [0x80, 1, 0, 0, 0, 0, 0, 0],
        [0xc1, 1, 0, 0, 0, 0, 0, 0],
        [0, 3, 0, 4, 0, 0, 0, 0],
        [0, 2, 0, 0, 0, 0, 0, 0],
    ];

    assert_eq!(
        listed(&luns(72, &entries)),
        Some((vec![0, 255, 0x4005, 0x7fff, 300, 2], false))
    );
    assert_eq!(
        u32::from_be_bytes(REPORT_LUNS[6..10].try_into().unwrap()) as usize,
        LIST_LEN
    );
}

#[test]
fn a_list_of_logical_units_ends_with_the_data_and_with_its_length() {
    let entries = [[0, 1, 0, 0, 0, 0, 0, 0], [0, 2, 0, 0, 0, 0, 0, 0]];

    assert_eq!(listed(&luns(0, &entries)), Some((vec![], false)));
    assert_eq!(listed(&luns(8, &entries)), Some((vec![1], false)));
    assert_eq!(listed(&luns(15, &entries)), Some((vec![1], false)));
    // More than there is, but not more than there was room for.
    assert_eq!(listed(&luns(1_016, &entries)), Some((vec![1, 2], false)));
    assert_eq!(listed(&luns(1_017, &entries)), Some((vec![1, 2], true)));
    assert_eq!(listed(&luns(u32::MAX, &entries)), Some((vec![1, 2], true)));
    assert_eq!(listed(&luns(16, &entries)[..23]), Some((vec![1], false)));
    assert_eq!(listed(&luns(16, &[])[..7]), None);
}

#[test]
fn a_logical_unit_is_there_unless_it_says_that_it_is_not() {
    for (first, there) in [
        (0, true),
        (5, true),
        (0x1f, true),
        (0x20, true),
        (0x3f, false),
        (0x60, false),
        (0x7f, false),
    ] {
        assert_eq!(is_unit(first), there, "{first:#x}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_a_list_or_none(data in proptest::collection::vec(any::<u8>(), 0..1100)) {
        invariants::logical_units(&data);
    }
}

#[test]
fn only_lists_claim_a_length() {
    let claiming: Vec<([u8; 3], Claim)> = (0..1 << 24)
        .map(|cdb: u32| [(cdb >> 16) as u8, (cdb >> 8) as u8, cdb as u8])
        .filter_map(|cdb| Some((cdb, Claim::of(&cdb)?)))
        .collect();
    let count = |opcode, mask, uncounted, most| {
        let claim = Claim {
            mask,
            uncounted,
            most,
        };
        let same = |(cdb, other): &&([u8; 3], Claim)| cdb[0] == opcode && *other == claim;

        claiming.iter().filter(same).count()
    };

    // REPORT LUNS, and REPORT TARGET PORT GROUPS with any format of its data.
    assert_eq!(count(0xa0, u32::MAX, 8, 131_072), 256 * 256);
    assert_eq!(count(0xa3, u32::MAX, 4, 131_072), 8 * 256);
    // INQUIRY for the list of VPD pages.
    assert_eq!(count(0x12, 0xffff, 4, 256), 128);
    assert_eq!(claiming.len(), 256 * 256 + 8 * 256 + 128);
    for short in [&[][..], &[0xa3], &[0x12], &[0x12, 1]] {
        assert_eq!(Claim::of(short), None);
    }
}

#[test]
fn a_claim_that_makes_no_sense_becomes_what_was_transferred() {
    let units = Claim::of(&[0xa0]).unwrap();

    for kept in [0, 8, units.most - 1, units.most] {
        assert_eq!(units.excessive(kept.to_be_bytes(), 16), None);
    }
    for claimed in [units.most + 1, u32::MAX] {
        for (transferred, bound) in [(0, 0), (7, 0), (8, 0), (24, 16), (u32::MAX, units.most)] {
            let found = units.excessive(claimed.to_be_bytes(), transferred);

            assert_eq!(found, Some((claimed, bound)));
        }
    }
    assert_eq!(units.replaced([0xff; 4], 16), [0, 0, 0, 16]);
}

#[test]
fn a_list_of_pages_has_no_page_twice() {
    let pages = Claim::of(&[0x12, 1, 0]).unwrap();

    // Before the length are the kind of the unit and the code of the page.
    for kept in [[5, 0, 0, 0], [0, 0, 0, 255], [0xff, 0xff, 1, 0]] {
        assert_eq!(pages.excessive(kept, 4), None);
    }
    assert_eq!(pages.excessive([5, 0, 1, 1], 4), Some((257, 0)));
    assert_eq!(pages.excessive([5, 7, 0xff, 0xff], 36), Some((0xffff, 32)));
    assert_eq!(
        pages.excessive([0, 0, 0xff, 0xff], 65_535),
        Some((0xffff, 256))
    );
    assert_eq!(pages.replaced([5, 7, 0xff, 0xff], 32), [5, 7, 0, 32]);
}

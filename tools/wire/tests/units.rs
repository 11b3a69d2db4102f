// SPDX-License-Identifier: GPL-2.0

//! What logical units say of themselves: sense data, INQUIRY data, and what tells one unit from another.

use proptest::prelude::*;
use virtio_scsi_wire::{
    events::vpd::{differ, is_list_plausible, Page, Presence},
    queues::sense::{SenseCode, SENSE_HEAD},
};

/// A page with a header that says how long it is.
fn page(page: Page, body: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(body.len()).unwrap().to_be_bytes();

    [&[0, page.code(), high, low], body].concat()
}

/// A designator: code set, association and type, and its value.
fn designator(association: u8, kind: u8, value: &[u8]) -> Vec<u8> {
    let len = u8::try_from(value.len()).unwrap();

    [&[1, association << 4 | kind, 0, len], value].concat()
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
    assert!(!sense(5, 0x24).is_not_there() && !sense(2, 0x25).is_not_there());
}

#[test]
fn the_first_byte_of_inquiry_data() {
    assert_eq!(Presence::of(0x00, 0x00), Presence::Same);
    assert_eq!(Presence::of(0x00, 0x05), Presence::OtherType);
    assert_eq!(Presence::of(0x00, 0x7f), Presence::Gone);
    assert_eq!(Presence::of(0x00, 0x20), Presence::Gone);
    // The midlayer has taken it as it was.
    assert_eq!(Presence::of(0x20, 0x20), Presence::Same);
    assert_eq!(Presence::of(0x20, 0x00), Presence::Same);
    assert_eq!(Presence::of(0x25, 0x20), Presence::OtherType);
    assert_eq!(Presence::of(0x20, 0x7f), Presence::Gone);
}

#[test]
fn lists_of_pages() {
    let list = |codes: &[u8]| page(Page::List, codes);

    assert!(is_list_plausible(&list(&[0, 0x80, 0x83, 0xb0])));
    assert!(is_list_plausible(&list(&[])));
    assert!(is_list_plausible(&list(&(0..=255).collect::<Vec<u8>>())));
    // Cut off: what is there is looked at.
    assert!(is_list_plausible(&list(&[0, 0x80, 0x83, 0xb0])[..6]));
    assert!(!is_list_plausible(&list(&[0, 0x83, 0x83])));
    assert!(!is_list_plausible(&list(&[0; 300])));
    let mut endless = list(&[0, 0x80, 0x83]);
    endless[2..4].fill(0xff);
    assert!(!is_list_plausible(&endless));
    // The midlayer looks at neither.
    assert!(is_list_plausible(&serial(b"AA")));
    assert!(is_list_plausible(&[0, 0, 0xff]));
}

#[test]
fn serial_numbers() {
    let differs = |kept: &[u8], now: &[u8]| {
        // What is read now is read with the length of what was read first.
        differ(Page::Serial, kept, &now[..now.len().min(kept.len())])
    };

    assert!(!differs(&serial(b"A1"), &serial(b"A1")));
    assert!(differs(&serial(b"A1"), &serial(b"B1")));
    assert!(differs(&serial(b"A1"), &serial(b"A12")));
    assert!(differs(&serial(b"A12"), &serial(b"A1")));
    // Not read, or not read in full, or another page.
    assert!(!differs(&serial(b"A1"), &[]));
    assert!(!differs(&serial(b"A1"), &serial(b"B1")[..4]));
    assert!(!differs(&serial(b"A1"), &serial(b"B1")[..5]));
    assert!(!differs(&serial(b"A1")[..5], &serial(b"B1")));
    assert!(!differs(&serial(b""), &serial(b"B1")));
    assert!(!differs(&serial(b"A1"), &serial(b"")));
    assert!(!differs(&serial(b"A1"), &identification(&[])));
}

#[test]
fn designators() {
    let (naa, eui, t10, vendor) = (3, 2, 1, 0);
    let differs = |kept: &[Vec<u8>], now: &[Vec<u8>]| {
        differ(
            Page::Identification,
            &identification(kept),
            &identification(now),
        )
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
    assert!(differs(
        &[unit(vendor, "disk-a"), unit(naa, "1")],
        &[unit(vendor, "disk-b"), unit(eui, "1")]
    ));
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
    assert!(differ(Page::Identification, &whole, &other));
    assert!(!differ(
        Page::Identification,
        &whole,
        &other[..other.len() - 1]
    ));
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
    fn nothing_differs_from_itself(bytes in bytes(), len in 0_usize..40) {
        for page in [Page::List, Page::Serial, Page::Identification] {
            prop_assert!(!differ(page, &bytes, &bytes));
            // Nor from what was read of it in part.
            prop_assert!(!differ(page, &bytes, &bytes[..len.min(bytes.len())]));
        }
    }

    #[test]
    fn it_makes_no_difference_which_of_two_was_first(one in bytes(), other in bytes()) {
        prop_assert_eq!(
            differ(Page::Identification, &one, &other),
            differ(Page::Identification, &other, &one)
        );
        let _ = is_list_plausible(&one);
    }

    #[test]
    fn any_sense_data(bytes: [u8; SENSE_HEAD], len: usize) {
        if let Some(sense) = SenseCode::decode(bytes, len) {
            prop_assert!(sense.key < 16);
        }
    }

    #[test]
    fn any_list_that_is_plausible_is_short(body in prop::collection::vec(any::<u8>(), 0..600)) {
        let mut codes = body.clone();
        codes.sort_unstable();
        codes.dedup();

        prop_assert_eq!(is_list_plausible(&page(Page::List, &body)), codes.len() == body.len());
    }
}

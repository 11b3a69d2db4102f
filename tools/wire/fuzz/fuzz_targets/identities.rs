// SPDX-License-Identifier: GPL-2.0

//! Two readings of the VPD pages that identify a logical unit.

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use virtio_scsi_wire::{
    invariants,
    protocol::vpd::{Identity, Page},
};

/// A designator, whose value is one byte some times over, so that two of them are often the same.
#[derive(Arbitrary, Debug)]
struct Designator {
    code_set: u8,
    kind: u8,
    value: u8,
    len: u8,
}

/// The data of a page, with a header that says how long it is, or any bytes.
#[derive(Arbitrary, Debug)]
enum Answer {
    Serial(Vec<u8>),
    Identification(Vec<Designator>),
    Odd(Vec<u8>),
}

impl Answer {
    fn bytes(&self) -> Vec<u8> {
        let (page, body) = match self {
            Self::Serial(body) => (Page::Serial, body.clone()),
            Self::Identification(list) => (
                Page::Identification,
                list.iter()
                    .flat_map(|each| {
                        let len = each.len % 20;

                        [each.code_set, each.kind, 0, len]
                            .into_iter()
                            .chain(std::iter::repeat_n(each.value, len.into()))
                    })
                    .collect(),
            ),
            Self::Odd(bytes) => return bytes.clone(),
        };
        let [high, low] = u16::try_from(body.len()).unwrap_or(u16::MAX).to_be_bytes();

        [&[0, page.code(), high, low], &body[..]].concat()
    }
}

#[derive(Arbitrary, Debug)]
struct Input {
    pages: [Answer; 4],
    len: u8,
}

fuzz_target!(|input: Input| {
    let [serial, identification, other_serial, other_identification] =
        input.pages.each_ref().map(Answer::bytes);
    let one = Identity {
        serial: &serial,
        identification: &identification,
    };
    let other = Identity {
        serial: &other_serial,
        identification: &other_identification,
    };

    invariants::identities(&one, &other, input.len.into());
    invariants::list_of_pages(&serial);
});

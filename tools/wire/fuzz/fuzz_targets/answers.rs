// SPDX-License-Identifier: GPL-2.0

//! Data that a device sends for a command, by which the driver or the kernel decides what to do
//! next, and its events.

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use virtio_scsi_wire::{
    invariants,
    protocol::{
        address::Address,
        byte_order::ByteOrder,
        event::EventInfo,
        sense::{SenseCode, SENSE_HEAD},
    },
};

#[derive(Arbitrary, Debug)]
enum Input<'a> {
    Units(&'a [u8]),
    Pages(&'a [u8]),
    Claim {
        cdb: &'a [u8],
        head: [u8; 4],
        transferred: u32,
    },
    Sense {
        len: u8,
        bytes: [u8; SENSE_HEAD],
    },
    Event {
        bytes: [u8; 16],
        little: bool,
    },
}

fuzz_target!(|input: Input<'_>| match input {
    Input::Units(data) => invariants::logical_units(data),
    Input::Pages(data) => invariants::list_of_pages(data),
    Input::Claim {
        cdb,
        head,
        transferred,
    } => invariants::claims(cdb, head, transferred),
    Input::Sense { len, bytes } => {
        if let Some(sense) = SenseCode::decode(bytes, len.into()) {
            assert!(sense.key < 16);
        }
    }
    Input::Event { bytes, little } => {
        let order = if little {
            ByteOrder::Little
        } else {
            ByteOrder::Big
        };

        // Each unit that an event is about has an address.
        if let Some(address) = EventInfo::decode(order, bytes).event.address() {
            assert!(address.encode().and_then(Address::decode) == Some(address));
        }
    }
});

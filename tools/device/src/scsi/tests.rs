// SPDX-License-Identifier: GPL-2.0-or-later

//! Tests of the target: commands as an initiator sends them.

use super::inquiry::MAX_COMPARE;
use super::target::Targets;
use super::unit::{Kind, Size, UnitConfig};
use super::{status, Command, Reply, Reset, Sense};
use crate::bytes::{be16, be32, be64};

fn targets(config: UnitConfig) -> Targets {
    let mut targets = Targets::default();
    targets
        .add(UnitConfig {
            size: Some(Size::Bytes(1 << 20)),
            power_on_attention: false,
            ..config
        })
        .unwrap();
    targets
}

fn disk() -> Targets {
    targets(UnitConfig {
        thin: true,
        ..UnitConfig::default()
    })
}

fn send_all(
    targets: &mut Targets,
    lun: u16,
    cdb: &[u8],
    buffers: (&[u8], &[u8], usize, usize),
) -> Reply {
    let mut padded = cdb.to_vec();
    padded.resize(32, 0);
    let command = Command {
        cdb: &padded,
        data_out: buffers.0,
        pi_out: buffers.1,
        data_in: buffers.2,
        pi_in: buffers.3,
    };
    targets.execute(0, 0, lun, &command).unwrap()
}

fn send(targets: &mut Targets, cdb: &[u8], data_out: &[u8], data_in: usize) -> Reply {
    send_all(targets, 0, cdb, (data_out, &[], data_in, 0))
}

fn good(targets: &mut Targets, cdb: &[u8], data_out: &[u8], data_in: usize) -> Vec<u8> {
    let reply = send(targets, cdb, data_out, data_in);
    assert_eq!(reply.status, status::GOOD, "{:02x?}", reply.sense);
    assert!(!reply.overrun);
    reply.data_in
}

fn refused(targets: &mut Targets, cdb: &[u8], data_out: &[u8], data_in: usize) -> (u8, u8, u8) {
    let reply = send(targets, cdb, data_out, data_in);
    assert_eq!(reply.status, status::CHECK_CONDITION);
    (reply.sense[2], reply.sense[12], reply.sense[13])
}

fn codes(sense: Sense) -> (u8, u8, u8) {
    (sense.key, sense.asc, sense.ascq)
}

fn read_10(lba: u8, blocks: u8) -> [u8; 10] {
    [0x28, 0, 0, 0, 0, lba, 0, 0, blocks, 0]
}

fn write_10(lba: u8, blocks: u8) -> [u8; 10] {
    [0x2a, 0, 0, 0, 0, lba, 0, 0, blocks, 0]
}

#[test]
fn every_length_of_read_gets_what_every_length_of_write_wrote() {
    let lba = 7u8;
    let reads: [&[u8]; 5] = [
        &[0x08, 0, 0, lba, 1, 0],
        &read_10(lba, 1),
        &[0xa8, 0, 0, 0, 0, lba, 0, 0, 0, 1, 0, 0],
        &[0x88, 0, 0, 0, 0, 0, 0, 0, 0, lba, 0, 0, 0, 1, 0, 0],
        &variable(0x09, lba, 1),
    ];
    let writes: [&[u8]; 8] = [
        &[0x0a, 0, 0, lba, 1, 0],
        &write_10(lba, 1),
        &[0xaa, 0, 0, 0, 0, lba, 0, 0, 0, 1, 0, 0],
        &[0x8a, 0, 0, 0, 0, 0, 0, 0, 0, lba, 0, 0, 0, 1, 0, 0],
        &variable(0x0b, lba, 1),
        &[0x2e, 0, 0, 0, 0, lba, 0, 0, 1, 0],
        &[0xae, 0, 0, 0, 0, lba, 0, 0, 0, 1, 0, 0],
        &[0x8e, 0, 0, 0, 0, 0, 0, 0, 0, lba, 0, 0, 0, 1, 0, 0],
    ];
    let mut targets = disk();
    for (i, write) in writes.iter().enumerate() {
        good(&mut targets, write, &[i as u8 + 1; 512], 0);
        for read in reads {
            assert_eq!(good(&mut targets, read, &[], 512), [i as u8 + 1; 512]);
        }
    }
}

fn variable(action: u8, lba: u8, blocks: u8) -> [u8; 32] {
    let mut cdb = [0; 32];
    (cdb[0], cdb[7], cdb[9], cdb[19], cdb[31]) = (0x7f, 0x18, action, lba, blocks);
    cdb
}

#[test]
fn residual_and_overrun() {
    let mut targets = disk();
    let reply = send(&mut targets, &read_10(0, 2), &[], 4096);
    assert_eq!((reply.data_in.len(), reply.residual), (1024, 3072));
    assert!(send(&mut targets, &read_10(0, 2), &[], 1023).overrun);
    assert!(send(&mut targets, &write_10(0, 2), &[0; 512], 0).overrun);
    let reply = send(&mut targets, &[0x12, 0, 0, 0, 8, 0], &[], 8);
    assert_eq!((reply.data_in.len(), reply.residual), (8, 0));
    let reply = send(&mut targets, &write_10(0, 1), &[0; 1024], 0);
    assert_eq!((reply.status, reply.residual), (status::GOOD, 512));
}

#[test]
fn blocks_beyond_the_end_are_refused() {
    let mut targets = disk();
    let end = [0x28, 0, 0, 0, 0x07, 0xff, 0, 0, 2, 0];
    assert_eq!(
        refused(&mut targets, &end, &[], 1024),
        codes(Sense::LBA_RANGE)
    );
    let far = [
        0x88, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1, 0, 0,
    ];
    assert_eq!(
        refused(&mut targets, &far, &[], 512),
        codes(Sense::LBA_RANGE)
    );
}

#[test]
fn unknown_commands_and_fields_are_refused() {
    let mut targets = disk();
    assert_eq!(refused(&mut targets, &[0xd0], &[], 0), codes(Sense::OPCODE));
    let page = [0x12, 1, 0xee, 0, 255, 0];
    assert_eq!(
        refused(&mut targets, &page, &[], 255),
        codes(Sense::CDB_FIELD)
    );
    let protect = [0x28, 0x20, 0, 0, 0, 0, 0, 0, 1, 0];
    assert_eq!(
        refused(&mut targets, &protect, &[], 512),
        codes(Sense::CDB_FIELD)
    );
}

#[test]
fn vital_product_data_pages_are_those_that_page_0_lists() {
    for kind in [Kind::Disk, Kind::Cdrom] {
        let mut targets = targets(UnitConfig {
            kind,
            ..UnitConfig::default()
        });
        let listed = good(&mut targets, &[0x12, 1, 0, 0, 255, 0], &[], 255);
        for &page in &listed[4..] {
            let data = good(&mut targets, &[0x12, 1, page, 0, 255, 0], &[], 255);
            assert_eq!(data[1], page);
            assert_eq!(usize::from(be16(&data, 2)) + 4, data.len());
        }
    }
}

#[test]
fn capacity() {
    let mut targets = targets(UnitConfig {
        block_size: 4096,
        thin: true,
        ..UnitConfig::default()
    });
    let short = good(&mut targets, &[0x25], &[], 8);
    assert_eq!((be32(&short, 0), be32(&short, 4)), (255, 4096));
    let long = good(
        &mut targets,
        &[0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32],
        &[],
        32,
    );
    assert_eq!(
        (be64(&long, 0), be32(&long, 8), long[14]),
        (255, 4096, 0xc0)
    );
    targets.get(0, 0).unwrap().resize(1 << 33);
    assert_eq!(
        refused(&mut targets, &[0x25], &[], 8),
        codes(Sense::CAPACITY)
    );
    assert_eq!(be32(&good(&mut targets, &[0x25], &[], 8), 0), u32::MAX);
}

#[test]
fn attentions_are_told_once_and_not_to_inquiry() {
    let mut targets = disk();
    targets.get(0, 0).unwrap().reset(Reset::Unit);
    good(&mut targets, &[0x12, 0, 0, 0, 36, 0], &[], 36);
    good(&mut targets, &[0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 16], &[], 16);
    assert_eq!(
        refused(&mut targets, &[0], &[], 0),
        codes(Sense::UNIT_RESET)
    );
    good(&mut targets, &[0], &[], 0);
    targets.get(0, 0).unwrap().attention(Sense::CAPACITY);
    let sense = good(&mut targets, &[0x03, 0, 0, 0, 18, 0], &[], 18);
    assert_eq!((sense[2], sense[12]), (6, 0x2a));
    good(&mut targets, &[0], &[], 0);
}

#[test]
fn luns_are_reported_and_missing_ones_say_so() {
    let mut targets = disk();
    targets
        .add(UnitConfig {
            lun: 300,
            ..UnitConfig::default()
        })
        .unwrap();
    let list = good(&mut targets, &[0xa0, 0, 0, 0, 0, 0, 0, 0, 1, 0], &[], 256);
    assert_eq!(
        (be32(&list, 0), be16(&list, 8), be16(&list, 16)),
        (16, 0, 0x412c)
    );
    let reply = send_all(&mut targets, 5, &[0], (&[], &[], 0, 0));
    assert_eq!(
        (reply.status, reply.sense[12]),
        (status::CHECK_CONDITION, 0x25)
    );
    let reply = send_all(&mut targets, 5, &[0x12, 0, 0, 0, 36, 0], (&[], &[], 36, 0));
    assert_eq!((reply.status, reply.data_in[0]), (status::GOOD, 0x7f));
    let cdb = [0; 32];
    let nobody = Command {
        cdb: &cdb,
        data_out: &[],
        pi_out: &[],
        data_in: 0,
        pi_in: 0,
    };
    assert!(targets.execute(0, 9, 0, &nobody).is_none());
}

#[test]
fn mode_pages_can_be_changed_where_they_may() {
    let mut targets = disk();
    let caching = good(&mut targets, &[0x1a, 8, 8, 0, 255, 0], &[], 255);
    assert_eq!((caching[0], caching[4], caching[6]), (23, 8, 4));
    let mut list = caching.clone();
    (list[0], list[2], list[6]) = (0, 0, 0);
    good(&mut targets, &[0x15, 0x10, 0, 0, 24, 0], &list, 0);
    assert_eq!(good(&mut targets, &[0x1a, 8, 8, 0, 255, 0], &[], 255)[6], 0);
    list[7] = 0xff;
    assert_eq!(
        refused(&mut targets, &[0x15, 0x10, 0, 0, 24, 0], &list, 0),
        codes(Sense::PARAMETER)
    );
    // D_SENSE
    let control = good(
        &mut targets,
        &[0x5a, 8, 10, 0, 0, 0, 0, 0, 255, 0],
        &[],
        255,
    );
    let mut list = control.clone();
    (list[0], list[1], list[3], list[10]) = (0, 0, 0, 4);
    good(
        &mut targets,
        &[0x55, 0x10, 0, 0, 0, 0, 0, 0, list.len() as u8, 0],
        &list,
        0,
    );
    assert_eq!(send(&mut targets, &[0xd0], &[], 0).sense[0], 0x72);
}

#[test]
fn unmapped_blocks_are_zeros_and_reported() {
    let mut targets = disk();
    good(&mut targets, &write_10(0, 16), &[9; 16 * 512], 0);
    let status_of = |targets: &mut Targets| {
        good(
            targets,
            &[0x9e, 0x12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 24],
            &[],
            24,
        )
    };
    assert_eq!(
        (
            status_of(&mut targets)[20],
            be32(&status_of(&mut targets), 16)
        ),
        (0, 16)
    );
    let mut list = [0; 24];
    (list[1], list[3], list[15], list[19]) = (22, 16, 0, 8);
    good(&mut targets, &[0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0], &list, 0);
    assert_eq!(
        (
            status_of(&mut targets)[20],
            be32(&status_of(&mut targets), 16)
        ),
        (1, 8)
    );
    assert_eq!(good(&mut targets, &read_10(7, 1), &[], 512), [0; 512]);
    assert_eq!(good(&mut targets, &read_10(8, 1), &[], 512), [9; 512]);
    // WRITE SAME (16), with a block and without
    good(
        &mut targets,
        &[0x93, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 2, 0, 0],
        &[5; 512],
        0,
    );
    assert_eq!(good(&mut targets, &read_10(4, 1), &[], 512), [5; 512]);
    good(
        &mut targets,
        &[0x93, 1, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0],
        &[],
        0,
    );
    assert_eq!(good(&mut targets, &read_10(4, 1), &[], 512), [0; 512]);
}

#[test]
fn comparing_finds_where_blocks_differ() {
    let mut targets = disk();
    good(&mut targets, &write_10(1, 1), &[1; 512], 0);
    good(
        &mut targets,
        &[0x2f, 2, 0, 0, 0, 1, 0, 0, 1, 0],
        &[1; 512],
        0,
    );
    let mut other = [1; 512];
    other[100] = 2;
    let reply = send(&mut targets, &[0x2f, 2, 0, 0, 0, 1, 0, 0, 1, 0], &other, 0);
    assert_eq!((reply.sense[2], be32(&reply.sense, 3)), (0xe, 100));
    let swap = [[1; 512], [3; 512]].concat();
    let cdb = [0x89, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0];
    good(&mut targets, &cdb, &swap, 0);
    assert_eq!(good(&mut targets, &read_10(1, 1), &[], 512), [3; 512]);
    assert_eq!(
        refused(&mut targets, &cdb, &swap, 0),
        codes(Sense::MISCOMPARE)
    );
    let mut long = cdb;
    long[13] = MAX_COMPARE + 1;
    let data = vec![0; 2 * 512 * usize::from(long[13])];
    assert_eq!(
        refused(&mut targets, &long, &data, 0),
        codes(Sense::CDB_FIELD)
    );
}

#[test]
fn protection_information_travels_apart_and_within() {
    let mut targets = targets(UnitConfig {
        protection: 1,
        ..UnitConfig::default()
    });
    let data = [7; 512];
    let mut tuple = super::protection::guard(&data).to_be_bytes().to_vec();
    tuple.extend([0, 0, 0, 0, 0, 5]);
    let (mut write, mut read) = (write_10(5, 1), read_10(5, 1));
    (write[1], read[1]) = (0x20, 0x20);
    let reply = send_all(&mut targets, 0, &write, (&data, &tuple, 0, 0));
    assert_eq!(reply.status, status::GOOD);
    let reply = send_all(&mut targets, 0, &read, (&[], &[], 512, 8));
    assert_eq!((reply.data_in, reply.pi_in), (data.to_vec(), tuple.clone()));
    assert_eq!(
        good(&mut targets, &read, &[], 520),
        [&data[..], &tuple].concat()
    );
    for (at, sense) in [(0, Sense::GUARD), (7, Sense::REFERENCE_TAG)] {
        let mut wrong = tuple.clone();
        wrong[at] ^= 1;
        let reply = send_all(&mut targets, 0, &write, (&data, &wrong, 0, 0));
        assert_eq!(
            (reply.sense[2], reply.sense[12], reply.sense[13]),
            codes(sense)
        );
        assert_eq!(be32(&reply.sense, 3), 5);
    }
    assert_eq!(good(&mut targets, &read_10(5, 1), &[], 512), data);
}

#[test]
fn supported_commands_are_listed_and_described() {
    let mut targets = disk();
    let all = good(
        &mut targets,
        &[0xa3, 0x0c, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0],
        &[],
        2048,
    );
    assert_eq!(be32(&all, 0) as usize + 4, all.len());
    let one = good(
        &mut targets,
        &[0xa3, 0x0c, 1, 0x28, 0, 0, 0, 0, 0, 64, 0, 0],
        &[],
        64,
    );
    assert_eq!((one[1], be16(&one, 2), one[4]), (3, 10, 0x28));
    let with_action = good(
        &mut targets,
        &[0xa3, 0x0c, 2, 0x9e, 0, 0x10, 0, 0, 0, 64, 0, 0],
        &[],
        64,
    );
    assert_eq!((with_action[1], with_action[5]), (3, 0x10));
    let unknown = good(
        &mut targets,
        &[0xa3, 0x0c, 1, 0xd0, 0, 0, 0, 0, 0, 64, 0, 0],
        &[],
        64,
    );
    assert_eq!(unknown[1], 1);
}

#[test]
fn a_cdrom_without_its_medium_is_not_ready() {
    let mut targets = targets(UnitConfig {
        kind: Kind::Cdrom,
        ..UnitConfig::default()
    });
    let toc = good(&mut targets, &[0x43, 0, 0, 0, 0, 0, 0, 0, 20, 0], &[], 20);
    assert_eq!((toc.len(), be32(&toc, 16)), (20, 512));
    assert_eq!(
        refused(&mut targets, &write_10(0, 1), &[0; 2048], 0),
        codes(Sense::OPCODE)
    );
    good(&mut targets, &[0x1e, 0, 0, 0, 1, 0], &[], 0);
    let eject = [0x1b, 0, 0, 0, 2, 0];
    assert_eq!(
        refused(&mut targets, &eject, &[], 0),
        codes(Sense::REMOVAL_PREVENTED)
    );
    good(&mut targets, &[0x1e, 0, 0, 0, 0, 0], &[], 0);
    good(&mut targets, &eject, &[], 0);
    assert_eq!(refused(&mut targets, &[0], &[], 0), codes(Sense::NO_MEDIUM));
    let events = good(&mut targets, &[0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8, 0], &[], 8);
    assert_eq!((events[4], events[5]), (3, 0));
    good(&mut targets, &[0x1b, 0, 0, 0, 3, 0], &[], 0);
    assert_eq!(
        refused(&mut targets, &[0], &[], 0),
        codes(Sense::MEDIUM_CHANGED)
    );
    good(&mut targets, &[0], &[], 0);
}

#[test]
fn a_write_protected_unit_stays_as_it_is() {
    let mut targets = targets(UnitConfig {
        read_only: true,
        ..UnitConfig::default()
    });
    assert_eq!(
        refused(&mut targets, &write_10(0, 1), &[1; 512], 0),
        codes(Sense::WRITE_PROTECTED)
    );
    assert_eq!(good(&mut targets, &read_10(0, 1), &[], 512), [0; 512]);
    assert_eq!(
        good(&mut targets, &[0x1a, 0, 0x3f, 0, 255, 0], &[], 255)[2] & 0x80,
        0x80
    );
}

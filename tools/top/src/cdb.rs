// SPDX-License-Identifier: GPL-2.0

//! Names of SCSI commands, as SPC, SBC and MMC have them, with the blocks of the simple ones.

/// Where a command says which blocks it is about: offset and length of the two fields.
#[derive(Clone, Copy)]
struct Blocks {
    lba: (usize, usize),
    count: (usize, usize),
}

/// The fields of most commands of 6, 10, 12 and 16 bytes.
const SIX: Option<Blocks> = blocks((1, 3), (4, 1));
const TEN: Option<Blocks> = blocks((2, 4), (7, 2));
const TWELVE: Option<Blocks> = blocks((2, 4), (6, 4));
const SIXTEEN: Option<Blocks> = blocks((2, 8), (10, 4));
/// COMPARE AND WRITE.
const COMPARE: Option<Blocks> = blocks((2, 8), (13, 1));
/// A command of 32 bytes.
const LONG: Option<Blocks> = blocks((12, 8), (28, 4));

const fn blocks(lba: (usize, usize), count: (usize, usize)) -> Option<Blocks> {
    Some(Blocks { lba, count })
}

/// Operation codes that stand for one command each.
fn command(opcode: u8) -> Option<(&'static str, Option<Blocks>)> {
    Some(match opcode {
        0x00 => ("TEST UNIT READY", None),
        0x03 => ("REQUEST SENSE", None),
        0x04 => ("FORMAT UNIT", None),
        0x08 => ("READ(6)", SIX),
        0x0a => ("WRITE(6)", SIX),
        0x12 => ("INQUIRY", None),
        0x15 => ("MODE SELECT(6)", None),
        0x16 => ("RESERVE(6)", None),
        0x17 => ("RELEASE(6)", None),
        0x1a => ("MODE SENSE(6)", None),
        0x1b => ("START STOP UNIT", None),
        0x1c => ("RECEIVE DIAGNOSTIC RESULTS", None),
        0x1d => ("SEND DIAGNOSTIC", None),
        0x1e => ("PREVENT ALLOW MEDIUM REMOVAL", None),
        0x25 => ("READ CAPACITY(10)", None),
        0x28 => ("READ(10)", TEN),
        0x2a => ("WRITE(10)", TEN),
        0x2e => ("WRITE AND VERIFY(10)", TEN),
        0x2f => ("VERIFY(10)", TEN),
        0x34 => ("PRE-FETCH(10)", TEN),
        0x35 => ("SYNCHRONIZE CACHE(10)", TEN),
        0x3b => ("WRITE BUFFER", None),
        0x3c => ("READ BUFFER(10)", None),
        0x41 => ("WRITE SAME(10)", TEN),
        0x42 => ("UNMAP", None),
        0x43 => ("READ TOC/PMA/ATIP", None),
        0x46 => ("GET CONFIGURATION", None),
        0x4a => ("GET EVENT STATUS NOTIFICATION", None),
        0x4d => ("LOG SENSE", None),
        0x51 => ("READ DISC INFORMATION", None),
        0x55 => ("MODE SELECT(10)", None),
        0x5a => ("MODE SENSE(10)", None),
        0x5e => ("PERSISTENT RESERVE IN", None),
        0x5f => ("PERSISTENT RESERVE OUT", None),
        0x83 => ("EXTENDED COPY", None),
        0x85 => ("ATA PASS-THROUGH(16)", None),
        0x88 => ("READ(16)", SIXTEEN),
        0x89 => ("COMPARE AND WRITE", COMPARE),
        0x8a => ("WRITE(16)", SIXTEEN),
        0x8e => ("WRITE AND VERIFY(16)", SIXTEEN),
        0x8f => ("VERIFY(16)", SIXTEEN),
        0x90 => ("PRE-FETCH(16)", SIXTEEN),
        0x91 => ("SYNCHRONIZE CACHE(16)", SIXTEEN),
        0x93 => ("WRITE SAME(16)", SIXTEEN),
        0xa0 => ("REPORT LUNS", None),
        0xa1 => ("ATA PASS-THROUGH(12)", None),
        0xa8 => ("READ(12)", TWELVE),
        0xaa => ("WRITE(12)", TWELVE),
        0xae => ("WRITE AND VERIFY(12)", TWELVE),
        0xaf => ("VERIFY(12)", TWELVE),
        _ => return None,
    })
}

/// Operation codes that a service action completes.
fn service(opcode: u8, action: u16) -> Option<(&'static str, Option<Blocks>)> {
    Some(match (opcode, action) {
        (0x7f, 0x09) => ("READ(32)", LONG),
        (0x7f, 0x0a) => ("VERIFY(32)", LONG),
        (0x7f, 0x0b) => ("WRITE(32)", LONG),
        (0x7f, 0x0d) => ("WRITE SAME(32)", LONG),
        (0x9e, 0x10) => ("READ CAPACITY(16)", None),
        (0x9e, 0x12) => ("GET LBA STATUS", None),
        (0xa3, 0x05) => ("REPORT IDENTIFYING INFORMATION", None),
        (0xa3, 0x0a) => ("REPORT TARGET PORT GROUPS", None),
        (0xa3, 0x0c) => ("REPORT SUPPORTED OPERATION CODES", None),
        (0xa3, 0x0d) => ("REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS", None),
        (0xa4, 0x0a) => ("SET TARGET PORT GROUPS", None),
        _ => return None,
    })
}

/// A field, most significant byte first; [`None`] if the command is too short for it.
fn field(bytes: &[u8], (offset, length): (usize, usize)) -> Option<u64> {
    let bytes = bytes.get(offset..offset.checked_add(length)?)?;
    Some(
        bytes
            .iter()
            .fold(0, |value, byte| (value << 8) | u64::from(*byte)),
    )
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    let pairs = hex.as_bytes().chunks(2);
    pairs
        .map(|pair| match pair {
            [high, low] => u8::try_from((digit(high)? << 4) | digit(low)?).ok(),
            _ => None,
        })
        .collect()
}

/// The name of a command, and the bytes and fields that belong to it.
fn find(hex: &str) -> Option<(&'static str, Vec<u8>, Option<Blocks>)> {
    let bytes = bytes(hex)?;
    let opcode = *bytes.first()?;
    let action = match opcode {
        0x7f => field(&bytes, (8, 2)),
        _ => bytes.get(1).map(|byte| u64::from(byte & 0x1f)),
    };
    let found = command(opcode).or_else(|| service(opcode, u16::try_from(action?).ok()?));
    let (name, blocks) = found?;
    Some((name, bytes, blocks))
}

/// The name of a command that is given in hexadecimal, if it has one here.
pub fn name(hex: &str) -> Option<&'static str> {
    find(hex).map(|(name, ..)| name)
}

/// A command in words: its name, and LBA and number of blocks where that is simple; else as given.
pub fn words(hex: &str) -> String {
    let Some((name, bytes, blocks)) = find(hex) else {
        return hex.to_owned();
    };
    let both = blocks.and_then(|at| Some((field(&bytes, at.lba)?, field(&bytes, at.count)?)));
    match both {
        // In these, 0 stands for 256 blocks, and three bits before the address are others.
        Some((lba, count)) if name.ends_with("(6)") => {
            let count = if count == 0 { 256 } else { count };
            format!("{name} LBA {} +{count}", lba & 0x1f_ffff)
        }
        // SYNCHRONIZE CACHE of all blocks.
        Some((0, 0)) => name.to_owned(),
        Some((lba, count)) => format!("{name} LBA {lba} +{count}"),
        None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_have_their_blocks() {
        for (hex, expected) in [
            ("08e1020308000000", "READ(6) LBA 66051 +8"),
            ("0a0000000000", "WRITE(6) LBA 0 +256"),
            ("28000000002800000800", "READ(10) LBA 40 +8"),
            ("2a0800ffffff00ffff00", "WRITE(10) LBA 16777215 +65535"),
            ("a80000000102000000030000", "READ(12) LBA 258 +3"),
            (
                "88000000000100000002000000100000",
                "READ(16) LBA 4294967298 +16",
            ),
            (
                "89000000000000000005000000010000",
                "COMPARE AND WRITE LBA 5 +1",
            ),
            (
                "8a00ffffffffffffffffffffffff0000",
                "WRITE(16) LBA 18446744073709551615 +4294967295",
            ),
            ("35000000000000000000", "SYNCHRONIZE CACHE(10)"),
            ("35000000000100000200", "SYNCHRONIZE CACHE(10) LBA 1 +2"),
            (
                "7f000000000000180009000000000000000000070000000000000000000000ff",
                "READ(32) LBA 7 +255",
            ),
        ] {
            assert_eq!(words(hex), expected);
        }
    }

    #[test]
    fn service_actions_complete_an_operation_code() {
        assert_eq!(
            words("9e100000000000000000000000200000"),
            "READ CAPACITY(16)"
        );
        assert_eq!(words("9e120000000000000000000000200000"), "GET LBA STATUS");
        assert_eq!(
            words("a30a00000000000010000000"),
            "REPORT TARGET PORT GROUPS"
        );
        // The upper bits of the byte are others.
        assert_eq!(
            name("9ef00000000000000000000000200000"),
            Some("READ CAPACITY(16)")
        );
        assert_eq!(name("9e1f0000000000000000000000200000"), None);
    }

    #[test]
    fn what_has_no_name_stays_hexadecimal() {
        for hex in ["ff00", "", "2", "zz", "28zz", "+1", "€a", "9e", "7f00"] {
            assert_eq!(words(hex), hex);
            assert_eq!(name(hex), None);
        }
    }

    #[test]
    fn a_command_that_is_cut_short_has_its_name_only() {
        assert_eq!(words("28000000"), "READ(10)");
        assert_eq!(words("000000000000"), "TEST UNIT READY");
    }
}

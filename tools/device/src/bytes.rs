// SPDX-License-Identifier: GPL-2.0-or-later

//! Numbers in byte slices. SCSI is big-endian, virtio little-endian. What lies beyond a slice reads
//! as zero.

fn field<const N: usize>(data: &[u8], at: usize) -> [u8; N] {
    let mut bytes = [0; N];
    for (i, byte) in bytes.iter_mut().enumerate() {
        *byte = data.get(at + i).copied().unwrap_or(0);
    }
    bytes
}

/// Big-endian, 16 bits.
pub fn be16(data: &[u8], at: usize) -> u16 {
    u16::from_be_bytes(field(data, at))
}

/// Big-endian, 24 bits.
pub fn be24(data: &[u8], at: usize) -> u32 {
    be32(data, at) >> 8
}

/// Big-endian, 32 bits.
pub fn be32(data: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(field(data, at))
}

/// Big-endian, 64 bits.
pub fn be64(data: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(field(data, at))
}

/// A big-endian number of 1 to 8 bytes.
pub fn be(data: &[u8], at: usize, width: usize) -> u64 {
    (0..width).fold(0, |number, i| {
        (number << 8) | u64::from(data.get(at + i).copied().unwrap_or(0))
    })
}

/// Little-endian, 16 bits.
pub fn le16(data: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(field(data, at))
}

/// Little-endian, 32 bits.
pub fn le32(data: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(field(data, at))
}

/// Little-endian, 64 bits.
pub fn le64(data: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(field(data, at))
}

/// Bytes as hexadecimal text.
pub fn hex(data: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    data.iter()
        .flat_map(|byte| [byte >> 4, byte & 0xf])
        .map(|digit| DIGITS[usize::from(digit)] as char)
        .collect()
}

/// Hexadecimal text, spaces allowed, as bytes.
pub fn unhex(text: &str) -> Result<Vec<u8>, String> {
    let digits: Vec<char> = text.chars().filter(|c| !c.is_whitespace()).collect();
    if digits.len() % 2 != 0 {
        return Err(format!("'{text}' has an odd number of hexadecimal digits"));
    }
    digits
        .chunks(2)
        .map(|pair| {
            let pair: String = pair.iter().collect();
            u8::from_str_radix(&pair, 16)
                .map_err(|_| format!("'{pair}' in '{text}' is not hexadecimal"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        let data = [1, 2, 3, 4, 5, 6, 7, 8];
        assert_eq!(be16(&data, 1), 0x0203);
        assert_eq!(be24(&data, 0), 0x010203);
        assert_eq!(be64(&data, 0), 0x0102_0304_0506_0708);
        assert_eq!(be(&data, 2, 3), 0x030405);
        assert_eq!(le32(&data, 4), 0x0807_0605);
        assert_eq!(be32(&data, 6), 0x0708_0000);
    }

    #[test]
    fn hexadecimal() {
        assert_eq!(unhex("de AD").unwrap(), [0xde, 0xad]);
        assert_eq!(hex(&[0xde, 0xad]), "dead");
        assert!(unhex("abc").unwrap_err().contains("odd"));
        assert!(unhex("zz").unwrap_err().contains("not hexadecimal"));
    }
}

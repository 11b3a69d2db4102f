// SPDX-License-Identifier: GPL-2.0

//! The byte order of the fields that driver and device exchange.
//!
//! Virtio 1.3, section 1.4.

/// The byte order of the fields: little-endian for a device of virtio 1.0 or later, the CPU's for a
/// legacy device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ByteOrder {
    /// The least significant byte first.
    Little,
    /// The most significant byte first.
    Big,
}

macro_rules! byte_order {
    ($($to:ident, $from:ident, $type:ty, $len:literal;)*) => {
        impl ByteOrder {
            $(
                /// Returns the bytes of a field.
                #[inline]
                pub fn $to(self, value: $type) -> [u8; $len] {
                    match self {
                        Self::Little => value.to_le_bytes(),
                        Self::Big => value.to_be_bytes(),
                    }
                }

                /// Returns the value of a field.
                #[inline]
                pub fn $from(self, bytes: [u8; $len]) -> $type {
                    match self {
                        Self::Little => <$type>::from_le_bytes(bytes),
                        Self::Big => <$type>::from_be_bytes(bytes),
                    }
                }
            )*
        }
    };
}

byte_order! {
    from_u16, to_u16, u16, 2;
    from_u32, to_u32, u32, 4;
    from_u64, to_u64, u64, 8;
}

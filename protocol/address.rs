// SPDX-License-Identifier: GPL-2.0

//! The address of a logical unit, in requests and in events.
//!
//! Virtio 1.3, section 5.6.6.1.

/// The highest logical unit number of the single level formats.
pub const LUN_MAX: u16 = 0x3fff;

/// The address method bits of the flat format, as they stand in the midlayer's number of a logical
/// unit that was reported in that format.
pub const LUN_FLAT: u64 = 0x4000;

/// A logical unit of a target, as the midlayer numbers them.
///
/// The midlayer's number is the first two bytes of the LUN structure. So a unit below 256 that was
/// reported in the peripheral format has its plain number, and a unit that was reported in the flat
/// format has its number plus [`LUN_FLAT`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Address {
    /// The target.
    pub target: u8,
    /// The logical unit.
    pub lun: u64,
}

impl Address {
    /// Returns the address for the midlayer's numbers, or [`None`] if `target` has more than the 8
    /// bits of a request.
    #[inline]
    pub fn new(target: u32, lun: u64) -> Option<Self> {
        let target = u8::try_from(target).ok()?;

        Some(Self { target, lun })
    }

    /// Returns the LUN field of a request, or [`None`] if the number does not fit.
    ///
    /// Requests always use the flat format, whichever format the unit was reported in.
    #[inline]
    pub fn encode(self) -> Option<[u8; 8]> {
        let number = if self.lun < LUN_FLAT {
            self.lun
        } else {
            self.lun - LUN_FLAT
        };
        let number = u16::try_from(number).ok().filter(|lun| *lun <= LUN_MAX)?;
        let [high, low] = (number | LUN_FLAT as u16).to_be_bytes();

        Some([1, self.target, high, low, 0, 0, 0, 0])
    }

    /// Returns the address in the LUN field of an event, or [`None`] if the field has neither of
    /// the two formats that a device may use.
    ///
    /// The result is the midlayer's number for units that are reported in the smallest format:
    /// below 256 without [`LUN_FLAT`], whichever format the event has.
    pub fn decode(field: [u8; 8]) -> Option<Self> {
        let [1, target, high, low, 0, 0, 0, 0] = field else {
            return None;
        };

        let number = match high >> 6 {
            // Peripheral device addressing, of bus 0.
            0 if high == 0 => low.into(),
            // Flat space addressing.
            1 => u16::from_be_bytes([high & 0x3f, low]),
            _ => return None,
        };

        Some(Self {
            target,
            lun: match number {
                0..=255 => number.into(),
                _ => LUN_FLAT | u64::from(number),
            },
        })
    }
}

// SPDX-License-Identifier: GPL-2.0-or-later

//! Packed virtqueues (virtio 1.3, 2.8), of which `virtio-queue` knows nothing.

use std::sync::atomic::{fence, Ordering};

use vm_memory::{Bytes, GuestAddress};

use super::{Addresses, Chain, Memory, Segment};
use crate::bytes::{le16, le32, le64};

const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;
const AVAIL: u16 = 1 << 7;
const USED: u16 = 1 << 15;

const ENTRY: u64 = 16;

/// Flags of the event suppression structures.
const ENABLE: u16 = 0;
const DISABLE: u16 = 1;

/// A place in the ring, with its wrap counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    index: u16,
    wrap: bool,
}

impl Place {
    /// As in vhost's vring base: the counter is bit 15.
    fn of(number: u16) -> Self {
        Self {
            index: number & 0x7fff,
            wrap: number & 0x8000 != 0,
        }
    }

    fn number(self) -> u16 {
        self.index | (u16::from(self.wrap) << 15)
    }

    fn advanced(self, by: u16, size: u16) -> Self {
        let index = u32::from(self.index) + u32::from(by);
        if index >= u32::from(size) {
            Self {
                index: (index - u32::from(size)) as u16,
                wrap: !self.wrap,
            }
        } else {
            Self {
                index: index as u16,
                ..self
            }
        }
    }
}

/// A packed virtqueue.
#[derive(Debug)]
pub struct Packed {
    size: u16,
    addresses: Addresses,
    available: Place,
    used: Place,
    /// Where the used side was at the last question whether to interrupt.
    signalled: Place,
    event_index: bool,
}

impl Packed {
    /// Starts where a vring base says: available place in the low half, used place in the high
    /// half.
    pub fn new(size: u16, addresses: Addresses, base: u32, event_index: bool) -> Self {
        let (available, used) = if base == 0 {
            (0x8000, 0x8000)
        } else {
            (base as u16, (base >> 16) as u16)
        };
        Self {
            size,
            addresses,
            available: Place::of(available),
            used: Place::of(used),
            signalled: Place::of(used),
            event_index,
        }
    }

    /// The vring base for now.
    pub fn base(&self) -> u32 {
        u32::from(self.available.number()) | (u32::from(self.used.number()) << 16)
    }

    fn entry(&self, memory: &Memory, table: u64, index: u16) -> Result<[u8; 16], String> {
        let mut entry = [0; 16];
        memory
            .read_slice(&mut entry, GuestAddress(table + ENTRY * u64::from(index)))
            .map_err(|error| error.to_string())?;
        Ok(entry)
    }

    fn ready(&self, memory: &Memory) -> Result<bool, String> {
        let at = self.addresses.desc + ENTRY * u64::from(self.available.index) + 14;
        let flags: u16 = memory
            .load(GuestAddress(at), Ordering::Acquire)
            .map_err(|error| error.to_string())?;
        let flags = u16::from_le(flags);
        Ok((flags & AVAIL != 0) == self.available.wrap
            && (flags & USED != 0) != self.available.wrap)
    }

    /// The next chain.
    pub fn pop(&mut self, memory: &Memory) -> Result<Option<Chain>, String> {
        if !self.ready(memory)? {
            return Ok(None);
        }
        fence(Ordering::SeqCst);
        let mut chain = Chain::default();
        loop {
            let entry = self.entry(memory, self.addresses.desc, self.available.index)?;
            let flags = le16(&entry, 14);
            chain.id = le16(&entry, 12);
            chain.entries += 1;
            self.available = self.available.advanced(1, self.size);
            if flags & INDIRECT != 0 {
                let table = le64(&entry, 0);
                for index in 0..(le32(&entry, 8) / ENTRY as u32) as u16 {
                    add(&mut chain, &self.entry(memory, table, index)?);
                }
            } else {
                add(&mut chain, &entry);
            }
            if flags & NEXT == 0 {
                return Ok(Some(chain));
            }
            if chain.entries >= self.size {
                return Err("a chain is longer than its ring".into());
            }
        }
    }

    /// Asks for a kick at the next entry.
    pub fn arm(&mut self, memory: &Memory) -> Result<bool, String> {
        let mut suppression = [0; 4];
        let flags = if self.event_index {
            suppression[..2].copy_from_slice(&self.available.number().to_le_bytes());
            2
        } else {
            ENABLE
        };
        suppression[2..].copy_from_slice(&flags.to_le_bytes());
        memory
            .write_slice(&suppression, GuestAddress(self.addresses.used))
            .map_err(|error| error.to_string())?;
        fence(Ordering::SeqCst);
        self.ready(memory)
    }

    /// Marks a place of the ring as used. `entries` says how many the chain had.
    pub fn push(&mut self, memory: &Memory, id: u16, len: u32, entries: u16) -> Result<(), String> {
        let at = self.addresses.desc + ENTRY * u64::from(self.used.index);
        let mut entry = [0; 6];
        entry[..4].copy_from_slice(&len.to_le_bytes());
        entry[4..].copy_from_slice(&id.to_le_bytes());
        memory
            .write_slice(&entry, GuestAddress(at + 8))
            .map_err(|error| error.to_string())?;
        let wrap = if self.used.wrap { AVAIL | USED } else { 0 };
        memory
            .store(
                (wrap | WRITE).to_le(),
                GuestAddress(at + 14),
                Ordering::Release,
            )
            .map_err(|error| error.to_string())?;
        self.used = self.used.advanced(entries, self.size);
        Ok(())
    }

    /// Whether the driver asks for an interrupt.
    pub fn wants_interrupt(&mut self, memory: &Memory) -> Result<bool, String> {
        fence(Ordering::SeqCst);
        let suppression = self.entry(memory, self.addresses.avail, 0);
        let before = std::mem::replace(&mut self.signalled, self.used);
        let suppression = match suppression {
            Ok(suppression) => suppression,
            // The structure has four bytes; more may lie outside the memory.
            Err(_) => return Ok(true),
        };
        match le16(&suppression, 2) & 3 {
            ENABLE => Ok(true),
            DISABLE => Ok(false),
            _ => {
                let wanted = Place::of(le16(&suppression, 0));
                let distance = |to: Place| {
                    let laps = if to.wrap == before.wrap {
                        0
                    } else {
                        u32::from(self.size)
                    };
                    (u32::from(to.index) + laps).wrapping_sub(u32::from(before.index))
                };
                Ok(distance(wanted) < distance(self.used))
            }
        }
    }
}

fn add(chain: &mut Chain, entry: &[u8; 16]) {
    let segment = Segment {
        addr: le64(entry, 0),
        len: le32(entry, 8),
    };
    if le16(entry, 14) & WRITE != 0 {
        chain.inn.push(segment);
    } else {
        chain.disordered |= !chain.inn.is_empty();
        chain.out.push(segment);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use vm_memory::GuestMemoryMmap;

    use super::*;

    fn put(memory: &Memory, at: u64, addr: u64, len: u32, id: u16, flags: u16) {
        let mut entry = addr.to_le_bytes().to_vec();
        entry.extend(len.to_le_bytes());
        entry.extend(id.to_le_bytes());
        entry.extend(flags.to_le_bytes());
        memory.write_slice(&entry, GuestAddress(at)).unwrap();
    }

    #[test]
    fn chains_come_and_go_over_the_end() {
        let memory = Arc::new(GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x10000)]).unwrap());
        let addresses = Addresses {
            desc: 0x1000,
            avail: 0x2000,
            used: 0x3000,
        };
        let mut ring = Packed::new(4, addresses, 0, false);
        assert_eq!(ring.pop(&memory).unwrap(), None);
        for lap in [true, false, true] {
            let flags = if lap { AVAIL } else { USED };
            put(&memory, 0x1000, 0x5000, 8, 0, flags | NEXT);
            put(&memory, 0x1010, 0x6000, 16, 7, flags | WRITE);
            put(&memory, 0x1020, 0x4000, 32, 9, flags | INDIRECT);
            put(&memory, 0x4000, 0x7000, 4, 0, 0);
            put(&memory, 0x4010, 0x8000, 4, 0, WRITE);
            put(&memory, 0x1030, 0x9000, 4, 3, flags | WRITE);
            let first = ring.pop(&memory).unwrap().unwrap();
            assert_eq!((first.id, first.entries), (7, 2));
            assert_eq!((first.out[0].addr, first.inn[0].addr), (0x5000, 0x6000));
            let second = ring.pop(&memory).unwrap().unwrap();
            assert_eq!(
                (second.id, second.out[0].addr, second.inn[0].addr),
                (9, 0x7000, 0x8000)
            );
            assert_eq!(ring.pop(&memory).unwrap().unwrap().id, 3);
            assert_eq!(ring.pop(&memory).unwrap(), None);
            for (id, entries) in [(9, 1), (7, 2), (3, 1)] {
                ring.push(&memory, id, 5, entries).unwrap();
            }
            let entry = ring.entry(&memory, 0x1000, 0).unwrap();
            let expected = if lap { AVAIL | USED } else { 0 } | WRITE;
            assert_eq!((le16(&entry, 12), le16(&entry, 14)), (9, expected));
        }
    }

    #[test]
    fn interrupts_as_the_driver_asks() {
        let memory = Arc::new(GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x10000)]).unwrap());
        let addresses = Addresses {
            desc: 0x1000,
            avail: 0x2000,
            used: 0x3000,
        };
        let mut ring = Packed::new(4, addresses, 0, true);
        let mut ask = |index: u16, flags: u16| {
            let bytes = [index.to_le_bytes(), flags.to_le_bytes()].concat();
            memory.write_slice(&bytes, GuestAddress(0x2000)).unwrap();
            ring.push(&memory, 0, 0, 1).unwrap();
            ring.wants_interrupt(&memory).unwrap()
        };
        assert!(ask(0, ENABLE));
        assert!(!ask(0, DISABLE));
        assert!(!ask(0x8000 | 3, 2));
        assert!(ask(0x8000 | 3, 2));
        assert!(ask(0, 2));
    }
}

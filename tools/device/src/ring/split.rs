// SPDX-License-Identifier: GPL-2.0-or-later

//! Split virtqueues (virtio 1.3, 2.7). `virtio-queue` walks the available side; the used side is
//! written here, since that crate rightly refuses to write what a script may want.

use std::sync::atomic::{fence, Ordering};

use virtio_queue::{Queue, QueueOwnedT, QueueT};
use vm_memory::{Bytes, GuestAddress};

use super::{Addresses, Chain, Memory, Segment};

/// A split virtqueue.
#[derive(Debug)]
pub struct Split {
    queue: Queue,
    used: u64,
    event_index: bool,
    /// The used index at the last question whether to interrupt.
    signalled: u16,
}

/// The flag of the available ring that asks for no interrupts.
const NO_INTERRUPT: u16 = 1;

impl Split {
    /// Starts at an available index; the used index goes on where the ring has it.
    pub fn new(
        memory: &Memory,
        size: u16,
        addresses: Addresses,
        base: u16,
        event_index: bool,
    ) -> Result<Self, String> {
        let mut queue = Queue::new(size).map_err(|error| error.to_string())?;
        queue.set_size(size);
        let bad = |error: virtio_queue::Error| error.to_string();
        queue
            .try_set_desc_table_address(GuestAddress(addresses.desc))
            .map_err(bad)?;
        queue
            .try_set_avail_ring_address(GuestAddress(addresses.avail))
            .map_err(bad)?;
        queue
            .try_set_used_ring_address(GuestAddress(addresses.used))
            .map_err(bad)?;
        queue.set_event_idx(event_index);
        queue.set_next_avail(base);
        let used = queue.used_idx(&**memory, Ordering::Acquire).map_err(bad)?;
        queue.set_next_used(used.0);
        queue.set_ready(true);
        Ok(Self {
            queue,
            used: addresses.used,
            event_index,
            signalled: used.0,
        })
    }

    /// The index of the next available entry.
    pub fn next_available(&self) -> u16 {
        self.queue.next_avail()
    }

    /// The next chain.
    pub fn pop(&mut self, memory: &Memory) -> Result<Option<Chain>, String> {
        let Some(descriptors) = self
            .queue
            .iter(memory.clone())
            .map_err(|error| error.to_string())?
            .next()
        else {
            return Ok(None);
        };
        let mut chain = Chain {
            id: descriptors.head_index(),
            entries: 1,
            ..Chain::default()
        };
        for descriptor in descriptors {
            let segment = Segment {
                addr: descriptor.addr().0,
                len: descriptor.len(),
            };
            if descriptor.is_write_only() {
                chain.inn.push(segment);
            } else {
                chain.disordered |= !chain.inn.is_empty();
                chain.out.push(segment);
            }
        }
        Ok(Some(chain))
    }

    /// Asks for a kick at the next entry.
    pub fn arm(&mut self, memory: &Memory) -> Result<bool, String> {
        self.queue
            .enable_notification(&**memory)
            .map_err(|error| error.to_string())
    }

    /// Writes a used entry and publishes it.
    pub fn push(&mut self, memory: &Memory, id: u32, len: u32) -> Result<(), String> {
        let slot = u64::from(self.queue.next_used() % self.queue.size());
        let mut entry = [0; 8];
        entry[..4].copy_from_slice(&id.to_le_bytes());
        entry[4..].copy_from_slice(&len.to_le_bytes());
        memory
            .write_slice(&entry, GuestAddress(self.used + 4 + 8 * slot))
            .map_err(|error| error.to_string())?;
        self.jump(memory, 1)
    }

    /// Moves the used index.
    pub fn jump(&mut self, memory: &Memory, by: u16) -> Result<(), String> {
        self.queue
            .set_next_used(self.queue.next_used().wrapping_add(by));
        fence(Ordering::SeqCst);
        memory
            .store(
                self.queue.next_used().to_le(),
                GuestAddress(self.used + 2),
                Ordering::Release,
            )
            .map_err(|error| error.to_string())
    }

    /// Whether the driver asks for an interrupt (2.7.7).
    pub fn wants_interrupt(&mut self, memory: &Memory) -> Result<bool, String> {
        fence(Ordering::SeqCst);
        let load = |offset: u64| {
            memory
                .load::<u16>(
                    GuestAddress(self.queue.avail_ring() + offset),
                    Ordering::Relaxed,
                )
                .map(u16::from_le)
                .map_err(|error| error.to_string())
        };
        if !self.event_index {
            return Ok(load(0)? & NO_INTERRUPT == 0);
        }
        let wanted = load(4 + 2 * u64::from(self.queue.size()))?;
        let now = self.queue.next_used();
        let before = std::mem::replace(&mut self.signalled, now);
        Ok(now.wrapping_sub(wanted).wrapping_sub(1) < now.wrapping_sub(before))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use vm_memory::GuestMemoryMmap;

    use super::*;

    const ADDRESSES: Addresses = Addresses {
        desc: 0x1000,
        avail: 0x2000,
        used: 0x3000,
    };

    fn ring(event_index: bool) -> (Memory, Split) {
        let memory = Arc::new(GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x10000)]).unwrap());
        let split = Split::new(&memory, 8, ADDRESSES, 0, event_index).unwrap();
        (memory, split)
    }

    #[test]
    fn chains_are_taken_and_given_back() {
        let (memory, mut split) = ring(false);
        let put = |at: u64, bytes: &[u8]| memory.write_slice(bytes, GuestAddress(at)).unwrap();
        put(
            0x1030,
            &[0, 0x50, 0, 0, 0, 0, 0, 0, 51, 0, 0, 0, 1, 0, 4, 0],
        );
        put(
            0x1040,
            &[0, 0x60, 0, 0, 0, 0, 0, 0, 108, 0, 0, 0, 2, 0, 0, 0],
        );
        put(0x2002, &[1, 0, 3, 0]);
        let chain = split.pop(&memory).unwrap().unwrap();
        assert_eq!(
            (chain.id, chain.out[0].len, chain.inn[0].addr),
            (3, 51, 0x6000)
        );
        assert_eq!(split.pop(&memory).unwrap(), None);
        split.push(&memory, 3, 108).unwrap();
        let mut used = [0; 12];
        memory.read_slice(&mut used, GuestAddress(0x3000)).unwrap();
        assert_eq!(used, [0, 0, 1, 0, 3, 0, 0, 0, 108, 0, 0, 0]);
    }

    #[test]
    fn an_id_may_be_nonsense() {
        let (memory, mut split) = ring(false);
        split.push(&memory, 0xdead_beef, u32::MAX).unwrap();
        split.jump(&memory, 5).unwrap();
        assert_eq!(
            memory.read_obj::<u32>(GuestAddress(0x3004)).unwrap(),
            0xdead_beef
        );
        assert_eq!(memory.read_obj::<u16>(GuestAddress(0x3002)).unwrap(), 6);
    }

    #[test]
    fn interrupts_as_the_driver_asks() {
        let (memory, mut split) = ring(false);
        assert!(split.wants_interrupt(&memory).unwrap());
        memory
            .write_obj(NO_INTERRUPT, GuestAddress(0x2000))
            .unwrap();
        assert!(!split.wants_interrupt(&memory).unwrap());
        let (memory, mut split) = ring(true);
        let mut push = |event: u16| {
            memory
                .write_obj(event, GuestAddress(0x2000 + 4 + 16))
                .unwrap();
            split.push(&memory, 0, 0).unwrap();
            split.wants_interrupt(&memory).unwrap()
        };
        assert!(push(0));
        assert!(!push(4));
        assert!(!push(4));
        assert!(!push(4));
        assert!(push(4));
        assert!(!push(4));
    }
}

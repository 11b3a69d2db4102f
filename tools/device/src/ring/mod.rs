// SPDX-License-Identifier: GPL-2.0-or-later

//! Virtqueues as the device sees them: what the driver made available, and what is put into the
//! used ring, rightly or not.

pub mod packed;
pub mod split;

use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read, Write};
use std::sync::Arc;

use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use packed::Packed;
use split::Split;

/// The guest's memory.
pub type Memory = Arc<GuestMemoryMmap>;

/// A piece of guest memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Guest physical address.
    pub addr: u64,
    /// Bytes.
    pub len: u32,
}

/// A request's buffers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// What the used ring calls it.
    pub id: u16,
    /// How many ring entries it takes: one in a split ring.
    pub entries: u16,
    /// Device-readable pieces.
    pub out: Vec<Segment>,
    /// Device-writable pieces.
    pub inn: Vec<Segment>,
    /// A device-readable piece came after a device-writable one.
    pub disordered: bool,
}

/// How many bytes pieces have together.
pub fn length(pieces: &[Segment]) -> usize {
    pieces.iter().map(|piece| piece.len as usize).sum()
}

/// Reads from pieces; fails if one lies outside the guest's memory.
pub fn read(
    memory: &Memory,
    pieces: &[Segment],
    offset: usize,
    length: usize,
) -> Result<Vec<u8>, String> {
    let mut data = Vec::with_capacity(length);
    walk(pieces, offset, length, |addr, part| {
        let at = data.len();
        data.resize(at + part.len(), 0);
        memory
            .read_slice(&mut data[at..], GuestAddress(addr))
            .map_err(|error| error.to_string())
    })?;
    Ok(data)
}

/// Writes into pieces as much as fits. Returns how much that was.
pub fn write(
    memory: &Memory,
    pieces: &[Segment],
    offset: usize,
    data: &[u8],
) -> Result<usize, String> {
    let mut done = 0;
    walk(pieces, offset, data.len(), |addr, part| {
        done += part.len();
        memory
            .write_slice(&data[part], GuestAddress(addr))
            .map_err(|error| error.to_string())
    })?;
    Ok(done)
}

/// The guest address of a byte of some pieces.
pub fn address(pieces: &[Segment], offset: usize) -> Option<u64> {
    let mut found = None;
    let _ = walk(pieces, offset, 1, |addr, _| {
        found = Some(addr);
        Ok(())
    });
    found
}

fn walk(
    pieces: &[Segment],
    mut offset: usize,
    length: usize,
    mut each: impl FnMut(u64, std::ops::Range<usize>) -> Result<(), String>,
) -> Result<(), String> {
    let mut done = 0;
    for piece in pieces {
        let size = piece.len as usize;
        if offset >= size {
            offset -= size;
            continue;
        }
        let part = (size - offset).min(length - done);
        if part == 0 {
            break;
        }
        each(piece.addr + offset as u64, done..done + part)?;
        done += part;
        offset = 0;
    }
    Ok(())
}

/// Where the parts of a ring are, as guest physical addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// Descriptor table, or the descriptor ring.
    pub desc: u64,
    /// Available ring, or the driver's event suppression.
    pub avail: u64,
    /// Used ring, or the device's event suppression.
    pub used: u64,
}

#[derive(Debug)]
enum Format {
    Split(Split),
    Packed(Packed),
}

/// A virtqueue.
#[derive(Debug, Default)]
pub struct Ring {
    /// Entries.
    pub size: u16,
    /// Where it is.
    pub addresses: Option<Addresses>,
    /// What GET_VRING_BASE and SET_VRING_BASE say.
    pub base: u32,
    /// Readable when the driver kicks.
    pub kick: Option<File>,
    /// Written to interrupt the driver.
    pub call: Option<File>,
    /// Written to report an error.
    pub error: Option<File>,
    /// Whether the front-end lets it run.
    pub enabled: bool,
    /// Whether it was started and not stopped since.
    pub started: bool,
    /// Whether a script stopped it.
    pub paused: bool,
    /// How many of the next notifications are lost.
    pub ignored_kicks: u64,
    /// Counts how often it was set up anew; requests of earlier times are no more.
    pub generation: u64,
    /// Ids that were answered, newest last.
    pub answered: VecDeque<u16>,
    /// Whether the driver was told that something is used which is not. What is in the ring after
    /// that may be what it has given to others meanwhile, and is not held against it.
    pub misled: bool,
    format: Option<Format>,
}

impl Ring {
    /// What is left of it when the front-end is gone.
    pub fn after_disconnect(&self) -> Self {
        Self {
            generation: self.generation,
            paused: self.paused,
            ..Self::default()
        }
    }

    /// Whether requests are taken from it.
    pub fn running(&self) -> bool {
        self.started && self.enabled && !self.paused && self.format.is_some()
    }

    /// Starts where `base` says.
    pub fn start(
        &mut self,
        memory: &Memory,
        packed: bool,
        event_index: bool,
    ) -> Result<(), String> {
        let addresses = self.addresses.ok_or("it has no addresses")?;
        self.format = Some(if packed {
            Format::Packed(Packed::new(self.size, addresses, self.base, event_index))
        } else {
            Format::Split(Split::new(
                memory,
                self.size,
                addresses,
                self.base as u16,
                event_index,
            )?)
        });
        self.started = true;
        Ok(())
    }

    /// Stops, and remembers where.
    pub fn stop(&mut self) {
        if let Some(format) = self.format.take() {
            self.base = match format {
                Format::Split(split) => split.next_available().into(),
                Format::Packed(packed) => packed.base(),
            };
        }
        self.started = false;
    }

    /// The next request, if there is one.
    pub fn pop(&mut self, memory: &Memory) -> Result<Option<Chain>, String> {
        match &mut self.format {
            Some(Format::Split(split)) => split.pop(memory),
            Some(Format::Packed(packed)) => packed.pop(memory),
            None => Ok(None),
        }
    }

    /// Asks for kicks. Returns whether there is something to take already.
    pub fn arm(&mut self, memory: &Memory) -> Result<bool, String> {
        match &mut self.format {
            Some(Format::Split(split)) => split.arm(memory),
            Some(Format::Packed(packed)) => packed.arm(memory),
            None => Ok(false),
        }
    }

    /// Puts an entry into the used ring, with whatever id; `entries` is how far a packed ring goes
    /// on.
    pub fn push(&mut self, memory: &Memory, id: u32, len: u32, entries: u16) -> Result<(), String> {
        match &mut self.format {
            Some(Format::Split(split)) => split.push(memory, id, len),
            Some(Format::Packed(packed)) => packed.push(memory, id as u16, len, entries),
            None => Err("the queue is not running".into()),
        }
    }

    /// Moves the used index on, past entries that nobody wrote.
    pub fn jump(&mut self, memory: &Memory, by: u16) -> Result<(), String> {
        match &mut self.format {
            Some(Format::Split(split)) => split.jump(memory, by),
            Some(Format::Packed(_)) => Err("a packed ring has no used index".into()),
            None => Err("the queue is not running".into()),
        }
    }

    /// Interrupts the driver if it wants to be, or always.
    pub fn notify(&mut self, memory: &Memory, always: bool) -> Result<bool, String> {
        let wanted = match &mut self.format {
            Some(Format::Split(split)) => split.wants_interrupt(memory)?,
            Some(Format::Packed(packed)) => packed.wants_interrupt(memory)?,
            None => false,
        };
        if wanted || always {
            signal(self.call.as_mut());
        }
        Ok(wanted || always)
    }

    /// Takes the kicks off their descriptor, and returns how many there were.
    pub fn take_kick(&mut self) -> u64 {
        let mut count = [0; 8];
        if let Some(kick) = &mut self.kick {
            let _ = kick.read(&mut count);
        }
        u64::from_ne_bytes(count)
    }
}

/// Signals an eventfd, or a pipe that stands for one.
pub fn signal(file: Option<&mut File>) {
    if let Some(file) = file {
        let _ = file.write_all(&1u64.to_ne_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_one_buffer() {
        let memory = Arc::new(GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x10000)]).unwrap());
        let piece = |addr, len| Segment { addr, len };
        let pieces = [piece(0x100, 3), piece(0x200, 0), piece(0x300, 5)];
        assert_eq!(length(&pieces), 8);
        assert_eq!(write(&memory, &pieces, 1, b"abcdefghij").unwrap(), 7);
        assert_eq!(read(&memory, &pieces, 0, 99).unwrap(), b"\0abcdefg");
        assert_eq!(address(&pieces, 3), Some(0x300));
        assert_eq!(address(&pieces, 8), None);
        assert!(read(&memory, &[piece(0xffff, 2)], 0, 2).is_err());
    }
}

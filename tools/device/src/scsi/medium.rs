// SPDX-License-Identifier: GPL-2.0-or-later

//! What a logical unit stores: sparse memory, or a file.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{fallocate, FallocateFlags};

/// The size in which memory is taken, and mapped or not: the granularity of provisioning.
pub const PAGE: u64 = 4096;

/// The bytes of a logical unit.
#[derive(Debug)]
pub enum Medium {
    /// Pages that were written; others read as zeros and count as not mapped.
    Memory(BTreeMap<u64, Box<[u8]>>),
    /// A file of the host; all of it counts as mapped.
    File(File),
}

impl Medium {
    /// Memory without contents.
    pub fn memory() -> Self {
        Self::Memory(BTreeMap::new())
    }

    /// Opens a file, made `size` bytes long if that is given and it is shorter. Returns its size,
    /// too.
    pub fn file(path: &Path, read_only: bool, size: Option<u64>) -> io::Result<(Self, u64)> {
        let file = OpenOptions::new()
            .read(true)
            .write(!read_only)
            .create(!read_only && size.is_some())
            .truncate(false)
            .open(path)?;
        let mut length = file.metadata()?.len();
        if let Some(size) = size.filter(|&size| size > length && !read_only) {
            file.set_len(size)?;
            length = size;
        }
        Ok((Self::File(file), length))
    }

    /// Reads; what was never written, or lies beyond a file, is zeros.
    pub fn read(&self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut data = vec![0; length];
        match self {
            Self::Memory(pages) => {
                for (page, within, part) in pieces(offset, length) {
                    if let Some(stored) = pages.get(&page) {
                        let bytes = &stored[within..within + part.len()];
                        data[part].copy_from_slice(bytes);
                    }
                }
            }
            Self::File(file) => {
                let mut done = 0;
                while done < length {
                    match file.read_at(&mut data[done..], offset + done as u64)? {
                        0 => break,
                        n => done += n,
                    }
                }
            }
        }
        Ok(data)
    }

    /// Writes.
    pub fn write(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        match self {
            Self::Memory(pages) => {
                for (page, within, part) in pieces(offset, data.len()) {
                    let stored = pages
                        .entry(page)
                        .or_insert_with(|| vec![0; PAGE as usize].into());
                    stored[within..within + part.len()].copy_from_slice(&data[part]);
                }
                Ok(())
            }
            Self::File(file) => file.write_all_at(data, offset),
        }
    }

    /// Makes a range zeros, and not mapped where whole pages are in it.
    pub fn unmap(&mut self, offset: u64, length: u64) -> io::Result<()> {
        match self {
            Self::Memory(pages) => {
                let end = offset + length;
                let touched: Vec<u64> = pages
                    .range(offset / PAGE..end.div_ceil(PAGE))
                    .map(|(&page, _)| page)
                    .collect();
                for page in touched {
                    let start = (page * PAGE).max(offset) - page * PAGE;
                    let stop = ((page + 1) * PAGE).min(end) - page * PAGE;
                    if start == 0 && stop == PAGE {
                        pages.remove(&page);
                    } else if let Some(stored) = pages.get_mut(&page) {
                        stored[start as usize..stop as usize].fill(0);
                    }
                }
                Ok(())
            }
            Self::File(_) if length == 0 => Ok(()),
            Self::File(file) => {
                let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                match fallocate(&*file, flags, offset, length) {
                    Ok(()) => Ok(()),
                    // Not every file system has holes.
                    Err(_) => file.write_all_at(&vec![0; length as usize], offset),
                }
            }
        }
    }

    /// Whether a byte is mapped, and up to where that stays so, looking no further than `end`.
    pub fn mapped(&self, offset: u64, end: u64) -> (bool, u64) {
        let Self::Memory(pages) = self else {
            return (true, end);
        };
        let first = offset / PAGE;
        let here = pages.contains_key(&first);
        let mut page = first + 1;
        if here {
            while page * PAGE < end && pages.contains_key(&page) {
                page += 1;
            }
        } else {
            page = pages
                .range(first..)
                .next()
                .map_or(u64::MAX / PAGE, |(&page, _)| page);
        }
        (here, (page * PAGE).min(end))
    }

    /// Makes what was written durable.
    pub fn sync(&self) -> io::Result<()> {
        match self {
            Self::Memory(_) => Ok(()),
            Self::File(file) => file.sync_data(),
        }
    }
}

/// The pages of a range: number, offset in the page, and which part of the data it is.
fn pieces(
    offset: u64,
    length: usize,
) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done >= length {
            return None;
        }
        let at = offset + done as u64;
        let within = (at % PAGE) as usize;
        let part = done..length.min(done + PAGE as usize - within);
        done = part.end;
        Some((at / PAGE, within, part))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_keeps_what_was_written_across_pages() {
        let mut medium = Medium::memory();
        let data: Vec<u8> = (0..9000u32).map(|i| i as u8).collect();
        medium.write(1000, &data).unwrap();
        assert_eq!(medium.read(1000, 9000).unwrap(), data);
        assert_eq!(medium.read(0, 1000).unwrap(), vec![0; 1000]);
    }

    #[test]
    fn unmap_frees_whole_pages_and_clears_parts() {
        let mut medium = Medium::memory();
        medium.write(0, &[7; 3 * PAGE as usize]).unwrap();
        assert_eq!(medium.mapped(0, 1 << 20), (true, 3 * PAGE));
        medium.unmap(PAGE - 512, 512 + PAGE).unwrap();
        assert_eq!(medium.mapped(PAGE, 1 << 20), (false, 2 * PAGE));
        assert_eq!(medium.read(PAGE - 513, 2).unwrap(), [7, 0]);
        assert_eq!(medium.read(2 * PAGE - 1, 2).unwrap(), [0, 7]);
        assert_eq!(medium.mapped(3 * PAGE, 5 * PAGE), (false, 5 * PAGE));
    }

    #[test]
    fn a_file_is_made_and_keeps_its_bytes() {
        let path = std::env::temp_dir().join(format!("medium-{}", std::process::id()));
        let (mut medium, size) = Medium::file(&path, false, Some(1 << 16)).unwrap();
        assert_eq!(size, 1 << 16);
        medium.write(100, b"hello").unwrap();
        medium.unmap(102, 1).unwrap();
        assert_eq!(medium.read(100, 5).unwrap(), b"he\0lo");
        medium.sync().unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(Medium::file(&path, true, None).is_err());
    }
}

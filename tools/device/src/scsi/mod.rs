// SPDX-License-Identifier: GPL-2.0-or-later

//! A SCSI target: logical units that answer commands as SPC-4, SBC-3 and MMC-6 say.
//!
//! Nothing here knows of virtio; `target::Target::execute` takes a CDB with its buffers and returns
//! status, sense data and data.

pub mod block;
pub mod inquiry;
pub mod medium;
pub mod mmc;
pub mod mode;
pub mod opcode_table;
pub mod opcodes;
pub mod protection;
pub mod provisioning;
pub mod report;
pub mod reservations;
pub mod sense;
pub mod target;
#[cfg(test)]
mod tests;
pub mod unit;

pub use sense::{status, Failure, Sense};

/// A command with its data-out buffer, and room for the data-in buffer.
#[derive(Clone, Copy, Debug)]
pub struct Command<'a> {
    /// The command descriptor block, at least 32 bytes.
    pub cdb: &'a [u8],
    /// Data-out buffer.
    pub data_out: &'a [u8],
    /// Protection information that came apart from the data.
    pub pi_out: &'a [u8],
    /// Bytes of the data-in buffer.
    pub data_in: usize,
    /// Bytes of the buffer for protection information apart from the data.
    pub pi_in: usize,
}

/// What a unit returns for a command that did not fail.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Data {
    /// For the data-in buffer.
    pub bytes: Vec<u8>,
    /// For the buffer of protection information.
    pub pi: Vec<u8>,
    /// GOOD or CONDITION MET.
    pub status: u8,
}

impl From<Vec<u8>> for Data {
    fn from(bytes: Vec<u8>) -> Self {
        Self {
            bytes,
            ..Self::default()
        }
    }
}

impl From<()> for Data {
    fn from((): ()) -> Self {
        Self::default()
    }
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// SCSI status.
    pub status: u8,
    /// Sense data, empty unless the status is CHECK CONDITION.
    pub sense: Vec<u8>,
    /// Data for the data-in buffer.
    pub data_in: Vec<u8>,
    /// Protection information for its buffer.
    pub pi_in: Vec<u8>,
    /// How many bytes of both buffers were not used.
    pub residual: u32,
    /// The CDB wanted more than the buffers hold.
    pub overrun: bool,
}

/// Why a unit was reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reset {
    /// LOGICAL UNIT RESET.
    Unit,
    /// I_T NEXUS RESET.
    Nexus,
}

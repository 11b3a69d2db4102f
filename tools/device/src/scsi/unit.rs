// SPDX-License-Identifier: GPL-2.0-or-later

//! A logical unit: its configuration, its state, and which function answers which command.

use std::collections::VecDeque;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::medium::Medium;
use super::mode::ModePages;
use super::opcodes::{self, Opcode};
use super::protection::{Protection, TUPLE};
use super::reservations::{Class, Nexus, Reservations};
use super::sense::{status, Failure, Sense};
use super::{Command, Data, Reply, Reset};

/// What kind of device a unit is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Direct access block device.
    #[default]
    Disk,
    /// CD-ROM.
    Cdrom,
}

/// A logical unit as a scenario or the control socket describes it.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct UnitConfig {
    /// Target, 0 to 255.
    pub target: u8,
    /// LUN, 0 to 16383.
    pub lun: u16,
    /// Disk or CD-ROM.
    pub kind: Kind,
    /// Bytes, as a number or like "64M".
    pub size: Option<Size>,
    /// Bytes of a logical block.
    pub block_size: u32,
    /// log2 of logical blocks in a physical block.
    pub physical_exponent: u8,
    /// The file that holds the contents; memory if there is none.
    pub file: Option<PathBuf>,
    /// Whether writes are refused.
    pub read_only: bool,
    /// Thin provisioning: UNMAP and the VPD pages that announce it.
    pub thin: bool,
    /// Protection type, 0 for none.
    pub protection: u8,
    /// Unit serial number; made of target and LUN if there is none.
    pub serial: Option<String>,
    /// Whether a write cache is reported.
    pub write_cache: bool,
    /// Whether the medium can be taken out; always so for a CD-ROM.
    pub removable: bool,
    /// A removable unit that starts without a medium.
    pub empty: bool,
    /// Whether the first command finds the unit attention POWER ON.
    pub power_on_attention: bool,
}

impl Default for UnitConfig {
    fn default() -> Self {
        Self {
            target: 0,
            lun: 0,
            kind: Kind::Disk,
            size: None,
            block_size: 0,
            physical_exponent: 0,
            file: None,
            read_only: false,
            thin: false,
            protection: 0,
            serial: None,
            write_cache: true,
            removable: false,
            empty: false,
            power_on_attention: true,
        }
    }
}

/// A number of bytes, written as a number or as text with a unit.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(untagged)]
pub enum Size {
    /// Bytes.
    Bytes(u64),
    /// "512", "64K", "64M", "2G" or "1T".
    Text(String),
}

impl Size {
    /// In bytes.
    pub fn bytes(&self) -> Result<u64, String> {
        match self {
            Self::Bytes(bytes) => Ok(*bytes),
            Self::Text(text) => {
                let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
                let shift = match &text[digits.len()..] {
                    "" => 0,
                    "K" => 10,
                    "M" => 20,
                    "G" => 30,
                    "T" => 40,
                    _ => {
                        return Err(format!(
                            "size \"{text}\": write a number, or one with K, M, G or T"
                        ))
                    }
                };
                digits
                    .parse::<u64>()
                    .ok()
                    .and_then(|number| number.checked_mul(1 << shift))
                    .ok_or_else(|| format!("size \"{text}\" is not a number of bytes"))
            }
        }
    }
}

/// A logical unit at work.
#[derive(Debug)]
pub struct LogicalUnit {
    /// As it was described; `target` and `lun` say where it is.
    pub config: UnitConfig,
    /// What it stores.
    pub medium: Medium,
    /// Number of logical blocks.
    pub blocks: u64,
    /// Its protection information.
    pub protection: Protection,
    /// Its mode pages.
    pub mode: ModePages,
    /// Its persistent reservations.
    pub reservations: Reservations,
    /// Unit attention conditions for the guest, oldest first.
    pub attentions: VecDeque<Sense>,
    /// False after START STOP UNIT stopped it.
    pub started: bool,
    /// Whether a medium is in it.
    pub loaded: bool,
    /// Whether the guest prevents removal.
    pub prevented: bool,
    /// What GET EVENT STATUS NOTIFICATION reports next.
    pub media_event: u8,
}

impl LogicalUnit {
    /// Makes a unit; the error says what in its description is wrong.
    pub fn new(mut config: UnitConfig) -> Result<Self, String> {
        let at = format!("unit {}:{}", config.target, config.lun);
        let cdrom = config.kind == Kind::Cdrom;
        if config.lun > 16383 {
            return Err(format!("{at}: the LUN can be 0 to 16383"));
        }
        if config.block_size == 0 {
            config.block_size = if cdrom { 2048 } else { 512 };
        }
        if !matches!(config.block_size, 512 | 1024 | 2048 | 4096)
            || cdrom && config.block_size != 2048
        {
            return Err(format!(
                "{at}: block_size can be 512, 1024, 2048 or 4096, and 2048 for a CD-ROM"
            ));
        }
        if config.protection > 3 {
            return Err(format!("{at}: protection is a type, 1 to 3, or 0 for none"));
        }
        if config.protection != 0 && (cdrom || config.file.is_some()) {
            return Err(format!(
                "{at}: only disks in memory can have protection information"
            ));
        }
        if config.physical_exponent > 15 {
            return Err(format!("{at}: physical_exponent can be 0 to 15"));
        }
        config.removable |= cdrom;
        config.read_only |= cdrom;
        if config.empty && !config.removable {
            return Err(format!("{at}: only a removable unit can be empty"));
        }
        let size = match &config.size {
            Some(size) => Some(size.bytes().map_err(|error| format!("{at}: {error}"))?),
            None => None,
        };
        let (medium, bytes) = match &config.file {
            Some(path) => Medium::file(path, config.read_only, size)
                .map_err(|error| format!("{at}: cannot open {}: {error}", path.display()))?,
            None => (Medium::memory(), size.unwrap_or(64 << 20)),
        };
        let blocks = size.unwrap_or(bytes) / u64::from(config.block_size);
        if blocks == 0 {
            return Err(format!(
                "{at}: it holds less than one block; give it a size"
            ));
        }
        let mut attentions = VecDeque::new();
        if config.power_on_attention {
            attentions.push_back(Sense::POWER_ON);
        }
        Ok(Self {
            medium,
            blocks,
            protection: Protection::new(config.protection),
            mode: ModePages::new(&config),
            reservations: Reservations::default(),
            attentions,
            started: true,
            loaded: !config.empty,
            prevented: false,
            media_event: 0,
            config,
        })
    }

    /// Whether it is a CD-ROM.
    pub fn cdrom(&self) -> bool {
        self.config.kind == Kind::Cdrom
    }

    /// Bytes of a block.
    pub fn block(&self) -> usize {
        self.config.block_size as usize
    }

    /// The name that VPD pages and logs give it.
    pub fn serial(&self) -> String {
        let made = || format!("VSRS{:02X}{:04X}", self.config.target, self.config.lun);
        self.config.serial.clone().unwrap_or_else(made)
    }

    /// Establishes a unit attention condition, unless the same one waits already.
    pub fn attention(&mut self, sense: Sense) {
        if !self.attentions.contains(&sense) {
            self.attentions.push_back(sense);
        }
    }

    /// Another size, with the unit attention that tells of it.
    pub fn resize(&mut self, blocks: u64) {
        self.blocks = blocks;
        self.attention(Sense::CAPACITY);
    }

    /// What a reset does to the unit; its reservations and contents stay.
    pub fn reset(&mut self, reset: Reset) {
        self.mode = ModePages::new(&self.config);
        self.prevented = false;
        self.attentions.clear();
        self.attention(match reset {
            Reset::Unit => Sense::UNIT_RESET,
            Reset::Nexus => Sense::NEXUS_LOSS,
        });
    }

    /// Puts a medium in, or takes it out.
    pub fn load(&mut self, loaded: bool) {
        if loaded && !self.loaded {
            self.attention(Sense::MEDIUM_CHANGED);
        }
        if loaded != self.loaded {
            self.media_event = if loaded { 2 } else { 3 };
        }
        self.loaded = loaded;
    }

    /// Answers a command of a nexus.
    pub fn execute(&mut self, nexus: Nexus, command: &Command) -> Reply {
        let room = command.data_in + command.pi_in + command.data_out.len() + command.pi_out.len();
        let mut used = 0;
        let result = self.attempt(nexus, command, &mut used);
        let mut reply = Reply {
            status: status::GOOD,
            sense: Vec::new(),
            data_in: Vec::new(),
            pi_in: Vec::new(),
            residual: 0,
            overrun: false,
        };
        match result {
            Ok(data) => {
                reply.status = data.status;
                reply.data_in = data.bytes;
                reply.data_in.truncate(command.data_in);
                reply.pi_in = data.pi;
                reply.pi_in.truncate(command.pi_in);
                used += reply.data_in.len() + reply.pi_in.len();
            }
            Err(Failure::Check(sense)) => {
                reply.status = status::CHECK_CONDITION;
                reply.sense = if self.mode.descriptor_sense() {
                    sense.descriptor()
                } else {
                    sense.fixed()
                };
            }
            Err(Failure::Status(status)) => reply.status = status,
            Err(Failure::Overrun) => reply.overrun = true,
        }
        if !reply.overrun {
            reply.residual = room.saturating_sub(used) as u32;
        }
        reply
    }

    fn attempt(
        &mut self,
        nexus: Nexus,
        command: &Command,
        used: &mut usize,
    ) -> Result<Data, Failure> {
        let cdb = command.cdb;
        let known = opcodes::find(cdb, self.cdrom());
        // INQUIRY, REPORT LUNS and REQUEST SENSE neither wait for nor clear a unit attention (SAM-5
        // 5.14).
        if !matches!(cdb[0], 0x03 | 0x12 | 0xa0) {
            if self.reservations.preempted.remove(&nexus) {
                return Err(Sense::PREEMPTED.into());
            }
            if nexus == 0 {
                if let Some(sense) = self.attentions.pop_front() {
                    return Err(sense.into());
                }
            }
        }
        let op = known.ok_or(Sense::OPCODE)?;
        self.reservations.check(nexus, class(op, cdb))?;
        let apart = !command.pi_out.is_empty() || command.pi_in > 0;
        let extra = if self.interleaved(op, cdb) && !apart {
            TUPLE as u64
        } else {
            0
        };
        let (wants_out, wants_in) = op.wants(cdb, self.block() as u64, extra);
        if wants_out > command.data_out.len() as u64 || wants_in > command.data_in as u64 {
            return Err(Failure::Overrun);
        }
        let command = Command {
            data_out: &command.data_out[..wants_out as usize],
            data_in: wants_in as usize,
            ..*command
        };
        let mut data = self.dispatch(nexus, op, &command)?;
        data.bytes.truncate(wants_in as usize);
        *used = wants_out as usize + command.pi_out.len();
        Ok(data)
    }

    fn interleaved(&self, op: &Opcode, cdb: &[u8]) -> bool {
        let flags = if op.code == 0x7f { cdb[10] } else { cdb[1] };
        let blocks = matches!(
            op.transfer,
            opcodes::Transfer::InBlocks(..)
                | opcodes::Transfer::OutBlocks(..)
                | opcodes::Transfer::OutTwice(..)
                | opcodes::Transfer::Compare(..)
                | opcodes::Transfer::OneBlock
        );
        self.protection.kind != 0 && blocks && op.usage.len() > 6 && flags >> 5 != 0
    }

    fn dispatch(&mut self, nexus: Nexus, op: &Opcode, command: &Command) -> Result<Data, Failure> {
        let cdb = command.cdb;
        match (op.code, op.action) {
            (0x03, _) => self.request_sense(cdb),
            (0x12, _) => self.inquiry(cdb).map(Data::from),
            (0x15 | 0x55, _) => self.mode_select(cdb, command.data_out).map(Data::from),
            (0x1a | 0x5a, _) => self.mode_sense(cdb).map(Data::from),
            (0x1b, _) => self.start_stop(cdb).map(Data::from),
            (0x1e, _) => {
                self.prevented = cdb[4] & 1 != 0;
                Ok(Data::default())
            }
            (0x46, _) => self.get_configuration(cdb).map(Data::from),
            (0x4a, _) => self.event_status(cdb).map(Data::from),
            (0x5e, Some(action)) => self.reservations.report(action).map(Data::from),
            (0x5f, _) => self
                .reservations
                .change(nexus, cdb, command.data_out)
                .map(Data::from),
            (0xa3, Some(0x0c)) => self.supported_opcodes(cdb).map(Data::from),
            (0xa3, _) => Ok(vec![0xfe, 0x07, 0, 0].into()),
            _ => {
                self.ready()?;
                self.dispatch_medium(op, command)
            }
        }
    }

    fn dispatch_medium(&mut self, op: &Opcode, command: &Command) -> Result<Data, Failure> {
        let cdb = command.cdb;
        match (op.code, op.action) {
            (0x00, _) => Ok(Data::default()),
            (0x25, _) => Ok(self.read_capacity_10().into()),
            (0x9e, Some(0x10)) => Ok(self.read_capacity_16().into()),
            (0x9e, _) => self.lba_status(cdb).map(Data::from),
            (0x08 | 0x28 | 0x88 | 0xa8, _) | (0x7f, Some(0x09)) => self.read(command),
            (0x0a | 0x2a | 0x8a | 0xaa | 0x2e | 0x8e | 0xae, _) | (0x7f, Some(0x0b | 0x0c)) => {
                self.write(op, command).map(Data::from)
            }
            (0x2f | 0x8f | 0xaf, _) | (0x7f, Some(0x0a)) => {
                self.verify(op, command).map(Data::from)
            }
            (0x34 | 0x90, _) => self.pre_fetch(cdb),
            (0x35 | 0x91, _) => self.synchronize(cdb).map(Data::from),
            (0x41 | 0x93, _) | (0x7f, Some(0x0d)) => self.write_same(op, command).map(Data::from),
            (0x42, _) => self.unmap(cdb, command.data_out).map(Data::from),
            (0x89, _) => self.compare_and_write(command).map(Data::from),
            (0x43, _) => self.read_toc(cdb).map(Data::from),
            (0x51, _) => Ok(self.disc_information().into()),
            _ => Err(Sense::OPCODE.into()),
        }
    }

    /// NOT READY if there is no medium or the unit is stopped.
    pub fn ready(&self) -> Result<(), Sense> {
        if !self.loaded {
            Err(Sense::NO_MEDIUM)
        } else if !self.started {
            Err(Sense::STOPPED)
        } else {
            Ok(())
        }
    }

    fn request_sense(&mut self, cdb: &[u8]) -> Result<Data, Failure> {
        let sense = self.attentions.pop_front().unwrap_or(Sense::NONE);
        let data = if cdb[1] & 1 != 0 {
            sense.descriptor()
        } else {
            sense.fixed()
        };
        Ok(data.into())
    }

    fn start_stop(&mut self, cdb: &[u8]) -> Result<(), Failure> {
        let (start, eject, power) = (cdb[4] & 1 != 0, cdb[4] & 2 != 0, cdb[4] >> 4);
        if power != 0 {
            return Ok(());
        }
        if eject && !self.config.removable {
            return Err(Sense::CDB_FIELD.into());
        }
        if eject && !start && self.prevented {
            return Err(Sense::REMOVAL_PREVENTED.into());
        }
        if eject {
            self.load(start);
        }
        self.started = start || eject;
        Ok(())
    }
}

/// How reservations of others treat a command.
fn class(op: &Opcode, cdb: &[u8]) -> Class {
    match op.code {
        0x00 | 0x03 | 0x12 | 0x25 | 0x46 | 0x4a | 0x5e | 0x5f | 0xa0 | 0xa3 => Class::Allowed,
        0x9e if op.action == Some(0x10) => Class::Allowed,
        // Allowing removal is for everyone.
        0x1e if cdb[4] & 1 == 0 => Class::Allowed,
        0x08 | 0x28 | 0x88 | 0xa8 | 0x1a | 0x5a | 0x2f | 0x8f | 0xaf | 0x34 | 0x90 | 0x9e
        | 0x43 | 0x51 => Class::Reads,
        0x7f if matches!(op.action, Some(0x09 | 0x0a)) => Class::Reads,
        _ => Class::Writes,
    }
}

// SPDX-License-Identifier: GPL-2.0-or-later

//! The targets behind a host, and what a target answers where it has no such unit.

use std::collections::BTreeMap;

use super::inquiry::no_unit;
use super::report::report_luns;
use super::reservations::Nexus;
use super::sense::{status, Failure, Sense};
use super::unit::{LogicalUnit, UnitConfig};
use super::{Command, Reply};
use crate::bytes::{be16, be32};

/// All logical units, by target and LUN.
#[derive(Debug, Default)]
pub struct Targets {
    units: BTreeMap<(u8, u16), LogicalUnit>,
}

impl Targets {
    /// Adds a unit where none is.
    pub fn add(&mut self, config: UnitConfig) -> Result<(), String> {
        let at = (config.target, config.lun);
        if self.units.contains_key(&at) {
            return Err(format!("there is a unit {}:{} already", at.0, at.1));
        }
        self.units.insert(at, LogicalUnit::new(config)?);
        Ok(())
    }

    /// Takes a unit away.
    pub fn remove(&mut self, target: u8, lun: u16) -> Option<LogicalUnit> {
        self.units.remove(&(target, lun))
    }

    /// A unit.
    pub fn get(&mut self, target: u8, lun: u16) -> Result<&mut LogicalUnit, String> {
        self.units
            .get_mut(&(target, lun))
            .ok_or_else(|| format!("there is no unit {target}:{lun}"))
    }

    /// Whether there is such a unit.
    pub fn has(&self, target: u8, lun: u16) -> bool {
        self.units.contains_key(&(target, lun))
    }

    /// Whether the target is there, which is when it has a unit.
    pub fn has_target(&self, target: u8) -> bool {
        self.units.keys().any(|&(t, _)| t == target)
    }

    /// The units of a target.
    pub fn of_target(&mut self, target: u8) -> impl Iterator<Item = &mut LogicalUnit> {
        self.units
            .iter_mut()
            .filter(move |((t, _), _)| *t == target)
            .map(|(_, unit)| unit)
    }

    /// Every unit.
    pub fn all(&mut self) -> impl Iterator<Item = &mut LogicalUnit> {
        self.units.values_mut()
    }

    /// Answers a command, or None if there is no such target.
    pub fn execute(
        &mut self,
        nexus: Nexus,
        target: u8,
        lun: u16,
        command: &Command,
    ) -> Option<Reply> {
        if !self.has_target(target) {
            return None;
        }
        let listed: Vec<u16> = self
            .units
            .keys()
            .filter(|(t, _)| *t == target)
            .map(|&(_, lun)| lun)
            .collect();
        let result = match command.cdb[0] {
            // Every LUN of a target answers this one.
            0xa0 if self.has(target, lun) || lun == 0 => {
                if be32(command.cdb, 6) as usize > command.data_in {
                    Err(Failure::Overrun)
                } else {
                    report_luns(command.cdb, &listed)
                        .map(|data| (data, be32(command.cdb, 6) as usize))
                }
            }
            _ if self.has(target, lun) => {
                return self
                    .units
                    .get_mut(&(target, lun))
                    .map(|unit| unit.execute(nexus, command))
            }
            0x12 if command.cdb[1] & 1 == 0 => Ok((no_unit(), be16(command.cdb, 3).into())),
            0x03 => Ok((Sense::NO_UNIT.fixed(), command.cdb[4].into())),
            _ => Err(Sense::NO_UNIT.into()),
        };
        Some(reply(command, result))
    }
}

fn reply(command: &Command, result: Result<(Vec<u8>, usize), Failure>) -> Reply {
    let mut reply = Reply {
        status: status::GOOD,
        sense: Vec::new(),
        data_in: Vec::new(),
        pi_in: Vec::new(),
        residual: 0,
        overrun: false,
    };
    match result {
        Ok((mut data, allocation)) => {
            data.truncate(allocation.min(command.data_in));
            reply.data_in = data;
        }
        Err(Failure::Check(sense)) => {
            reply.status = status::CHECK_CONDITION;
            reply.sense = sense.fixed();
        }
        Err(Failure::Status(status)) => reply.status = status,
        Err(Failure::Overrun) => {
            reply.overrun = true;
            return reply;
        }
    }
    let room = command.data_in + command.data_out.len();
    reply.residual = (room - reply.data_in.len()) as u32;
    reply
}

// SPDX-License-Identifier: GPL-2.0-or-later

//! Persistent reservations (SPC-4 5.13). The guest is one I_T nexus; a scenario or the control
//! socket can let others register and reserve, for conflicts to arise.

use std::collections::{BTreeMap, BTreeSet};

use super::sense::{status, Failure, Sense};
use crate::bytes::{be32, be64};

/// An I_T nexus. 0 is the guest's.
pub type Nexus = u32;

/// Types of reservations, by scope LU_SCOPE (SPC-4 table 65).
pub const TYPES: &[(&str, u8)] = &[
    ("write_exclusive", 1),
    ("exclusive_access", 3),
    ("write_exclusive_registrants_only", 5),
    ("exclusive_access_registrants_only", 6),
    ("write_exclusive_all_registrants", 7),
    ("exclusive_access_all_registrants", 8),
];

/// Who may do a command while another nexus holds a reservation (SPC-4 table 44, SBC-3 table 14).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Always allowed.
    Allowed,
    /// Conflicts with exclusive access.
    Reads,
    /// Conflicts with write exclusive and exclusive access.
    Writes,
}

/// The reservation state of a logical unit.
#[derive(Debug, Default)]
pub struct Reservations {
    generation: u32,
    keys: BTreeMap<Nexus, u64>,
    /// The holder and the type.
    held: Option<(Nexus, u8)>,
    /// Nexuses that are owed the unit attention RESERVATIONS PREEMPTED.
    pub preempted: BTreeSet<Nexus>,
}

impl Reservations {
    fn all_registrants(&self) -> bool {
        matches!(self.held, Some((_, 7 | 8)))
    }

    fn holds(&self, nexus: Nexus) -> bool {
        match self.held {
            Some((_, 7 | 8)) => self.keys.contains_key(&nexus),
            Some((holder, _)) => holder == nexus,
            None => false,
        }
    }

    /// Whether a nexus may do a command of that class.
    pub fn check(&self, nexus: Nexus, class: Class) -> Result<(), Failure> {
        let Some((_, kind)) = self.held else {
            return Ok(());
        };
        let registered = self.keys.contains_key(&nexus);
        let allowed = match class {
            Class::Allowed => true,
            _ if self.holds(nexus) || kind >= 5 && registered => true,
            Class::Reads => matches!(kind, 1 | 5 | 7),
            Class::Writes => false,
        };
        if allowed {
            Ok(())
        } else {
            Err(Failure::Status(status::RESERVATION_CONFLICT))
        }
    }

    /// PERSISTENT RESERVE IN (SPC-4 6.15).
    pub fn report(&self, action: u16) -> Result<Vec<u8>, Failure> {
        let mut list = Vec::new();
        match action {
            0 => {
                for key in self.keys.values() {
                    list.extend(key.to_be_bytes());
                }
            }
            1 => {
                if let Some((holder, kind)) = self.held {
                    let key = if self.all_registrants() {
                        0
                    } else {
                        self.keys[&holder]
                    };
                    list.extend(key.to_be_bytes());
                    list.extend([0, 0, 0, 0, 0, kind, 0, 0]);
                }
            }
            // TMV, every type supported.
            2 => return Ok(vec![0, 8, 0x00, 0x80, 0xea, 0x01, 0, 0]),
            3 => {
                for (&nexus, key) in &self.keys {
                    let holder = self.holds(nexus);
                    let kind = self.held.map_or(0, |(_, kind)| kind);
                    list.extend(key.to_be_bytes());
                    list.extend([0, 0, 0, 0, u8::from(holder), if holder { kind } else { 0 }]);
                    list.extend([0, 0, 0, 0, 0, 1, 0, 0, 0, 24]);
                    list.extend(transport_id(nexus));
                }
            }
            _ => return Err(Sense::CDB_FIELD.into()),
        }
        let mut data = self.generation.to_be_bytes().to_vec();
        data.extend((list.len() as u32).to_be_bytes());
        data.extend(list);
        Ok(data)
    }

    /// PERSISTENT RESERVE OUT (SPC-4 6.16).
    pub fn change(&mut self, nexus: Nexus, cdb: &[u8], parameters: &[u8]) -> Result<(), Failure> {
        let (action, scope, kind) = (cdb[1] & 0x1f, cdb[2] >> 4, cdb[2] & 0xf);
        if parameters.len() != 24 || be32(cdb, 5) != 24 {
            return Err(Sense::LIST_LENGTH.into());
        }
        let (key, action_key) = (be64(parameters, 0), be64(parameters, 8));
        let flags = parameters[20];
        // APTPL, ALL_TG_PT and SPEC_I_PT are not offered.
        if flags & 0x0d != 0 {
            return Err(Sense::PARAMETER.into());
        }
        let conflict = Failure::Status(status::RESERVATION_CONFLICT);
        let registered = self.keys.get(&nexus).copied();
        match action {
            0 if registered.unwrap_or(0) != key => return Err(conflict),
            0 | 6 => {
                self.register(nexus, action_key);
                return Ok(());
            }
            _ if registered != Some(key) => return Err(conflict),
            _ => {}
        }
        if matches!(action, 1 | 2 | 4 | 5) && scope != 0 {
            return Err(Sense::CDB_FIELD.into());
        }
        match action {
            1 => self.reserve(nexus, kind),
            2 => self.release(nexus, kind),
            3 => {
                let others: Vec<Nexus> =
                    self.keys.keys().copied().filter(|&n| n != nexus).collect();
                self.preempted.extend(others);
                self.keys.clear();
                self.held = None;
                self.generation = self.generation.wrapping_add(1);
                Ok(())
            }
            4 | 5 => self.preempt(nexus, kind, action_key),
            _ => Err(Sense::CDB_FIELD.into()),
        }
    }

    /// Registers a key for a nexus; 0 takes the registration away.
    pub fn register(&mut self, nexus: Nexus, key: u64) {
        if key != 0 {
            self.keys.insert(nexus, key);
        } else {
            self.unregister(nexus);
        }
        self.generation = self.generation.wrapping_add(1);
    }

    fn unregister(&mut self, nexus: Nexus) {
        let was_holder = self.holds(nexus);
        self.keys.remove(&nexus);
        let last = self.keys.is_empty();
        if was_holder && (!self.all_registrants() || last) {
            if self.held.is_some_and(|(_, kind)| kind >= 5) {
                self.preempted.extend(self.keys.keys());
            }
            self.held = None;
        }
    }

    /// Reserves for a nexus that has registered.
    pub fn reserve(&mut self, nexus: Nexus, kind: u8) -> Result<(), Failure> {
        if !TYPES.iter().any(|&(_, known)| known == kind) {
            return Err(Sense::CDB_FIELD.into());
        }
        match self.held {
            Some((_, held)) if !self.holds(nexus) || held != kind => {
                Err(Failure::Status(status::RESERVATION_CONFLICT))
            }
            _ => {
                self.held = Some((nexus, kind));
                Ok(())
            }
        }
    }

    fn release(&mut self, nexus: Nexus, kind: u8) -> Result<(), Failure> {
        match self.held {
            Some((_, held)) if self.holds(nexus) => {
                if held != kind {
                    return Err(Sense::INVALID_RELEASE.into());
                }
                if kind >= 5 {
                    let others: Vec<Nexus> =
                        self.keys.keys().copied().filter(|&n| n != nexus).collect();
                    self.preempted.extend(others);
                }
                self.held = None;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn preempt(&mut self, nexus: Nexus, kind: u8, victim: u64) -> Result<(), Failure> {
        let holder_key = match self.held {
            Some((_, 7 | 8)) => Some(0),
            Some((holder, _)) => self.keys.get(&holder).copied(),
            None => None,
        };
        if victim == 0 && holder_key != Some(0) {
            return Err(Sense::PARAMETER.into());
        }
        let victims: Vec<Nexus> = self
            .keys
            .iter()
            .filter(|&(&n, &key)| n != nexus && (key == victim || victim == 0))
            .map(|(&n, _)| n)
            .collect();
        let takes = holder_key == Some(victim);
        if victims.is_empty() && !takes {
            return Err(Failure::Status(status::RESERVATION_CONFLICT));
        }
        for &gone in &victims {
            self.keys.remove(&gone);
        }
        self.preempted.extend(victims);
        if takes {
            self.held = None;
            self.reserve(nexus, kind)?;
        }
        self.generation = self.generation.wrapping_add(1);
        Ok(())
    }
}

/// A SAS TransportID (SPC-4 7.6.4.5) made up of the nexus' number.
fn transport_id(nexus: Nexus) -> [u8; 24] {
    let mut id = [0; 24];
    id[0] = 0x06;
    id[4] = 0x50;
    id[8..12].copy_from_slice(&nexus.to_be_bytes());
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFLICT: Failure = Failure::Status(status::RESERVATION_CONFLICT);

    fn out(
        r: &mut Reservations,
        nexus: Nexus,
        action: u8,
        kind: u8,
        keys: (u64, u64),
    ) -> Result<(), Failure> {
        let cdb = [0x5f, action, kind, 0, 0, 0, 0, 0, 24, 0];
        let mut parameters = [0; 24];
        parameters[..8].copy_from_slice(&keys.0.to_be_bytes());
        parameters[8..16].copy_from_slice(&keys.1.to_be_bytes());
        r.change(nexus, &cdb, &parameters)
    }

    #[test]
    fn exclusive_access_locks_others_out() {
        let mut r = Reservations::default();
        assert_eq!(out(&mut r, 0, 1, 3, (9, 0)), Err(CONFLICT));
        out(&mut r, 0, 0, 0, (0, 9)).unwrap();
        out(&mut r, 0, 1, 3, (9, 0)).unwrap();
        assert_eq!(r.check(0, Class::Writes), Ok(()));
        assert_eq!(r.check(1, Class::Reads), Err(CONFLICT));
        assert_eq!(r.check(1, Class::Allowed), Ok(()));
        assert_eq!(
            out(&mut r, 0, 2, 1, (9, 0)),
            Err(Sense::INVALID_RELEASE.into())
        );
        out(&mut r, 0, 2, 3, (9, 0)).unwrap();
        assert_eq!(r.check(1, Class::Writes), Ok(()));
    }

    #[test]
    fn write_exclusive_lets_others_read() {
        let mut r = Reservations::default();
        r.register(1, 5);
        r.reserve(1, 1).unwrap();
        assert_eq!(r.check(0, Class::Reads), Ok(()));
        assert_eq!(r.check(0, Class::Writes), Err(CONFLICT));
        let data = r.report(1).unwrap();
        assert_eq!((be64(&data, 8), data[21]), (5, 1));
    }

    #[test]
    fn preempt_takes_the_reservation_and_the_registration() {
        let mut r = Reservations::default();
        r.register(1, 5);
        r.reserve(1, 3).unwrap();
        r.register(0, 6);
        out(&mut r, 0, 4, 1, (6, 5)).unwrap();
        assert!(r.preempted.contains(&1));
        assert_eq!(r.check(0, Class::Writes), Ok(()));
        assert_eq!(r.report(0).unwrap()[4..8], 8u32.to_be_bytes());
        assert_eq!(out(&mut r, 0, 4, 1, (6, 77)), Err(CONFLICT));
    }

    #[test]
    fn registrants_share_and_the_last_one_frees() {
        let mut r = Reservations::default();
        r.register(0, 1);
        r.register(1, 2);
        r.reserve(0, 8).unwrap();
        assert_eq!(r.check(1, Class::Writes), Ok(()));
        r.register(0, 0);
        assert_eq!(r.check(0, Class::Reads), Err(CONFLICT));
        r.register(1, 0);
        assert_eq!(r.check(0, Class::Writes), Ok(()));
    }

    #[test]
    fn wrong_parameter_lists_are_refused() {
        let mut r = Reservations::default();
        let short = r.change(0, &[0x5f, 0, 0, 0, 0, 0, 0, 0, 20, 0], &[0; 20]);
        assert_eq!(short, Err(Sense::LIST_LENGTH.into()));
    }
}

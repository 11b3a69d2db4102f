// SPDX-License-Identifier: GPL-2.0-or-later

//! What happens to a request that a rule is for.

use serde::{Deserialize, Serialize};

use super::matcher::{MatchConfig, On};
use super::{Code, Random};
use crate::bytes::unhex;
use crate::scsi::{status, Sense};
use crate::wire::response;

/// The `action` part of a rule. All parts can be combined unless they contradict each other.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct ActionConfig {
    /// Whether the command or function is carried out; by default, unless its response or status is
    /// given.
    pub execute: Option<bool>,
    /// Response code, as a number or a name like "target_failure".
    pub response: Option<Code>,
    /// SCSI status, as a number or a name like "busy".
    pub status: Option<Code>,
    /// Status qualifier
    pub status_qualifier: Option<u16>,
    /// Sense data.
    pub sense: Option<SenseConfig>,
    /// The sense length that is claimed.
    pub sense_len: Option<u32>,
    /// The residual that is claimed.
    pub residual: Option<Amount>,
    /// The used length that is claimed.
    pub used_len: Option<Amount>,
    /// What is written at all.
    pub write: Write,
    /// Data for the data-in buffer instead of the command's, as hexadecimal text.
    pub data: Option<String>,
    /// Bytes that are changed on their way.
    pub corrupt: Option<Corrupt>,
    /// Bytes that are random, others in each answer.
    pub fuzz: Option<Fuzz>,
    /// Never answered, whatever is aborted or reset.
    pub drop: bool,
    /// Kept until it is released by this name, aborted or reset.
    pub hold: Option<String>,
    /// Answered so much later.
    pub delay_ms: Option<u64>,
    /// Collected until there are so many, which are then answered last come first.
    pub reorder: Option<usize>,
    /// How often it is answered.
    pub repeat: u32,
    /// The id in the used ring.
    pub id: Option<Id>,
    /// How far the used index runs ahead besides.
    pub used_jump: u16,
    /// Whether the driver is interrupted, where it wants to be.
    pub interrupt: Option<bool>,
    /// Bytes written after the answer.
    pub scribble: Option<Scribble>,
    /// A byte that keeps changing while the driver looks at the answer.
    pub flip: Option<Flip>,
    /// event_actual of an AN request.
    pub event_actual: Option<u32>,
}

/// Sense data: codes, or bytes.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(untagged, deny_unknown_fields)]
pub enum SenseConfig {
    /// Fixed format with these codes.
    Codes {
        /// SENSE KEY
        key: u8,
        /// ADDITIONAL SENSE CODE
        asc: u8,
        /// ADDITIONAL SENSE CODE QUALIFIER
        #[serde(default)]
        ascq: u8,
    },
    /// Hexadecimal text; it may be empty.
    Bytes(String),
}

/// An amount of bytes.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(untagged)]
pub enum Amount {
    /// A number.
    Number(u32),
    /// "zero", "half", "full", "beyond" (full and 4096 more) or "max".
    Name(String),
}

impl Amount {
    fn check(&self, what: &str) -> Result<(), String> {
        match self {
            Self::Number(_) => Ok(()),
            Self::Name(name)
                if ["zero", "half", "full", "beyond", "max"].contains(&name.as_str()) =>
            {
                Ok(())
            }
            Self::Name(name) => Err(format!(
                "{what} \"{name}\" is none of zero, half, full, beyond, max, or a number"
            )),
        }
    }

    /// In bytes, where `full` is known.
    pub fn of(&self, full: u32) -> u32 {
        match self {
            Self::Number(number) => *number,
            Self::Name(name) => match name.as_str() {
                "zero" => 0,
                "half" => full / 2,
                "full" => full,
                "beyond" => full.saturating_add(4096),
                _ => u32::MAX,
            },
        }
    }
}

/// What is written into a request's buffers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Write {
    /// Response and data.
    #[default]
    All,
    /// The response, not the data.
    Response,
    /// The data, not the response.
    Data,
    /// Nothing.
    Nothing,
}

/// A part of a request's buffers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The response, sense data and all.
    Response,
    /// Data-in.
    #[default]
    DataIn,
    /// Protection information of the data-in.
    PiIn,
    /// Data-out, before the command gets it.
    DataOut,
    /// Protection information of the data-out, before the command gets it.
    PiOut,
}

/// Bytes that are changed.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Corrupt {
    /// Where.
    #[serde(default)]
    pub part: Part,
    /// From which byte.
    #[serde(default)]
    pub offset: usize,
    /// How many.
    #[serde(default = "one")]
    pub length: usize,
    /// Which bits of each.
    #[serde(default = "all_bits")]
    pub xor: u8,
}

/// Bytes that are random.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Fuzz {
    /// Where: response or data_in.
    #[serde(default)]
    pub part: Part,
    /// How many, each of which may be the same one again.
    #[serde(default = "one")]
    pub bytes: usize,
    /// Only among so many at the beginning.
    #[serde(default)]
    pub within: Option<usize>,
    /// Where the sequence of random numbers starts, of each answer by its serial number.
    #[serde(default)]
    pub seed: u64,
}

impl Fuzz {
    /// Makes bytes random.
    pub fn apply(&self, serial: u64, bytes: &mut [u8]) {
        let room = self.within.unwrap_or(usize::MAX).min(bytes.len());
        let mut random = Random::new(self.seed ^ serial.wrapping_mul(0xd134_2543_de82_ef95));
        for _ in 0..if room == 0 { 0 } else { self.bytes } {
            let at = random.draw() as usize % room;
            bytes[at] = random.draw() as u8;
        }
    }
}

fn one() -> usize {
    1
}

fn all_bits() -> u8 {
    0xff
}

/// An id in the used ring that is not the request's own.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(untagged)]
pub enum Id {
    /// This one.
    Number(u32),
    /// "stale" (of a request that was answered before), "out_of_range" or "not_head".
    Name(String),
}

/// Bytes written after the answer.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Scribble {
    /// Where: response, data_in or pi_in.
    #[serde(default)]
    pub part: Part,
    /// From which byte.
    #[serde(default)]
    pub offset: usize,
    /// Hexadecimal text.
    pub bytes: String,
    /// How much later.
    #[serde(default)]
    pub after_ms: u64,
}

/// A byte that keeps changing.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Flip {
    /// Where: response, data_in or pi_in.
    #[serde(default = "in_response")]
    pub part: Part,
    /// Which byte.
    pub offset: usize,
    /// Which bits.
    #[serde(default = "all_bits")]
    pub xor: u8,
    /// For how long.
    pub for_ms: u64,
}

fn in_response() -> Part {
    Part::Response
}

/// A checked action.
#[derive(Clone, Debug, Default)]
pub struct Action {
    /// As it was given.
    pub config: ActionConfig,
    /// Response code.
    pub response: Option<u8>,
    /// SCSI status.
    pub status: Option<u8>,
    /// Sense data.
    pub sense: Option<Vec<u8>>,
    /// Data-in.
    pub data: Option<Vec<u8>>,
    /// Bytes of `scribble`.
    pub scribble: Vec<u8>,
}

impl Action {
    /// Checks an action; the error says what is wrong.
    pub fn new(config: &ActionConfig, matches: &MatchConfig) -> Result<Self, String> {
        let mut action = Self {
            config: config.clone(),
            ..Self::default()
        };
        if matches.on != On::Command {
            let command_only = config.status.is_some()
                || config.sense.is_some()
                || config.sense_len.is_some()
                || config.residual.is_some()
                || config.data.is_some();
            if command_only {
                return Err("status, sense, residual and data are for on = \"command\"".into());
            }
        }
        let an = matches!(matches.on, On::AnQuery | On::AnSubscribe);
        if config.event_actual.is_some() && !an {
            return Err("event_actual is for on = \"an_query\" and \"an_subscribe\"".into());
        }
        let later = [
            config.drop,
            config.hold.is_some(),
            config.delay_ms.is_some(),
            config.reorder.is_some(),
        ];
        if later.iter().filter(|&&is| is).count() > 1 {
            return Err("drop, hold, delay_ms and reorder exclude each other".into());
        }
        if config.reorder.is_some_and(|n| !(2..=1024).contains(&n)) {
            return Err("reorder collects 2 to 1024 requests".into());
        }
        if config.repeat > 1000 {
            return Err("repeat is at most 1000".into());
        }
        for (what, amount) in [
            ("residual", &config.residual),
            ("used_len", &config.used_len),
        ] {
            if let Some(amount) = amount {
                amount.check(what)?;
            }
        }
        if let Some(Id::Name(name)) = &config.id {
            if !["stale", "out_of_range", "not_head"].contains(&name.as_str()) {
                return Err(format!(
                    "id \"{name}\" is none of stale, out_of_range, not_head, or a number"
                ));
            }
        }
        let resolve = |what, code: &Option<Code>, names| {
            code.as_ref()
                .map(|code| code.resolve(what, names))
                .transpose()
        };
        action.response = resolve("response", &config.response, response::NAMES)?;
        action.status = resolve("status", &config.status, status::NAMES)?;
        action.sense = match &config.sense {
            Some(SenseConfig::Codes { key, asc, ascq }) => {
                Some(Sense::new(*key, *asc, *ascq).fixed())
            }
            Some(SenseConfig::Bytes(text)) => Some(unhex(text)?),
            None => None,
        };
        action.data = config.data.as_deref().map(unhex).transpose()?;
        if let Some(corrupt) = &config.corrupt {
            if corrupt.xor == 0 || corrupt.length == 0 {
                return Err("corrupt with xor or length 0 changes nothing".into());
            }
        }
        if let Some(fuzz) = &config.fuzz {
            if !matches!(fuzz.part, Part::Response | Part::DataIn) {
                return Err("fuzz is for the parts response and data_in".into());
            }
        }
        if let Some(scribble) = &config.scribble {
            action.scribble = unhex(&scribble.bytes)?;
        }
        let written = [
            config.scribble.as_ref().map(|s| s.part),
            config.flip.as_ref().map(|f| f.part),
        ];
        if written
            .iter()
            .flatten()
            .any(|part| matches!(part, Part::DataOut | Part::PiOut))
        {
            return Err("scribble and flip are for buffers that the device writes".into());
        }
        if config
            .flip
            .as_ref()
            .is_some_and(|flip| flip.for_ms > 60_000 || flip.xor == 0)
        {
            return Err("flip needs an xor other than 0 and lasts at most 60000 ms".into());
        }
        if action == Self::default() {
            return Err("it does nothing; say what should happen".into());
        }
        Ok(action)
    }

    /// Whether the command or function is carried out.
    pub fn executes(&self) -> bool {
        let given = self.response.is_some() || self.status.is_some();
        self.config.execute.unwrap_or(!given)
    }
}

impl PartialEq for Action {
    fn eq(&self, other: &Self) -> bool {
        serde_json::to_value(&self.config).ok() == serde_json::to_value(&other.config).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn action(text: &str) -> Result<Action, String> {
        let config: ActionConfig = toml::from_str(text).map_err(|error| error.to_string())?;
        Action::new(&config, &MatchConfig::default())
    }

    #[test]
    fn codes_by_name_and_number() {
        let by_name = action("response = \"target_failure\"\nstatus = \"busy\"").unwrap();
        assert_eq!((by_name.response, by_name.status), (Some(7), Some(8)));
        assert!(!by_name.executes());
        let by_number = action("response = 0xee\nexecute = true").unwrap();
        assert_eq!(by_number.response, Some(0xee));
        assert!(by_number.executes());
    }

    #[test]
    fn sense_by_codes_and_bytes() {
        let codes = action("sense = { key = 3, asc = 0x11 }").unwrap();
        assert_eq!(codes.sense.unwrap()[12], 0x11);
        assert_eq!(
            action("sense = \"70 00\"").unwrap().sense.unwrap(),
            [0x70, 0]
        );
        assert!(action("sense = \"\"").unwrap().sense.unwrap().is_empty());
    }

    #[test]
    fn amounts() {
        let amount = |text: &str| Amount::Name(text.into()).of(100);
        assert_eq!(
            (amount("zero"), amount("half"), amount("full")),
            (0, 50, 100)
        );
        assert_eq!((amount("beyond"), amount("max")), (4196, u32::MAX));
    }

    #[test]
    fn random_bytes_are_others_in_each_answer_and_the_same_again() {
        let fuzz = action("fuzz = { part = \"response\", bytes = 8, within = 12, seed = 3 }");
        let fuzz = fuzz.unwrap().config.fuzz.unwrap();
        let of = |serial| {
            let mut bytes = [0; 108];
            fuzz.apply(serial, &mut bytes);
            bytes
        };
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
        let changed: Vec<usize> = (0..2000)
            .flat_map(|serial| (0..108).filter(move |&at| of(serial)[at] != 0))
            .collect();
        assert_eq!(changed.iter().max(), Some(&11));
        assert_eq!(changed.iter().min(), Some(&0));
        fuzz.apply(1, &mut []);
    }

    #[test]
    fn errors_say_what_is_wrong() {
        for (text, error) in [
            ("", "does nothing"),
            ("drop = true\ndelay_ms = 1", "exclude"),
            ("response = \"fine\"", "none of ok"),
            ("status = 300", "does not fit"),
            ("residual = \"all\"", "none of zero"),
            ("id = \"wrong\"", "none of stale"),
            ("reorder = 1", "2 to 1024"),
            ("data = \"xy\"", "not hexadecimal"),
            ("corrupt = { length = 0 }", "changes nothing"),
            (
                "flip = { part = \"data_out\", offset = 0, for_ms = 1 }",
                "device writes",
            ),
            (
                "fuzz = { part = \"data_out\" }",
                "parts response and data_in",
            ),
            ("event_actual = 1", "an_query"),
            ("hodl = true", "unknown field"),
        ] {
            let got = action(text).unwrap_err();
            assert!(got.contains(error), "{text}: {got}");
        }
    }
}

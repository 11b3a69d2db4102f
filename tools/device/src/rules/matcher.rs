// SPDX-License-Identifier: GPL-2.0-or-later

//! Which requests a rule is for.

use serde::{Deserialize, Serialize};

use super::{Code, Random, Several};
use crate::scsi::opcodes;
use crate::wire::tmf;

/// What `page` has for the standard INQUIRY data, which is no page.
const STANDARD_DATA: u16 = 256;

/// Kinds of requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum On {
    /// SCSI commands, on request queues.
    #[default]
    Command,
    /// Task management functions.
    Tmf,
    /// Asynchronous notification queries.
    AnQuery,
    /// Asynchronous notification subscriptions.
    AnSubscribe,
}

/// The `match` part of a rule. Every part that is given has to fit.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct MatchConfig {
    /// Kind of request.
    pub on: On,
    /// Virtqueue index; the first request queue is 2.
    pub queue: Option<Several<u16>>,
    /// Target
    pub target: Option<u8>,
    /// LUN
    pub lun: Option<u16>,
    /// Operation codes, as numbers or names like "READ_10".
    pub opcode: Option<Several<Code>>,
    /// TMF subtypes, as numbers or names like "abort_task".
    pub subtype: Option<Several<Code>>,
    /// INQUIRY for this page of vital product data, or, with [`STANDARD_DATA`], for the standard
    /// data.
    pub page: Option<u16>,
    /// First and last block; commands that touch one of them fit.
    pub lba: Option<[u64; 2]>,
    /// Only the nth request that fits, counted from 1.
    pub nth: Option<u64>,
    /// Every so many requests that fit.
    pub every: Option<u64>,
    /// No more often than this.
    pub times: Option<u64>,
    /// Only with this probability.
    pub probability: Option<f64>,
    /// Where the sequence of random numbers starts.
    pub seed: u64,
    /// Not before so many milliseconds after the device started.
    pub after_ms: Option<u64>,
    /// Only until then.
    pub before_ms: Option<u64>,
}

/// A request as rules see it.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Kind
    pub on: On,
    /// Virtqueue index
    pub queue: u16,
    /// Target and LUN, if the request addresses a unit.
    pub unit: Option<(u8, u16)>,
    /// The CDB of a command.
    pub cdb: &'a [u8],
    /// The subtype of a TMF.
    pub subtype: u32,
    /// First block and number of blocks of a command.
    pub range: Option<(u64, u64)>,
    /// Milliseconds since the device started.
    pub now: u64,
}

/// A checked match, with its counters.
#[derive(Clone, Debug)]
pub struct Match {
    config: MatchConfig,
    opcodes: Option<Vec<(u8, Option<u16>)>>,
    subtypes: Option<Vec<u32>>,
    random: Random,
    /// How many requests fitted.
    pub seen: u64,
    /// How many of them were acted on.
    pub applied: u64,
}

impl Match {
    /// Checks it.
    pub fn new(config: &MatchConfig) -> Result<Self, String> {
        let command = config.on == On::Command;
        if !command && (config.opcode.is_some() || config.lba.is_some()) {
            return Err("opcode and lba are for on = \"command\"".into());
        }
        if config.on != On::Tmf && config.subtype.is_some() {
            return Err("subtype is for on = \"tmf\"".into());
        }
        if !command && config.page.is_some() {
            return Err("page is for on = \"command\"".into());
        }
        if config.page.is_some_and(|page| page > STANDARD_DATA) {
            return Err("page is 0 to 255, or 256 for the standard data".into());
        }
        if config.nth == Some(0) || config.every == Some(0) || config.times == Some(0) {
            return Err("nth, every and times count from 1".into());
        }
        if config
            .probability
            .is_some_and(|p| !(0.0..=1.0).contains(&p))
        {
            return Err("probability is between 0 and 1".into());
        }
        if config.lba.is_some_and(|[first, last]| first > last) {
            return Err("lba is [first, last], with first not above last".into());
        }
        let opcodes = match &config.opcode {
            Some(codes) => Some(codes.all().iter().map(opcode).collect::<Result<_, _>>()?),
            None => None,
        };
        let subtypes = match &config.subtype {
            Some(codes) => {
                let resolve = |code: &Code| code.resolve("subtype", tmf::NAMES);
                Some(codes.all().iter().map(resolve).collect::<Result<_, _>>()?)
            }
            None => None,
        };
        Ok(Self {
            random: Random::new(config.seed),
            config: config.clone(),
            opcodes,
            subtypes,
            seen: 0,
            applied: 0,
        })
    }

    fn fits(&self, request: &Request) -> bool {
        let config = &self.config;
        let unit = |want: Option<u64>, part: fn((u8, u16)) -> u64| {
            want.is_none_or(|want| request.unit.map(part) == Some(want))
        };
        let action = opcodes::service_action(request.cdb);
        config.on == request.on
            && config
                .queue
                .as_ref()
                .is_none_or(|queues| queues.all().contains(&request.queue))
            && unit(config.target.map(u64::from), |(target, _)| target.into())
            && unit(config.lun.map(u64::from), |(_, lun)| lun.into())
            && self.opcodes.as_ref().is_none_or(|codes| {
                codes.iter().any(|(code, wanted)| {
                    request.cdb.first() == Some(code) && (wanted.is_none() || *wanted == action)
                })
            })
            && self
                .subtypes
                .as_ref()
                .is_none_or(|subtypes| subtypes.contains(&request.subtype))
            && config
                .page
                .is_none_or(|page| inquiry_page(request.cdb) == Some(page))
            && config.lba.is_none_or(|[first, last]| {
                request.range.is_some_and(|(lba, blocks)| {
                    lba <= last && first < lba.saturating_add(blocks.max(1))
                })
            })
            && config.after_ms.is_none_or(|after| request.now >= after)
            && config.before_ms.is_none_or(|before| request.now < before)
    }

    /// Whether the rule acts on a request. Counts it.
    pub fn applies(&mut self, request: &Request) -> bool {
        if !self.fits(request) {
            return false;
        }
        self.seen += 1;
        let config = &self.config;
        let chosen = config.nth.is_none_or(|nth| self.seen == nth)
            && config.every.is_none_or(|every| self.seen % every == 0)
            && config.times.is_none_or(|times| self.applied < times);
        if !chosen || config.probability.is_some_and(|p| self.draw() >= p) {
            return false;
        }
        self.applied += 1;
        true
    }

    /// The next random number, from 0 up to 1.
    fn draw(&mut self) -> f64 {
        (self.random.draw() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// What an INQUIRY asks for; [`None`] if the command is another.
fn inquiry_page(cdb: &[u8]) -> Option<u16> {
    match cdb {
        [0x12, evpd, page, ..] if evpd & 1 != 0 => Some((*page).into()),
        [0x12, _, _, ..] => Some(STANDARD_DATA),
        _ => None,
    }
}

fn opcode(code: &Code) -> Result<(u8, Option<u16>), String> {
    match code {
        Code::Number(number) => u8::try_from(*number)
            .map(|number| (number, None))
            .map_err(|_| format!("opcode {number} is more than a byte")),
        Code::Name(name) => opcodes::by_name(name).ok_or_else(|| {
            format!("opcode \"{name}\" is not known; write it as a number, like 0x28")
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const READ: Request = Request {
        on: On::Command,
        queue: 2,
        unit: Some((0, 1)),
        cdb: &[0x28, 0, 0, 0, 0, 8, 0, 0, 4, 0],
        subtype: 0,
        range: Some((8, 4)),
        now: 100,
    };

    fn matcher(text: &str) -> Match {
        Match::new(&toml::from_str(text).unwrap()).unwrap()
    }

    fn refused(text: &str) -> String {
        Match::new(&toml::from_str(text).unwrap()).unwrap_err()
    }

    #[test]
    fn every_part_has_to_fit() {
        for (text, fits) in [
            ("", true),
            ("opcode = \"READ_10\"", true),
            ("opcode = [\"READ_16\", 0x28]", true),
            ("opcode = \"WRITE_10\"", false),
            ("queue = [3, 4]", false),
            ("target = 0\nlun = 1", true),
            ("lun = 2", false),
            ("lba = [11, 20]", true),
            ("lba = [12, 20]", false),
            ("lba = [0, 8]", true),
            ("lba = [0, 7]", false),
            ("after_ms = 101", false),
            ("before_ms = 100", false),
            ("on = \"tmf\"", false),
        ] {
            assert_eq!(matcher(text).applies(&READ), fits, "{text}");
        }
    }

    #[test]
    fn inquiries_are_told_apart() {
        let cdbs: [&[u8]; 4] = [
            READ.cdb,
            &[0x12, 0, 0, 0, 36, 0],
            &[0x12, 1, 0, 0, 4, 0],
            &[0x12, 1, 0x83, 0, 4, 0],
        ];
        for (text, fits) in [
            ("page = 256", [false, true, false, false]),
            ("page = 0", [false, false, true, false]),
            ("page = 0x83", [false, false, false, true]),
        ] {
            let applies = cdbs.map(|cdb| matcher(text).applies(&Request { cdb, ..READ }));
            assert_eq!(applies, fits, "{text}");
        }
    }

    #[test]
    fn counts_choose() {
        let times = |text: &str| {
            let mut matcher = matcher(text);
            (1..=6).filter(|_| matcher.applies(&READ)).count()
        };
        assert_eq!(times("nth = 3"), 1);
        assert_eq!(times("every = 2"), 3);
        assert_eq!(times("every = 2\ntimes = 2"), 2);
        assert_eq!(times("probability = 0.0"), 0);
        assert_eq!(times("probability = 1.0"), 6);
    }

    #[test]
    fn chance_repeats_with_its_seed() {
        let draw = |seed| {
            let mut matcher = matcher(&format!("probability = 0.5\nseed = {seed}"));
            (0..200).map(|_| matcher.applies(&READ)).collect::<Vec<_>>()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        let hits = draw(1).into_iter().filter(|&hit| hit).count();
        assert!((60..140).contains(&hits), "{hits}");
    }

    #[test]
    fn errors_say_what_is_wrong() {
        assert!(refused("opcode = \"READ_7\"").contains("READ_7"));
        assert!(refused("opcode = 300").contains("more than a byte"));
        assert!(refused("subtype = \"abort_task\"").contains("on = \"tmf\""));
        assert!(refused("on = \"tmf\"\nsubtype = \"abort\"").contains("none of abort_task"));
        assert!(refused("nth = 0").contains("from 1"));
        assert!(refused("lba = [2, 1]").contains("first"));
        assert!(refused("page = 257").contains("0 to 255"));
        assert!(refused("on = \"tmf\"\npage = 0").contains("on = \"command\""));
        assert!(refused("probability = 1.5").contains("between 0 and 1"));
    }
}

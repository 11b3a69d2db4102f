// SPDX-License-Identifier: GPL-2.0-or-later

//! Rules: which requests behave otherwise, and how.

pub mod action;
pub mod matcher;

use serde::{Deserialize, Serialize};

pub use action::{Action, ActionConfig};
pub use matcher::{Match, MatchConfig, Request};

/// An xorshift sequence: random enough for tests, and the same with every run.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A sequence of its own for each seed.
    pub fn new(seed: u64) -> Self {
        let start = seed ^ 0x9e37_79b9_7f4a_7c15;
        Self(if start == 0 { 1 } else { start })
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

/// A number, or a name for it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(untagged)]
pub enum Code {
    /// The number itself.
    Number(u64),
    /// A name from a table.
    Name(String),
}

impl Code {
    /// The number, with `what` named in the error.
    pub fn resolve<T: Copy + TryFrom<u64>>(
        &self,
        what: &str,
        names: &[(&'static str, T)],
    ) -> Result<T, String> {
        match self {
            Self::Number(number) => {
                T::try_from(*number).map_err(|_| format!("{what} {number} does not fit its field"))
            }
            Self::Name(name) => names
                .iter()
                .find(|(known, _)| known.eq_ignore_ascii_case(name))
                .map(|(_, number)| *number)
                .ok_or_else(|| {
                    let known: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
                    format!("{what} \"{name}\" is none of {}", known.join(", "))
                }),
        }
    }
}

/// One or several of something.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(untagged)]
pub enum Several<T> {
    /// One.
    One(T),
    /// A list.
    Many(Vec<T>),
}

impl<T> Several<T> {
    /// As a slice.
    pub fn all(&self) -> &[T] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }
}

/// A rule as a scenario or the control socket gives it.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RuleConfig {
    /// What logs and the control socket call it.
    pub name: String,
    /// Which requests it is for.
    #[serde(default, rename = "match")]
    pub matches: MatchConfig,
    /// What happens to them.
    pub action: ActionConfig,
}

/// A rule at work.
#[derive(Clone, Debug)]
pub struct Rule {
    /// As it was given.
    pub config: RuleConfig,
    matches: Match,
    action: Action,
}

impl Rule {
    /// Checks a rule; the error says which and what is wrong.
    pub fn new(config: RuleConfig) -> Result<Self, String> {
        let within = |error| format!("rule \"{}\": {error}", config.name);
        let matches = Match::new(&config.matches).map_err(within)?;
        let action = Action::new(&config.action, &config.matches).map_err(within)?;
        Ok(Self {
            matches,
            action,
            config,
        })
    }
}

/// All rules, in order; the first that matches decides.
#[derive(Clone, Debug, Default)]
pub struct Rules(Vec<Rule>);

impl Rules {
    /// Adds a rule at the end, or at the front.
    pub fn add(&mut self, config: RuleConfig, first: bool) -> Result<(), String> {
        if self.0.iter().any(|rule| rule.config.name == config.name) {
            return Err(format!("there is a rule \"{}\" already", config.name));
        }
        let rule = Rule::new(config)?;
        if first {
            self.0.insert(0, rule);
        } else {
            self.0.push(rule);
        }
        Ok(())
    }

    /// Takes a rule away.
    pub fn remove(&mut self, name: &str) -> Result<(), String> {
        let at = self.0.iter().position(|rule| rule.config.name == name);
        self.0
            .remove(at.ok_or_else(|| format!("there is no rule \"{name}\""))?);
        Ok(())
    }

    /// Takes all away.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Each rule's name, and how often it matched and acted.
    pub fn counts(&self) -> Vec<(&str, u64, u64)> {
        let count = |rule: &'_ Rule| (rule.matches.seen, rule.matches.applied);
        self.0
            .iter()
            .map(|rule| (rule.config.name.as_str(), count(rule).0, count(rule).1))
            .collect()
    }

    /// What a request is to suffer, and the rule's name.
    pub fn decide(&mut self, request: &Request) -> Option<(String, Action)> {
        self.0.iter_mut().find_map(|rule| {
            let hit = rule.matches.applies(request);
            hit.then(|| (rule.config.name.clone(), rule.action.clone()))
        })
    }
}

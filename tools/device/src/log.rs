// SPDX-License-Identifier: GPL-2.0-or-later

//! The log: one JSON object in a line for everything that the driver did and that was answered.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::time::Instant;

use serde_json::Value;

use crate::conformance::Broken;

/// Where the lines go.
#[derive(Debug)]
pub struct Log {
    file: Option<File>,
    began: Instant,
    number: u64,
    /// Which rules the driver broke, and how often.
    pub violations: BTreeMap<Broken, u64>,
}

impl Log {
    /// Starts a new file, or no log at all.
    pub fn open(path: Option<&Path>) -> io::Result<Self> {
        Ok(Self {
            file: path.map(File::create).transpose()?,
            began: Instant::now(),
            number: 0,
            violations: BTreeMap::new(),
        })
    }

    /// Milliseconds since the device started.
    pub fn milliseconds(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }

    /// Writes a line: its number, the time in seconds, what it is about, and the fields of `value`.
    pub fn line(&mut self, what: &str, value: Value) {
        self.number += 1;
        let Some(file) = &mut self.file else { return };
        let mut line = serde_json::Map::new();
        line.insert("n".into(), self.number.into());
        let seconds = (self.began.elapsed().as_secs_f64() * 1e6).round() / 1e6;
        line.insert("t".into(), seconds.into());
        line.insert("ev".into(), what.into());
        if let Value::Object(fields) = value {
            line.extend(fields);
        }
        let mut text = Value::Object(line).to_string();
        text.push('\n');
        if let Err(error) = file.write_all(text.as_bytes()) {
            eprintln!("error: the log cannot be written ({error}); no more lines are");
            self.file = None;
        }
    }

    /// The driver broke a rule of the specification.
    pub fn violation(&mut self, rule: Broken, detail: Value) {
        *self.violations.entry(rule).or_default() += 1;
        self.broken("violation", rule, detail);
    }

    /// It did so, but what the device has done before was worse.
    pub fn excused(&mut self, rule: Broken, detail: Value) {
        self.broken("excused", rule, detail);
    }

    fn broken(&mut self, event: &str, rule: Broken, detail: Value) {
        let mut fields = serde_json::Map::new();
        fields.insert("rule".into(), rule.text().into());
        if let Value::Object(detail) = detail {
            fields.extend(detail);
        }
        self.line(event, Value::Object(fields));
    }
}

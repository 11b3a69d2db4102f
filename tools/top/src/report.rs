// SPDX-License-Identifier: GPL-2.0

//! The lines of the driver's files: pairs of a name and a value, separated by spaces.
//!
//! New names may come at the end of a line, and older drivers lack some, so a reader asks for the
//! names that it knows, and keeps the others as they are.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

/// Names whose values are text, even if they have digits only.
const TEXTS: [&str; 1] = ["cdb"];

/// A value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Value {
    /// Digits only.
    Number(u64),
    /// Anything else, or more digits than a number has.
    Text(String),
}

impl Value {
    fn new(name: &str, word: &str) -> Self {
        let digits = word.bytes().all(|byte| byte.is_ascii_digit());
        match word.parse() {
            Ok(number) if digits && !TEXTS.contains(&name) => Self::Number(number),
            _ => Self::Text(word.to_owned()),
        }
    }
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// Names and values, in the order in which the driver has written them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record(Vec<(String, Value)>);

impl Record {
    /// Reads pairs. A name without a value is left out, as the second value of a name is.
    fn parse(text: &str) -> Self {
        let mut record = Self::default();
        let mut words = text.split_whitespace();
        while let (Some(name), Some(word)) = (words.next(), words.next()) {
            if record.get(name).is_none() {
                record.0.push((name.to_owned(), Value::new(name, word)));
            }
        }
        record
    }

    /// Reads a file that is about one object, with a name and a value in each line.
    pub fn of_file(text: &str) -> Self {
        let mut all = Self::default();
        for (name, value) in text.lines().flat_map(|line| Self::parse(line).0) {
            if all.get(&name).is_none() {
                all.0.push((name, value));
            }
        }
        all
    }

    /// Reads a file with an object in each line.
    pub fn of_lines(text: &str) -> Vec<Self> {
        text.lines()
            .map(Self::parse)
            .filter(|record| !record.is_empty())
            .collect()
    }

    /// Whether it has no names.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All pairs.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// The value of a name.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.iter()
            .find(|(each, _)| *each == name)
            .map(|pair| pair.1)
    }

    /// The value of a name, if it is a number.
    pub fn number(&self, name: &str) -> Option<u64> {
        match self.get(name) {
            Some(Value::Number(number)) => Some(*number),
            _ => None,
        }
    }

    /// The value of a name, if it is text.
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.get(name) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// The value of a name as it was written, or a dash.
    pub fn shown(&self, name: &str) -> String {
        self.get(name)
            .map_or_else(|| "-".to_owned(), Value::to_string)
    }

    /// The same without some names.
    pub fn without(&self, names: &[&str]) -> Self {
        let mut record = self.clone();
        record.0.retain(|(name, _)| !names.contains(&name.as_str()));
        record
    }

    /// The logical unit that the line is about, as target and LUN.
    pub fn unit(&self) -> Option<(u64, u64)> {
        Some((self.number("target")?, self.number("lun")?))
    }
}

impl Serialize for Record {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_has_nothing() {
        for text in ["", "\n", " \n\n"] {
            assert!(Record::of_file(text).is_empty());
            assert_eq!(Record::of_lines(text), []);
        }
    }

    #[test]
    fn a_name_without_a_value_is_left_out() {
        let lines = Record::of_lines("queue 0 kind\nqueue\nqueue 1 kind polled");
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0].number("queue"), Some(0));
        assert_eq!(lines[0].get("kind"), None);
        assert_eq!(lines[0].shown("kind"), "-");
        assert_eq!(lines[1].text("kind"), Some("polled"));
    }

    #[test]
    fn unknown_names_are_kept_in_their_order() {
        let lines = Record::of_lines("queue 0 zebra 7 apple red");
        let names: Vec<_> = lines[0].iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["queue", "zebra", "apple"]);
        assert_eq!(
            serde_json::to_string(&lines[0]).unwrap(),
            r#"{"queue":0,"zebra":7,"apple":"red"}"#
        );
    }

    #[test]
    fn the_first_value_of_a_name_stays() {
        assert_eq!(Record::of_file("a 1\na 2\nb 3").number("a"), Some(1));
        assert_eq!(Record::of_lines("a 1 a 2")[0].number("a"), Some(1));
        let text = serde_json::to_string(&Record::of_file("a 1\na 2")).unwrap();
        assert_eq!(text, r#"{"a":1}"#);
        let text = serde_json::to_string(&Record::of_lines("a 1 a 2")).unwrap();
        assert_eq!(text, r#"[{"a":1}]"#);
    }

    #[test]
    fn what_is_no_number_is_text() {
        let file = Record::of_file("most 18446744073709551615\nmore 18446744073709551616\nsign +5");
        assert_eq!(file.number("most"), Some(u64::MAX));
        assert_eq!(file.number("more"), None);
        assert_eq!(file.text("more"), Some("18446744073709551616"));
        assert_eq!(file.text("sign"), Some("+5"));
    }

    #[test]
    fn a_cdb_is_text_even_if_it_has_digits_only() {
        let lines = Record::of_lines("lun 0 cdb 000000000000");
        assert_eq!(lines[0].text("cdb"), Some("000000000000"));
    }
}

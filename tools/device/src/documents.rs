// SPDX-License-Identifier: GPL-2.0-or-later

//! The documents have every key, order, name and rule that the code has, and no other.

use std::collections::BTreeSet;

use schemars::schema_for;
use serde_json::Value;

use crate::conformance::Broken;
use crate::control::order::Order;
use crate::scenario::Scenario;
use crate::scsi::opcode_table::OPCODES;
use crate::scsi::{reservations, status};
use crate::wire::{event, feature, response, tmf};

const SCENARIOS: &str = include_str!("../doc/scenarios.md");
const CONTROL: &str = include_str!("../doc/control.md");

type Names = BTreeSet<String>;

/// What is between backticks.
fn quoted(text: &str) -> Names {
    text.split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

fn section<'a>(document: &'a str, heading: &str) -> &'a str {
    let start = format!("\n## {heading}\n");
    let (_, rest) = document
        .split_once(&start)
        .unwrap_or_else(|| panic!("there is no section {heading}"));
    rest.split("\n## ").next().unwrap()
}

/// The cells of the rows of a section's tables, without their heads.
fn rows<'a>(document: &'a str, heading: &str) -> Vec<Vec<&'a str>> {
    section(document, heading)
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.trim_matches('|').split('|').collect())
        .collect()
}

fn documented(document: &str, heading: &str) -> Names {
    rows(document, heading)
        .iter()
        .flat_map(|cells| quoted(cells[0]))
        .collect()
}

/// What follows "Names of ...:".
fn named(document: &str, what: &str) -> Names {
    let (_, rest) = document
        .split_once(&format!("{what}: "))
        .unwrap_or_else(|| panic!("there is no list: {what}"));
    quoted(rest.split('.').next().unwrap())
}

fn keys(schema: &Value) -> Names {
    let properties = schema["properties"].as_object();
    properties.map_or(Names::new(), |properties| {
        properties.keys().cloned().collect()
    })
}

/// The values of an enumeration, whose variants have documentation or not.
fn values(schema: &Value) -> Names {
    let variants = schema["oneOf"].as_array().unwrap();
    let text = |value: &Value| value.as_str().map(str::to_owned);
    variants
        .iter()
        .filter_map(|variant| text(&variant["const"]))
        .collect()
}

fn table<T>(names: &[(&'static str, T)]) -> Names {
    names.iter().map(|(name, _)| (*name).to_owned()).collect()
}

#[test]
fn every_key_of_a_scenario() {
    let schema = schema_for!(Scenario).to_value();
    let types = &schema["$defs"];
    let sense = &types["SenseConfig"]["anyOf"][0];
    for (heading, real) in [
        ("The file", keys(&schema)),
        ("`[device]`", keys(&types["DeviceConfig"])),
        ("`config`", keys(&types["ConfigFields"])),
        ("`[[unit]]`", keys(&types["UnitConfig"])),
        ("`[[rule]]`", keys(&types["RuleConfig"])),
        ("`match`", keys(&types["MatchConfig"])),
        ("`action`", keys(&types["ActionConfig"])),
        ("`sense`", keys(sense)),
        ("`corrupt`", keys(&types["Corrupt"])),
        ("`scribble`", keys(&types["Scribble"])),
        ("`flip`", keys(&types["Flip"])),
    ] {
        assert!(real.len() > 2, "{heading}: {real:?}");
        assert_eq!(documented(SCENARIOS, heading), real, "{heading}");
    }
    for (heading, kind) in [
        ("`[[unit]]`", "Kind"),
        ("`match`", "On"),
        ("`action`", "Write"),
        ("`corrupt`", "Part"),
    ] {
        let values = values(&types[kind]);
        assert!(values.len() > 1, "{kind}");
        for value in values {
            let quoted = format!("`\"{value}\"`");
            let text = section(SCENARIOS, heading);
            assert!(text.contains(&quoted), "{heading} does not have {quoted}");
        }
    }
}

#[test]
fn every_name_of_a_scenario() {
    let opcodes = OPCODES.iter().map(|op| op.name.to_owned()).collect();
    for (what, real) in [
        ("Names of features", table(feature::NAMES)),
        ("Names of commands", opcodes),
        ("Names of functions", table(tmf::NAMES)),
        ("Names of responses", table(response::NAMES)),
        ("Names of statuses", table(status::NAMES)),
    ] {
        assert_eq!(named(SCENARIOS, what), real, "{what}");
    }
}

#[test]
fn every_order_of_the_control_socket() {
    let schema = schema_for!(Order).to_value();
    let real: BTreeSet<(String, Names)> = schema["oneOf"]
        .as_array()
        .unwrap()
        .iter()
        .map(|order| {
            let mut fields = keys(order);
            assert!(fields.remove("cmd"));
            let name = &order["properties"]["cmd"]["const"];
            (name.as_str().unwrap().to_owned(), fields)
        })
        .collect();
    let documented = rows(CONTROL, "Orders")
        .iter()
        .map(|cells| (quoted(cells[0]).pop_first().unwrap(), quoted(cells[1])))
        .collect();
    assert_eq!(real, documented);
    for (what, real) in [
        ("Names of events", table(event::NAMES)),
        ("Names of reasons", table(event::REASONS)),
        ("Types of reservations", table(reservations::TYPES)),
    ] {
        assert_eq!(named(CONTROL, what), real, "{what}");
    }
}

#[test]
fn every_rule_that_a_driver_is_blamed_for() {
    let real = Broken::ALL.iter().map(|rule| rule.text().to_owned());
    assert_eq!(documented(CONTROL, "Violations"), real.collect());
}

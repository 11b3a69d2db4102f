// SPDX-License-Identifier: GPL-2.0-or-later

//! Scenario files: the device, its units, and how it behaves, as TOML.

use std::path::Path;

use serde::Deserialize;

use crate::config_space::ConfigFields;
use crate::rules::{Code, RuleConfig, Rules};
use crate::scsi::target::Targets;
use crate::scsi::unit::{Size, UnitConfig};
use crate::wire::feature;

/// The version of the format that this program reads. It rises when a file that was good would be
/// refused or mean something else; keys that are only added do not raise it.
pub const VERSION: i64 = 1;

/// A scenario as it is written.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Scenario {
    /// The version of the format that it is written in, [`VERSION`] if there is none.
    pub version: Option<i64>,
    /// The device.
    pub device: DeviceConfig,
    /// Its logical units.
    pub unit: Vec<UnitConfig>,
    /// What behaves otherwise.
    pub rule: Vec<RuleConfig>,
}

/// The device itself.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct DeviceConfig {
    /// How many request queues are served.
    pub request_queues: u16,
    /// Most entries of a queue.
    pub queue_size: u16,
    /// The features that are offered, by name or bit number.
    pub features: Vec<Code>,
    /// Configuration space.
    pub config: ConfigFields,
    /// Asynchronous events that AN requests find supported.
    pub async_events: u32,
}

impl Default for DeviceConfig {
    fn default() -> Self {
        let names = [
            "hotplug",
            "change",
            "indirect_desc",
            "event_idx",
            "version_1",
        ];
        Self {
            request_queues: 2,
            queue_size: 256,
            features: names.map(|name| Code::Name(name.into())).into(),
            config: ConfigFields::default(),
            async_events: crate::wire::event::MEDIA_CHANGE,
        }
    }
}

impl DeviceConfig {
    /// The feature bits that are offered, with vhost-user's own.
    pub fn feature_bits(&self) -> Result<u64, String> {
        feature_bits(&self.features)
    }
}

/// The bits of some features, with vhost-user's own.
pub fn feature_bits(features: &[Code]) -> Result<u64, String> {
    features.iter().try_fold(feature::PROTOCOL, |bits, code| {
        let bit = code.resolve("feature", feature::NAMES)?;
        if bit > 63 {
            return Err(format!("feature {bit}: bits are 0 to 63"));
        }
        Ok(bits | (1 << bit))
    })
}

/// A checked scenario.
#[derive(Debug)]
pub struct Checked {
    /// The device.
    pub device: DeviceConfig,
    /// Its feature bits.
    pub features: u64,
    /// Its units.
    pub targets: Targets,
    /// Its rules.
    pub rules: Rules,
}

impl Scenario {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("cannot read the scenario {}: {error}", path.display()))?;
        Self::parse(&text).map_err(|error| format!("in the scenario {}:\n{error}", path.display()))
    }

    /// Reads text.
    pub fn parse(text: &str) -> Result<Self, String> {
        // Before the rest, as another version has other keys.
        let version = text.parse::<toml::Table>().ok();
        let version = version.and_then(|table| table.get("version")?.as_integer());
        if let Some(version) = version.filter(|&version| version != VERSION) {
            let (name, number) = (env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
            let remedy = if version > VERSION {
                "take a later release of the program, or write the scenario in"
            } else {
                "write the scenario in"
            };
            return Err(format!(
                "version = {version}: {name} {number} reads version {VERSION} of the format; {remedy} version {VERSION}"
            ));
        }
        toml::from_str(text).map_err(|error| error.to_string())
    }

    /// Adds a memory disk at 0:0 if there is no unit at all.
    pub fn with_some_unit(mut self) -> Self {
        if self.unit.is_empty() {
            self.unit.push(UnitConfig {
                size: Some(Size::Bytes(64 << 20)),
                ..UnitConfig::default()
            });
        }
        self
    }

    /// Checks all of it and makes the units.
    pub fn check(self) -> Result<Checked, String> {
        let device = self.device;
        if !(1..=62).contains(&device.request_queues) {
            return Err("device: request_queues can be 1 to 62".into());
        }
        if !device.queue_size.is_power_of_two() {
            return Err("device: queue_size is a power of two".into());
        }
        let features = device
            .feature_bits()
            .map_err(|error| format!("device: {error}"))?;
        let mut targets = Targets::default();
        for unit in self.unit {
            targets.add(unit)?;
        }
        let mut rules = Rules::default();
        for rule in self.rule {
            rules.add(rule, false)?;
        }
        Ok(Checked {
            device,
            features,
            targets,
            rules,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<Checked, String> {
        Scenario::parse(text)?.check()
    }

    #[test]
    fn an_empty_scenario_is_a_device_with_a_disk() {
        let checked = Scenario::default().with_some_unit().check().unwrap();
        assert!(checked.targets.has(0, 0));
        assert_eq!(checked.features, 0x1_7000_0006);
    }

    #[test]
    fn everything_at_once() {
        let mut checked = check(
            r#"
            [device]
            request_queues = 4
            features = ["hotplug", "t10_pi", 40]
            config = { seg_max = 0x10000, max_lun = 0xffffffff }

            [[unit]]
            size = "1M"
            block_size = 4096
            thin = true

            [[unit]]
            target = 3
            lun = 300
            kind = "cdrom"
            size = 0x100000

            [[rule]]
            name = "third read fails"
            match = { opcode = "READ_10", nth = 3 }
            action = { status = "check_condition", sense = { key = 3, asc = 0x11 } }
            "#,
        )
        .unwrap();
        assert_eq!(
            checked.features,
            (1 << 1) | (1 << 3) | (1 << 30) | (1 << 40)
        );
        assert_eq!(checked.targets.get(0, 0).unwrap().blocks, 256);
        assert_eq!(checked.targets.get(3, 300).unwrap().blocks, 512);
        assert_eq!(checked.rules.counts(), [("third read fails", 0, 0)]);
    }

    #[test]
    fn another_version_is_refused_before_anything_else() {
        for good in [
            "",
            "version = 1",
            "version = 1\n[device]\nrequest_queues = 1",
        ] {
            check(good).unwrap();
        }
        let later = check("version = 2\nqueues = 1").unwrap_err();
        assert!(later.starts_with("version = 2: "), "{later}");
        assert!(later.contains("reads version 1 of the format; take a later release"));
        let earlier = check("version = 0").unwrap_err();
        assert!(
            earlier.contains("; write the scenario in version 1"),
            "{earlier}"
        );
        let text = check("version = \"1\"").unwrap_err();
        assert!(
            text.contains("line 1") && text.contains("expected i64"),
            "{text}"
        );
    }

    #[test]
    fn the_examples_are_good() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
        let mut count = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let checked = Scenario::read(&path).and_then(Scenario::check);
            assert!(checked.is_ok(), "{}: {checked:?}", path.display());
            count += 1;
        }
        assert!(count > 30);
    }

    #[test]
    fn unknown_keys_are_refused_everywhere() {
        for text in [
            "x = 1",
            "[device]\nx = 1",
            "[device]\nconfig = { x = 1 }",
            "[[unit]]\nx = 1",
            "[[rule]]\nname = \"a\"\naction = { drop = true }\nx = 1",
            "[[rule]]\nname = \"a\"\nmatch = { x = 1 }\naction = { drop = true }",
            "[[rule]]\nname = \"a\"\naction = { x = 1 }",
            "[[rule]]\nname = \"a\"\naction = { sense = { key = 1, asc = 1, x = 1 } }",
            "[[rule]]\nname = \"a\"\naction = { corrupt = { x = 1 } }",
            "[[rule]]\nname = \"a\"\naction = { scribble = { bytes = \"00\", x = 1 } }",
            "[[rule]]\nname = \"a\"\naction = { flip = { offset = 0, for_ms = 1, x = 1 } }",
        ] {
            let got = check(text).unwrap_err();
            assert!(
                got.contains("unknown field `x`") || got.contains("did not match"),
                "{text}: {got}"
            );
        }
    }

    #[test]
    fn errors_name_the_place() {
        for (text, error) in [
            ("[device]\nrequest_queues = 0", "1 to 62"),
            ("[device]\nqueue_size = 100", "power of two"),
            ("[device]\nfeatures = [\"hotplugging\"]", "none of inout, hotplug"),
            ("[device]\nfeatures = [64]", "0 to 63"),
            ("[device]\nqueues = 1", "unknown field `queues`"),
            ("[device.config]\nsegmax = 1", "unknown field `segmax`"),
            ("[[unit]]\nsize = \"1Q\"", "unit 0:0: size \"1Q\""),
            ("[[unit]]\nsize = 100", "less than one block"),
            ("[[unit]]\nblock_size = 500", "block_size"),
            ("[[unit]]\nlun = 16384", "0 to 16383"),
            ("[[unit]]\nprotection = 4", "1 to 3"),
            ("[[unit]]\nempty = true", "removable"),
            ("[[unit]]\nfile = \"/nonexistent/x\"", "cannot open /nonexistent/x"),
            ("[[unit]]\n[[unit]]", "a unit 0:0 already"),
            ("[[rule]]\nname = \"a\"\naction = {}", "rule \"a\": it does nothing"),
            ("[[rule]]\naction = { drop = true }", "missing field `name`"),
            (
                "[[rule]]\nname=\"a\"\naction={drop=true}\n[[rule]]\nname=\"a\"\naction={drop=true}",
                "a rule \"a\" already",
            ),
        ] {
            let got = check(text).unwrap_err();
            assert!(got.contains(error), "{text}: {got}");
        }
    }
}

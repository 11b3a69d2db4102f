// SPDX-License-Identifier: GPL-2.0-or-later

//! The commands of the control socket.

use serde::Deserialize;

use crate::config_space::ConfigFields;
use crate::rules::{Code, RuleConfig};
use crate::scsi::unit::UnitConfig;

fn yes() -> bool {
    true
}

fn once() -> u64 {
    1
}

/// An order. One without fields has braces all the same: serde would let it have any field
/// otherwise.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(tag = "cmd", rename_all = "snake_case", deny_unknown_fields)]
pub enum Order {
    /// Nothing.
    Ping {},
    /// A rule more; `first` puts it before the others.
    AddRule {
        /// The rule.
        rule: Box<RuleConfig>,
        /// Before the others.
        #[serde(default)]
        first: bool,
    },
    /// A rule less.
    RemoveRule {
        /// Its name.
        name: String,
    },
    /// No rules.
    ClearRules {},
    /// How often each rule fitted and acted.
    Rules {},
    /// A logical unit more.
    AddUnit {
        /// The unit.
        unit: UnitConfig,
        /// Whether the driver is told.
        #[serde(default = "yes")]
        event: bool,
    },
    /// A logical unit less.
    RemoveUnit {
        /// Target
        #[serde(default)]
        target: u8,
        /// LUN
        #[serde(default)]
        lun: u16,
        /// Whether the driver is told.
        #[serde(default = "yes")]
        event: bool,
    },
    /// Another number of blocks.
    Resize {
        /// Target
        #[serde(default)]
        target: u8,
        /// LUN
        #[serde(default)]
        lun: u16,
        /// Number of blocks.
        blocks: u64,
        /// Whether the driver is told.
        #[serde(default = "yes")]
        event: bool,
    },
    /// A medium is put in or taken out.
    Medium {
        /// Target
        #[serde(default)]
        target: u8,
        /// LUN
        #[serde(default)]
        lun: u16,
        /// In or out.
        loaded: bool,
    },
    /// A unit attention condition.
    Attention {
        /// Target
        #[serde(default)]
        target: u8,
        /// LUN
        #[serde(default)]
        lun: u16,
        /// Additional sense code.
        asc: u8,
        /// Its qualifier.
        #[serde(default)]
        ascq: u8,
    },
    /// Another initiator registers a key, and reserves if a type is given. Key 0 takes both away.
    Reserve {
        /// Target
        #[serde(default)]
        target: u8,
        /// LUN
        #[serde(default)]
        lun: u16,
        /// Its key.
        key: u64,
        /// Type of reservation.
        #[serde(default, rename = "type")]
        kind: Option<String>,
        /// Which initiator; 0 is the guest.
        #[serde(default = "other_nexus")]
        nexus: u32,
    },
    /// Any event.
    Event {
        /// Code, as a number or name.
        event: Code,
        /// The eight bytes of the LUN as hexadecimal text, instead of target and LUN.
        #[serde(default)]
        lun_bytes: Option<String>,
        /// Target
        #[serde(default)]
        target: u8,
        /// LUN
        #[serde(default)]
        lun: u16,
        /// Reason, as a number or name.
        #[serde(default)]
        reason: Option<Code>,
        /// The flag that events were missed.
        #[serde(default)]
        missed: bool,
        /// How often.
        #[serde(default = "once")]
        times: u64,
        /// With so much time between.
        #[serde(default)]
        interval_ms: u64,
        /// The used length that is claimed.
        #[serde(default)]
        used_len: Option<u32>,
        /// Whether it waits for a buffer; else it is lost if there is none.
        #[serde(default)]
        wait: bool,
    },
    /// No event that is still to be sent is sent.
    EndEvents {},
    /// Whether event buffers are taken.
    Eventq {
        /// Taken or not.
        consume: bool,
    },
    /// Other values in the configuration space.
    SetConfig {
        /// The fields that change.
        config: ConfigFields,
        /// Whether the driver is told.
        #[serde(default = "yes")]
        notify: bool,
    },
    /// Offers for the next front-ends: each takes one of these, in their order.
    Offers {
        /// All that are left, instead of those that were.
        offers: Vec<OfferConfig>,
    },
    /// The driver is told of a change that there may not be.
    NotifyConfig {
        /// How often.
        #[serde(default = "once")]
        times: u64,
    },
    /// A queue is stopped or goes on.
    Queue {
        /// Index
        queue: usize,
        /// Whether it runs.
        run: bool,
    },
    /// The next notifications of a queue are lost.
    IgnoreKicks {
        /// Index
        queue: usize,
        /// How many; 0 ends it.
        #[serde(default = "once")]
        count: u64,
    },
    /// Held requests are answered: those of a name, or all.
    Release {
        /// The name.
        #[serde(default)]
        name: Option<String>,
    },
    /// The requests that were not answered.
    Waiting {},
    /// A raw entry in a used ring.
    Used {
        /// Queue index
        queue: usize,
        /// The id.
        id: u32,
        /// The length.
        #[serde(default)]
        len: u32,
    },
    /// The used index is moved.
    UsedJump {
        /// Queue index
        queue: usize,
        /// By how much.
        by: u16,
    },
    /// An interrupt for nothing.
    Interrupt {
        /// Queue index
        queue: usize,
        /// How often.
        #[serde(default = "once")]
        times: u64,
    },
    /// The error descriptor of a queue is signalled.
    VringError {
        /// Queue index
        queue: usize,
    },
    /// Counters.
    Stats {},
    /// A line for the log.
    Mark {
        /// Its text.
        text: String,
    },
    /// The connection to the front-end ends; the device waits for the next one.
    Disconnect {},
    /// The device ends at once, as in a crash.
    Die {},
    /// The device ends.
    Quit {},
}

/// An offer for a front-end, as an order has it: features and fields instead of the scenario's.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct OfferConfig {
    /// Features, by name or bit number.
    #[serde(default)]
    pub features: Option<Vec<Code>>,
    /// Fields of the configuration space.
    #[serde(default)]
    pub config: ConfigFields,
}

fn other_nexus() -> u32 {
    1
}

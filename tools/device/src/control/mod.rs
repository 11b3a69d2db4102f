// SPDX-License-Identifier: GPL-2.0-or-later

//! The control socket: one JSON object in a line, one in a line as the answer. doc/control.md lists
//! them.

pub mod order;

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{json, Value};

use order::Order;

use crate::bytes::unhex;
use crate::device::events::Burst;
use crate::device::{Device, Offer, Wish};
use crate::rules::Code;
use crate::scenario::feature_bits;
use crate::scsi::reservations::TYPES;
use crate::scsi::unit::UnitConfig;
use crate::scsi::Sense;
use crate::wire::{event, Address, Event, EVENTS_MISSED};

/// Carries out a line. Returns the line to answer.
pub fn handle(device: &mut Device, line: &str) -> String {
    let result = serde_json::from_str::<Order>(line)
        .map_err(|error| format!("this is not a command: {error}"))
        .and_then(|order| carry_out(device, order));
    let value = match result {
        Ok(Value::Object(mut fields)) => {
            fields.insert("ok".into(), true.into());
            Value::Object(fields)
        }
        Ok(_) => json!({"ok": true}),
        Err(error) => json!({"ok": false, "error": error}),
    };
    device.log.line(
        "control",
        json!({"line": line.trim_end(), "ok": value["ok"]}),
    );
    value.to_string()
}

fn carry_out(device: &mut Device, order: Order) -> Result<Value, String> {
    match order {
        Order::Ping {} => {}
        Order::AddRule { rule, first } => device.rules.add(*rule, first)?,
        Order::RemoveRule { name } => device.rules.remove(&name)?,
        Order::ClearRules {} => device.rules.clear(),
        Order::Rules {} => {
            let line =
                |(name, seen, applied)| json!({"name": name, "seen": seen, "applied": applied});
            let rules: Vec<Value> = device.rules.counts().into_iter().map(line).collect();
            return Ok(json!({"rules": rules}));
        }
        Order::AddUnit { unit, event } => add_unit(device, unit, event)?,
        Order::RemoveUnit { target, lun, event } => {
            device
                .targets
                .remove(target, lun)
                .ok_or_else(|| format!("there is no unit {target}:{lun}"))?;
            for unit in device.targets.of_target(target) {
                unit.attention(Sense::LUNS_CHANGED);
            }
            if event {
                device.transport_event(target, lun, event::REMOVED);
            }
        }
        Order::Resize {
            target,
            lun,
            blocks,
            event,
        } => {
            if blocks == 0 {
                return Err("a unit has at least one block".into());
            }
            device.targets.get(target, lun)?.resize(blocks);
            if event {
                device.param_event(target, lun, Sense::CAPACITY.asc, Sense::CAPACITY.ascq);
            }
        }
        Order::Medium {
            target,
            lun,
            loaded,
        } => {
            let unit = device.targets.get(target, lun)?;
            if !unit.config.removable {
                return Err(format!(
                    "the medium of unit {target}:{lun} cannot be taken out"
                ));
            }
            unit.load(loaded);
            if device.subscribed(target, lun, event::MEDIA_CHANGE) {
                let event = Event {
                    event: event::ASYNC_NOTIFY,
                    lun: Address::bytes(target, lun),
                    reason: event::MEDIA_CHANGE,
                };
                device.send_event(event, None, false);
            }
        }
        Order::Attention {
            target,
            lun,
            asc,
            ascq,
        } => device
            .targets
            .get(target, lun)?
            .attention(Sense::new(6, asc, ascq)),
        Order::Reserve {
            target,
            lun,
            key,
            kind,
            nexus,
        } => {
            let reservations = &mut device.targets.get(target, lun)?.reservations;
            reservations.register(nexus, key);
            if let Some(name) = kind {
                let kind = Code::Name(name).resolve("type", TYPES)?;
                reservations
                    .reserve(nexus, kind)
                    .map_err(|_| "another initiator holds a reservation")?;
            }
        }
        order @ Order::Event { .. } => device.send_burst(burst(order)?),
        Order::EndEvents {} => device.end_events(),
        Order::Eventq { consume } => device.consume_events(consume),
        Order::SetConfig { config, notify } => {
            device.set_config(&config);
            if notify {
                device.notify_config()?;
            }
        }
        Order::Offers { offers } => {
            let checked = offers.into_iter().map(|offer| {
                let features = offer.features.as_deref().map(feature_bits).transpose()?;
                let config = offer.config;
                Ok(Offer { features, config })
            });
            device.offers = checked.collect::<Result<_, String>>()?;
        }
        Order::NotifyConfig { times } => {
            for _ in 0..times {
                device.notify_config()?;
            }
        }
        Order::Release { name } => return Ok(json!({"released": device.release(name.as_deref())})),
        Order::Waiting {} => return Ok(json!({"waiting": device.waiting()})),
        Order::Queue { queue, run } => {
            device.ring(queue)?.paused = !run;
            device
                .log
                .line("queue", json!({"queue": queue, "run": run}));
            if run {
                device.service(queue);
            }
        }
        Order::IgnoreKicks { queue, count } => device.ring(queue)?.ignored_kicks = count,
        Order::Used { queue, id, len } => {
            let memory = device.memory.clone().ok_or("no driver is there")?;
            let ring = device.ring(queue)?;
            ring.push(&memory, id, len, 1)?;
            ring.misled = true;
            ring.notify(&memory, true)?;
            device.stats.answers_ruled += 1;
        }
        Order::UsedJump { queue, by } => {
            let memory = device.memory.clone().ok_or("no driver is there")?;
            let ring = device.ring(queue)?;
            ring.jump(&memory, by)?;
            ring.misled = true;
            ring.notify(&memory, true)?;
        }
        Order::Interrupt { queue, times } => {
            let memory = device.memory.clone().ok_or("no driver is there")?;
            for _ in 0..times {
                device.ring(queue)?.notify(&memory, true)?;
            }
        }
        Order::VringError { queue } => {
            let error = device.ring(queue)?.error.as_mut();
            if error.is_none() {
                return Err("the front-end gave no descriptor for it".into());
            }
            crate::ring::signal(error);
        }
        Order::Stats {} => return Ok(stats(device)),
        Order::Mark { text } => device.log.line("mark", json!({"text": text})),
        Order::Disconnect {} => device.wish = Some(Wish::Disconnect),
        Order::Die {} => device.wish = Some(Wish::Die),
        Order::Quit {} => device.wish = Some(Wish::Quit),
    }
    Ok(Value::Null)
}

fn add_unit(device: &mut Device, unit: UnitConfig, event: bool) -> Result<(), String> {
    let (target, lun) = (unit.target, unit.lun);
    device.targets.add(unit)?;
    for unit in device.targets.of_target(target) {
        if unit.config.lun != lun {
            unit.attention(Sense::LUNS_CHANGED);
        }
    }
    if event {
        device.transport_event(target, lun, event::RESCAN);
    }
    Ok(())
}

fn burst(order: Order) -> Result<Burst, String> {
    let Order::Event {
        event: code,
        lun_bytes,
        target,
        lun,
        reason,
        missed,
        times,
        interval_ms,
        used_len,
        wait,
    } = order
    else {
        return Err("this is not an event".into());
    };
    let code: u32 = code.resolve("event", event::NAMES)?;
    let reason = reason.map_or(Ok(0), |reason| reason.resolve("reason", event::REASONS))?;
    let lun = match lun_bytes {
        Some(text) => unhex(&text)?
            .try_into()
            .map_err(|_| format!("lun_bytes \"{text}\" is not eight bytes"))?,
        None => Address::bytes(target, lun),
    };
    Ok(Burst {
        event: Event {
            event: code | if missed { EVENTS_MISSED } else { 0 },
            lun,
            reason,
        },
        times,
        interval: Duration::from_millis(interval_ms),
        used_len,
        wait,
    })
}

fn stats(device: &mut Device) -> Value {
    let rings: Vec<Value> = device
        .rings
        .iter()
        .map(|ring| {
            json!({"size": ring.size, "started": ring.started, "enabled": ring.enabled,
                "paused": ring.paused, "generation": ring.generation})
        })
        .collect();
    json!({
        "stats": device.stats, "rings": rings, "acked": format!("{:#x}", device.acked),
        "connected": device.memory.is_some(), "waiting": device.waiting().len(),
        "event_buffers": device.events.buffers(),
        "flipping": device.flipping.load(Ordering::Relaxed),
        "violations": device.log.violations.values().sum::<u64>(),
    })
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::log::Log;
    use crate::scenario::Scenario;

    fn device() -> Device {
        let checked = Scenario::default().with_some_unit().check().unwrap();
        Device::new(checked, Log::open(None).unwrap())
    }

    fn say(device: &mut Device, line: &str) -> Value {
        serde_json::from_str(&handle(device, line)).unwrap()
    }

    #[test]
    fn orders_are_carried_out() {
        let mut device = device();
        assert_eq!(say(&mut device, r#"{"cmd":"ping"}"#), json!({"ok": true}));
        let add = r#"{"cmd":"add_unit","unit":{"target":1,"lun":2,"size":"1M"}}"#;
        assert_eq!(say(&mut device, add)["ok"], true);
        assert!(device.targets.has(1, 2));
        assert_eq!(say(&mut device, add)["ok"], false);
        let rule = r#"{"cmd":"add_rule","rule":{"name":"a","action":{"drop":true}}}"#;
        assert_eq!(say(&mut device, rule)["ok"], true);
        let rules = say(&mut device, r#"{"cmd":"rules"}"#);
        assert_eq!(
            rules["rules"][0],
            json!({"name": "a", "seen": 0, "applied": 0})
        );
        assert_eq!(
            say(&mut device, r#"{"cmd":"event","event":"transport_reset"}"#)["ok"],
            true
        );
        assert_eq!(
            say(&mut device, r#"{"cmd":"stats"}"#)["stats"]["events_missed"],
            1
        );
        assert_eq!(say(&mut device, r#"{"cmd":"quit"}"#)["ok"], true);
        assert_eq!(device.wish, Some(Wish::Quit));
    }

    #[test]
    fn each_front_end_takes_an_offer() {
        let mut device = device();
        let usual = (device.features, device.space.read(4, 4));
        let order =
            r#"{"cmd":"offers","offers":[{"features":["version_1"]},{"config":{"seg_max":7}}]}"#;
        assert_eq!(say(&mut device, order)["ok"], true);
        device.connected();
        assert_eq!(device.features, (1 << 32) | crate::wire::feature::PROTOCOL);
        assert_eq!(device.space.read(4, 4), usual.1);
        device.connected();
        assert_eq!(
            (device.features, device.space.read(4, 4)),
            (usual.0, vec![7, 0, 0, 0])
        );
        device.connected();
        assert_eq!((device.features, device.space.read(4, 4)), usual);
        assert_eq!(device.stats.offers, 2);
        // An order holds for all that connect, before an offer and after it.
        let changes = r#"{"cmd":"set_config","config":{"seg_max":9},"notify":false}"#;
        let offer = r#"{"cmd":"offers","offers":[{"config":{"seg_max":7}}]}"#;
        for (line, seg_max) in [(changes, 9), (offer, 7), (changes, 9)] {
            assert_eq!(say(&mut device, line)["ok"], true);
            device.connected();
            assert_eq!(device.space.read(4, 4), [seg_max, 0, 0, 0]);
        }
        let wrong = r#"{"cmd":"offers","offers":[{"features":["speed"]}]}"#;
        let refused = say(&mut device, wrong);
        assert!(refused["error"].as_str().unwrap().contains("speed"));
    }

    #[test]
    fn errors_say_what_is_wrong() {
        let mut device = device();
        for (line, error) in [
            ("hello", "not a command"),
            (r#"{"cmd":"ping","x":1}"#, "unknown field `x`"),
            (r#"{"cmd":"release","nmae":"x"}"#, "unknown field `nmae`"),
            (r#"{"cmd":"add_unit","unit":{"x":1}}"#, "unknown field `x`"),
            (r#"{"cmd":"dance"}"#, "unknown variant `dance`"),
            (r#"{"cmd":"resize","lun":7,"blocks":1}"#, "no unit 0:7"),
            (r#"{"cmd":"resize","blocks":0}"#, "at least one block"),
            (
                r#"{"cmd":"queue","queue":9,"run":true}"#,
                "no queue 9; there are 4",
            ),
            (r#"{"cmd":"medium","loaded":false}"#, "cannot be taken out"),
            (r#"{"cmd":"event","event":"boom"}"#, "none of no_event"),
            (
                r#"{"cmd":"event","event":1,"lun_bytes":"00"}"#,
                "not eight bytes",
            ),
            (r#"{"cmd":"used","queue":2,"id":1}"#, "no driver"),
            (r#"{"cmd":"notify_config"}"#, "no channel"),
            (r#"{"cmd":"remove_rule","name":"x"}"#, "no rule \"x\""),
            (
                r#"{"cmd":"reserve","key":1,"type":"all"}"#,
                "none of write_exclusive",
            ),
        ] {
            let answer = say(&mut device, line);
            let got = answer["error"].as_str().unwrap();
            assert!(got.contains(error), "{line}: {got}");
        }
    }
    #[test]
    fn an_error_of_a_queue_is_signalled() {
        let mut device = device();
        let order = r#"{"cmd":"vring_error","queue":2}"#;
        let refused = say(&mut device, order);
        assert!(refused["error"].as_str().unwrap().contains("no descriptor"));
        let (mut front_end, end) = UnixStream::pair().unwrap();
        device.rings[2].error = Some(File::from(OwnedFd::from(end)));
        assert_eq!(say(&mut device, order)["ok"], true);
        let mut count = [0; 8];
        front_end.read_exact(&mut count).unwrap();
        assert_eq!(u64::from_ne_bytes(count), 1);
    }
}

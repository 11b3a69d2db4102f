// SPDX-License-Identifier: GPL-2.0

//! What it means that a command is in flight: whether it is stuck, and why.

use crate::report::Record;

/// What is said of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// It is in recovery, or older than its time-out.
    pub stuck: bool,
    /// Why it is still in flight.
    pub why: String,
}

/// A stage of recovery in words; [`None`] for a stage that a newer driver may have.
fn recovery(stage: &str) -> Option<&'static str> {
    Some(match stage {
        "notified" => "time-out, device notified again",
        "to_query" => "time-out, asking the device",
        "held" => "the device has it: waiting",
        "query_refused" => "the device does not say whether it has it: waiting",
        "lost" => "the device does not have it: recovering",
        "unanswered" => "the device does not answer: recovering",
        "to_abort" => "waited for long enough: to be aborted",
        "aborting" => "asking the device to abort it",
        _ => return None,
    })
}

/// Judges a line of `in_flight`. `state` is the file of the device.
pub fn judge(command: &Record, state: &Record) -> Verdict {
    let stage = command.text("stage").unwrap_or("sent");
    if stage != "sent" {
        let words = recovery(stage).map_or_else(|| format!("stage {stage}"), str::to_owned);
        return Verdict {
            stuck: true,
            why: words,
        };
    }

    let here = command.text("place") == Some("driver");
    let why = match (here, state.text("state")) {
        (false, _) => "the device works on it",
        (true, None | Some("live")) => "in the driver",
        (true, Some("gone")) => "in the driver: the device is given up",
        (true, Some("waiting")) => "in the driver: the device lacks interrupts",
        (true, Some(_)) => "in the driver: the device is being reset",
    };
    let timeout = command.number("timeout_ms").unwrap_or(0);
    let stuck = timeout > 0 && command.number("age_ms").is_some_and(|age| age > timeout);
    let retries = command.number("retries").unwrap_or(0);
    Verdict {
        stuck,
        why: match (stuck, retries) {
            (false, _) => why.to_owned(),
            (true, 0) if state.number("recovery_wait") == Some(1) => {
                format!("{why}: past its time-out, and recovery_wait is set")
            }
            (true, 0) => format!("{why}: past its time-out"),
            (true, 1) => format!("{why}: past its time-out, sent again once"),
            (true, retries) => format!("{why}: past its time-out, sent again {retries} times"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(command: &str, state: &str) -> (bool, String) {
        let command = Record::of_lines(command).pop().unwrap_or_default();
        let verdict = judge(&command, &Record::of_file(state));
        (verdict.stuck, verdict.why)
    }

    #[test]
    fn a_new_command_is_not_stuck() {
        let line = "age_ms 30000 timeout_ms 30000 retries 0 place device stage sent";
        assert_eq!(
            said(line, "state live"),
            (false, "the device works on it".to_owned())
        );
        assert_eq!(said("", ""), (false, "the device works on it".to_owned()));
    }

    #[test]
    fn each_stage_of_recovery_is_stuck_with_words_of_its_own() {
        let stages = "notified to_query held query_refused lost unanswered to_abort aborting";
        let mut words = Vec::new();
        for stage in stages.split(' ') {
            let (stuck, why) = said(&format!("age_ms 1 timeout_ms 9 stage {stage}"), "");
            assert!(stuck && !why.starts_with("stage"), "{stage}: {why}");
            words.push(why);
        }
        words.sort();
        words.dedup();
        assert_eq!(words.len(), 8);
        assert_eq!(
            said("stage pondered", ""),
            (true, "stage pondered".to_owned())
        );
    }

    #[test]
    fn what_is_older_than_its_time_out_is_stuck() {
        let line = "age_ms 30001 timeout_ms 30000 place device stage sent retries";
        let (stuck, why) = said(&format!("{line} 0"), "state live\nrecovery_wait 0");
        assert!(stuck && why.ends_with("past its time-out"), "{why}");
        let (stuck, why) = said(&format!("{line} 2"), "state live\nrecovery_wait 0");
        assert!(stuck && why.ends_with("sent again 2 times"), "{why}");
        let (stuck, why) = said(&format!("{line} 0"), "state live\nrecovery_wait 1");
        assert!(stuck && why.ends_with("recovery_wait is set"), "{why}");
        // Without a time-out there is no bound.
        assert!(!said("age_ms 30001 timeout_ms 0 stage sent", "").0);
        assert!(!said("age_ms 30001 stage sent", "").0);
    }

    #[test]
    fn a_command_in_the_driver_is_told_apart() {
        let line = "age_ms 5 timeout_ms 30000 place driver stage sent";
        assert_eq!(said(line, "state live").1, "in the driver");
        assert!(said(line, "state down_driver").1.contains("being reset"));
        assert!(said(line, "state waiting").1.contains("lacks interrupts"));
        assert!(said(line, "state gone").1.contains("given up"));
    }
}

// SPDX-License-Identifier: GPL-2.0

//! A device with any configuration, any rings and any settings of the user, which comes back from a
//! reset with others.

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use virtio_scsi_wire::{
    invariants,
    protocol::{
        adjustments::Adjustments,
        command::Layout,
        config::Config,
        limits::{Limits, Platform, Rings},
        settings::Settings,
    },
};

/// A number that a device offers: in many cases one that it may offer.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Number {
    Ordinary,
    Small(u8),
    Any(u32),
}

impl Number {
    fn or(self, ordinary: u32) -> u32 {
        match self {
            Self::Ordinary => ordinary,
            Self::Small(number) => number.into(),
            Self::Any(number) => number,
        }
    }
}

/// Configuration space, sizes of the rings, and features.
#[derive(Arbitrary, Clone, Debug)]
struct Offer {
    numbers: [Number; 10],
    max_target: u16,
    protection: bool,
    indirect: bool,
}

impl Offer {
    fn config(&self) -> Config {
        let [num_queues, seg_max, max_sectors, cmd_per_lun, event_info_size, max_lun, ..] =
            self.numbers;

        Config {
            num_queues: num_queues.or(4),
            seg_max: seg_max.or(126),
            max_sectors: max_sectors.or(0xffff),
            cmd_per_lun: cmd_per_lun.or(128),
            event_info_size: event_info_size.or(16),
            max_target: self.max_target,
            max_lun: max_lun.or(16_383),
        }
    }

    fn rings(&self) -> Rings {
        let [.., size, control, _, _] = self.numbers;

        Rings {
            size: size.or(128),
            control: control.or(64),
            indirect: self.indirect,
        }
    }

    fn layout(&self, adjustments: &mut Adjustments) -> Option<Layout> {
        let [.., cdb_size, sense_size] = self.numbers;

        Layout::new(
            cdb_size.or(32),
            sense_size.or(96),
            self.protection,
            adjustments,
        )
        .ok()
    }
}

/// A change that the device comes back from the reset with.
#[derive(Arbitrary, Debug)]
enum Change {
    Number { which: u8, to: Number },
    Protection,
    Indirect,
}

#[derive(Arbitrary, Debug)]
struct Input {
    before: Offer,
    changes: Vec<Change>,
    poll_queues: Number,
    request_queues: Number,
    queue_depth: Number,
    cpus: u32,
    mapping: u64,
}

fuzz_target!(|input: Input| {
    let settings = Settings {
        poll_queues: input.poll_queues.or(0),
        request_queues: input.request_queues.or(0),
        queue_depth: input.queue_depth.or(0),
        max_units: Settings::UNITS,
    };
    let platform = Platform {
        queues: input.cpus,
        mapping: input.mapping,
    };

    // The module is not loaded with it.
    if settings.mistake().is_some() {
        return;
    }

    let before = &input.before;
    let mut after = before.clone();
    let count = after.numbers.len();

    for change in &input.changes {
        match *change {
            Change::Number { which, to } => after.numbers[usize::from(which) % count] = to,
            Change::Protection => after.protection ^= true,
            Change::Indirect => after.indirect ^= true,
        }
    }

    let mut adjustments = Adjustments::default();
    let Some(layout) = before.layout(&mut adjustments) else {
        return;
    };
    let fitted = invariants::limits(
        &before.config(),
        &settings,
        platform,
        before.rings(),
        layout,
    );
    let now = Limits::new(&after.config(), &settings, platform, &mut adjustments);

    if let (Some(fitted), Ok(now), Some(layout)) = (fitted, now, after.layout(&mut adjustments)) {
        invariants::limits_after_reset(&fitted, &now, layout, after.rings());
    }
    let _ = adjustments.to_string();
});

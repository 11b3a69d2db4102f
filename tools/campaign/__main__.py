# SPDX-License-Identifier: GPL-2.0
"""The command line of `make campaign`."""

import argparse
import sys
from pathlib import Path

from guest import device, paths
from guest.guest import DRIVERS, MODULE
from guest.uml import VARIANTS

from . import table
from .campaign import Campaign, replay, shrunk
from .draw import NAMES

FOLDER = paths.BUILD / "campaign"


def main() -> int:
    parser = argparse.ArgumentParser(prog="campaign")
    parser.add_argument("--seed", default="1")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--first", type=int, default=0, help="the first round's number")
    parser.add_argument("--kernel", choices=VARIANTS, action="append", help="only this one")
    parser.add_argument("--strands", default="", help=f"only these, with commas between: {', '.join(NAMES)}")
    parser.add_argument("--replay", type=Path, help="plays the round of a finding again")
    parser.add_argument("--shrink", type=Path, help="makes the round of a finding smaller")
    parser.add_argument("--keep", type=Path, nargs="*", help="puts records into docs/campaign.md")
    options = parser.parse_args()
    if options.keep is not None:
        for record in options.keep:
            table.keep(record)
        table.write()
        return 0
    variants = tuple(options.kernel or VARIANTS)
    # Before time counts.
    device.build()
    strands = [name for name in options.strands.split(",") if name]
    if not set(strands) <= set(NAMES):
        parser.error(f"there are these strands: {', '.join(NAMES)}")
    for variant in variants:
        paths.run_build(f"uml-{variant}")
    if options.replay:
        found = replay(options.replay, FOLDER / "replay")
        print(f"found again: {found}" if found else "not found again")
        return bool(found)
    if options.shrink:
        small = shrunk(options.shrink, FOLDER / "shrink", options.minutes * 60)
        print(f"{len(small.steps)} steps are left")
        return 0
    folder = FOLDER / f"{DRIVERS[MODULE].name}-{options.seed}"
    campaign = Campaign(options.seed, options.minutes, folder, variants, strands)
    record = campaign.run(options.first)
    print(record.text() + f"\nrecord and logs: {folder}/")
    return bool(record.findings)


sys.exit(main())

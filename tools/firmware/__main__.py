# SPDX-License-Identifier: GPL-2.0
"""firmware seabios|ovmf [--door test] [--seconds N] [SCENARIO...]: boots from the scripted device, once with
each scenario file, or with a device that behaves, and says what came of it. Logs are in build/firmware.

Runs inside the toolbox: tools/in-toolbox env PYTHONPATH=tools python3 -m firmware seabios"""

import argparse
import shutil
import tomllib
from collections import Counter
from pathlib import Path

from guest import paths
from guest.device import DOORS

from .boot import boot


def main() -> None:
    parser = argparse.ArgumentParser(prog="firmware", description="Boots firmware from the scripted device.")
    parser.add_argument("firmware", choices=["seabios", "ovmf"])
    parser.add_argument("scenario", type=Path, nargs="*", help="TOML files; without one the device behaves")
    parser.add_argument("--door", choices=DOORS, help="QEMU's device (test if there is a config, else scsi)")
    parser.add_argument("--seconds", type=float, default=60, help="when it is given up (60)")
    chosen = parser.parse_args()
    for file in chosen.scenario or [None]:
        name = file.stem if file else "behaves"
        scenario = tomllib.loads(file.read_text()) if file else {}
        # Behind the other door the configuration space is QEMU's.
        door = chosen.door or ("test" if scenario.get("device", {}).get("config") else "scsi")
        folder = paths.BUILD / "firmware" / f"{chosen.firmware}-{door}-{name}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        came = boot(chosen.firmware, scenario, folder, door, chosen.seconds)
        violations = Counter(line["rule"] for line in came.violations)
        took = f"{came.seconds:.0f} s, {sum(came.commands.values())} commands"
        print(f"{chosen.firmware} {name}: {came.result}, {took}", flush=True)
        for rule, count in violations.items():
            print(f"  violation, {count} times: {rule}")


main()

# SPDX-License-Identifier: GPL-2.0
"""QEMU with firmware in front of the scripted device."""

import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from guest.device import TestDevice, build

from .disks import CODES, bios_disk, efi_disk

MEMORY = 256
OVMF = Path("/usr/share/OVMF")
# What it says, where it says it, when there is nothing that it could boot.
GAVE_UP = {"seabios": ("said.log", b"No bootable device"), "ovmf": ("serial.log", b"EFI Internal Shell")}
RESULTS = {"AS_WRITTEN": "booted", "WRONG": "wrong data", "UNREADABLE": "unreadable"}


@dataclass(frozen=True)
class Outcome:
    """What a boot came to: booted, wrong data, unreadable, "went on without the disk", or nothing in the time
    given."""

    result: str
    seconds: float
    violations: list[dict[str, Any]]
    commands: dict[str, int]
    # SeaBIOS's or OVMF's own words; those of Debian's OVMF are none.
    said: str


def arguments(firmware: str, folder: Path) -> list[str]:
    """Those of QEMU that make the machine boot with it."""
    if firmware == "seabios":
        return []
    variables = folder / "vars.fd"
    variables.write_bytes((OVMF / "OVMF_VARS_4M.fd").read_bytes())
    code = f"if=pflash,format=raw,readonly=on,file={OVMF}/OVMF_CODE_4M.fd"
    return ["-drive", code, "-drive", f"if=pflash,format=raw,file={variables}"]


def boot(
    firmware: str, scenario: dict[str, Any], folder: Path, door: str = "scsi", timeout: float = 60
) -> Outcome:
    """Boots `firmware`, "seabios" or "ovmf". The first unit of the scenario is the disk with the program."""
    disk = bios_disk(folder) if firmware == "seabios" else efi_disk(folder)
    unit, *others = scenario.get("unit") or [{}]
    device = TestDevice(folder, {**scenario, "unit": [{**unit, "file": disk}, *others]})
    build()
    with device:
        before = device.door(door, MEMORY)
        words = [f"{key}={value}" for key, value in before["devices"][0].items() if key != "driver"]
        said = folder / "said.log"
        command = [
            *["qemu-system-x86_64", "-machine", "q35", "-accel", "tcg", "-m", f"{MEMORY}M", "-no-reboot"],
            *["-nodefaults", "-display", "none", *arguments(firmware, folder), *before["args"]],
            *["-device", ",".join([before["devices"][0]["driver"], *words])],
            *["-device", "isa-debug-exit,iobase=0xf4,iosize=0x04"],
            *["-chardev", f"file,id=said,path={said}", "-device", "isa-debugcon,iobase=0x402,chardev=said"],
            *["-serial", f"file:{folder / 'serial.log'}"],
        ]
        began = time.monotonic()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        try:
            result = _result(process, firmware, folder, began + timeout)
        finally:
            process.kill()
            process.wait()
        seconds = time.monotonic() - began
        commands = device("stats")["stats"]["commands"]
        return Outcome(result, seconds, device.lines("violation"), commands, said.read_text(errors="replace"))


def _result(process: subprocess.Popen[bytes], firmware: str, folder: Path, deadline: float) -> str:
    file, words = GAVE_UP[firmware]
    codes = {2 * CODES[name] + 1: text for name, text in RESULTS.items()}
    while time.monotonic() < deadline:
        try:
            code = process.wait(0.1)
            return codes.get(code, f"QEMU ended with {code}")
        except subprocess.TimeoutExpired:
            if (folder / file).exists() and words in (folder / file).read_bytes():
                return "went on without the disk"
    return "nothing"

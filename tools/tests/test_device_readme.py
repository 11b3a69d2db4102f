# SPDX-License-Identifier: GPL-2.0
"""The README of the scripted device: its commands are run as they are, with the BIOS as the driver."""

import json
import os
import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from guest.device import MANIFEST, build

pytestmark = [pytest.mark.device, pytest.mark.ours("no kernel is booted")]

README = (MANIFEST.parent / "README.md").read_text()
NAME = "virtio-scsi-test-device"
TAIL = re.search(r"With nothing more than `([^`]*)`", README)
# The BIOS has looked for disks, and found none that it can boot.
LOOKED = "No bootable device"


def section(title: str) -> str:
    found = re.search(rf"^##+ {title}\n(.*?)(?=^##|\Z)", README, re.M | re.S)
    assert found, title
    return found[1]


def commands(title: str) -> list[str]:
    """The indented lines of a section; those that go on in the next line are one."""
    text = re.sub(r" \\\n +", " ", section(title))
    return [line.strip() for line in re.findall(r"^    .*$", text, re.M)]


def the(lines: list[str], begin: str) -> str:
    (line,) = [line for line in lines if line.startswith(begin)]
    return line


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Runs a command of the README in an empty folder; one that ends with & goes on."""
    path = {**os.environ, "PATH": f"{build().parent}:{os.environ['PATH']}"}
    running: list[subprocess.Popen[str]] = []

    def run(command: str) -> Any:
        there = {"cwd": tmp_path, "env": path, "text": True, "stdout": subprocess.PIPE}
        if not command.endswith("&"):
            return subprocess.run(["sh", "-c", command], **there)
        running.append(subprocess.Popen(["sh", "-c", f"exec {command.removesuffix('&')}"], **there))
        return running[-1]

    yield run
    # A front-end that is left waits for its device.
    for process in reversed(running):
        process.kill()
        process.wait()
        assert process.stdout
        process.stdout.close()


def start(shell: Callable[..., Any], command: str) -> Any:
    device = shell(command)
    assert device.stdout.readline().startswith("listening")
    return device


def bios(shell: Callable[..., Any], command: str) -> str:
    """What it says until it gives up. QEMU is ended then."""
    assert TAIL
    qemu = shell(command.replace("...", f"{TAIL[1]} -accel tcg -nodefaults") + " &")
    said, deadline = "", time.monotonic() + 60
    while LOOKED not in said and time.monotonic() < deadline:
        said += qemu.stdout.readline()
    qemu.kill()
    qemu.wait()
    assert LOOKED in said, said
    return said


def order(folder: Path, text: str) -> dict[str, Any]:
    with socket.socket(socket.AF_UNIX) as control:
        control.settimeout(30)
        control.connect(str(folder / "c.sock"))
        control.sendall(f"{text}\n".encode())
        answer: dict[str, Any] = json.loads(control.makefile().readline())
    return answer


def test_the_five_minutes(shell: Callable[..., Any]) -> None:
    lines = commands("Five minutes")
    start(shell, the(lines, NAME))
    vendor = re.search(r"`(virtio-scsi vendor=.*)`", section("Five minutes"))
    assert vendor and vendor[1] in bios(shell, the(lines, "qemu-system"))
    assert len(shell(the(lines, 'grep \'"ev":"request"\'')).stdout.splitlines()) == 10
    assert shell(the(lines, 'grep \'"ev":"violation"\'')).stdout == ""


def test_the_other_door(shell: Callable[..., Any]) -> None:
    start(shell, the(commands("Five minutes"), NAME))
    assert "virtio-scsi vendor" in bios(shell, the(commands("The doors"), "qemu-system"))


def test_the_first_scenario_and_the_control_socket(shell: Callable[..., Any], tmp_path: Path) -> None:
    text = section("A first scenario")
    scenario = re.search(r"^    version = 1\n.*?^    action .*?$", text, re.M | re.S)
    assert scenario
    (tmp_path / "first.toml").write_text(re.sub(r"^    ", "", scenario[0], flags=re.M))
    lines = commands("A first scenario")
    assert shell(the(lines, f"{NAME} --check")).stdout == "the scenario is good\n"
    device = start(shell, the(lines, f"{NAME} --socket"))
    bios(shell, the(commands("Five minutes"), "qemu-system"))

    grep = shell(the(lines, "grep")).stdout.splitlines()
    assert [json.loads(line)["ev"] for line in grep] == ["answer"]

    session = commands("The control socket")
    assert json.loads(shell(the(session, "echo")).stdout) == json.loads(the(session, '{"ok"'))
    for line in session:
        if line.startswith('{"cmd"'):
            assert order(tmp_path, line)["ok"], line
    assert device.wait(10) == 0

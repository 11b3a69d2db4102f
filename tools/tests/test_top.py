# SPDX-License-Identifier: GPL-2.0
"""vscsi-top, the viewer of the driver: in a guest with a command that is stuck, and in a terminal."""

import json
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from guest import Controller, Disk, sysfs, top
from guest.device import TestDevice
from support.boots import Boots
from support.known_lines import MISBEHAVING
from support.terminal import Terminal

pytestmark = [
    pytest.mark.main,
    pytest.mark.ours("it shows files of our driver"),
]

TIMEOUT, STEP = 2, 2
# A terminal in the guest, in which somebody looks for a while and presses q.
LIVE = (
    "(sleep 3; printf q) | script --quiet --return --log-out /tmp/screen "
    "--command 'stty rows 30 cols 150; vscsi-top --interval 0.2'"
)


def test_a_command_that_the_device_keeps_is_shown_as_stuck(
    serve: Callable[..., TestDevice], boot: Boots
) -> None:
    device = serve({"unit": [{"lun": lun, "size": "1M"} for lun in range(2)]})
    guest = boot(
        **device.door("test"),
        parameters=f"recovery_step={STEP}",
        allow=MISBEHAVING,
        smp=2,
        files=top.files(),
    )
    sysfs.wait_for_units(guest, 2)
    guest.settle()

    def look() -> dict[str, Any]:
        (shown,) = json.loads(guest.out("vscsi-top --once --json"))["devices"]
        return shown

    shown = look()
    assert (shown["name"], shown["host"]) == (sysfs.virtio_name(guest), guest.host())
    assert shown["state"]["state"] == "live"
    assert shown["in_flight"] == []
    assert shown["counters"] == sysfs.counters(guest)

    node = sysfs.unit_node(guest, 0, 1)
    device.rule("held", {"lun": 1, "opcode": "READ_10"}, hold="held")
    guest.run(f"echo {TIMEOUT} >$(echo /sys/bus/scsi/devices/*:0:0:1/timeout)", check=True)
    job = guest.spawn(f"dd if={node} of=/dev/null bs=4k count=1 skip=5 iflag=direct")
    device.wait_for(lambda: device.held("held"), why="a read")
    (command,) = look()["in_flight"]
    assert f"/dev/{command['disk']}" == node
    assert command["cdb_name"] == "READ(10)"

    device.wait_for(
        lambda: [each["stage"] for each in look()["in_flight"]] == ["held"],
        2 * (TIMEOUT + STEP),
        "the device was not asked",
    )
    shown = look()
    (command,) = shown["in_flight"]
    assert f"/dev/{command['disk']}" == node
    assert (command["stuck"], command["why"]) == (True, "the device has it: waiting")
    assert command["age_ms"] > TIMEOUT * 1000
    steps = [step for step in shown["recovery"] if step.get("disk") == command["disk"]]
    assert [(step["step"], step["outcome"]) for step in steps][:2] == [
        ("time_out", "notified_again"),
        ("query_task", "held"),
    ]

    metrics = guest.out("vscsi-top --prometheus").splitlines()
    assert f'virtio_scsi_rs_stuck{{device="{shown["name"]}"}} 1' in metrics
    guest.run(LIVE, check=True)
    screen = guest.out("cat /tmp/screen")
    for words in ("\x1b[?1049h", "the device has it: waiting", "READ(10) LBA 40 +8", "\x1b[?1049l"):
        assert words in screen

    device("remove_rule", name="held")
    device("release", name="held")
    job.wait(20, check=True)
    assert look()["in_flight"] == []


def test_latencies_are_shown_once_they_are_recorded(boot: Boots) -> None:
    disk = Disk(0, 0)
    guest = boot([Controller([disk])], smp=2, files=top.files())
    attribute = f"/sys/class/scsi_host/host{guest.host()}/latency"
    hint = f"Latency: not recorded; echo 1 >{attribute}"
    assert hint in guest.out("vscsi-top --once").splitlines()
    assert "virtio_scsi_rs_latency_seconds" not in guest.out("vscsi-top --prometheus")

    guest.run(f"echo 1 >{attribute}", check=True)
    read = f"dd if={guest.node(disk)} of=/dev/null bs=4k count=100 iflag=direct"
    guest.run(read, check=True)
    reads = [line for line in sysfs.report(guest, "latency") if line["direction"] == "read"]
    (shown,) = json.loads(guest.out("vscsi-top --json"))["devices"]
    assert [line for line in shown["latency"] if line["direction"] == "read"] == [
        {"direction": "read", "below_us": int(line["below_us"]), "count": int(line["count"])}
        for line in reads
    ]
    count = sum(int(line["count"]) for line in reads)
    assert count >= 100
    report = guest.out("vscsi-top --once")
    assert hint not in report
    assert re.search(rf"^  read +in all +{count} +< \d+ [mu]?s ", report, re.M), report
    labels = f'device="{shown["name"]}",direction="read"'
    metrics = guest.out("vscsi-top --prometheus").splitlines()
    assert f'virtio_scsi_rs_latency_seconds_bucket{{{labels},le="+Inf"}} {count}' in metrics

    job = guest.spawn(f"sleep 1; {read}")
    guest.run(LIVE, check=True)
    job.wait(20, check=True)
    assert "since last look" in guest.out("cat /tmp/screen")


HELD = (
    "target 0 lun 1 queue 0 tag 4 age_ms 61500 timeout_ms 30000 retries 0 place device stage held "
    "cdb 28000000002800000800\n"
)


class Tree:
    """What the viewer reads of a device, made up."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.add("virtio1", state="state live\nresets 0\n", in_flight=HELD)
        (root / "sys/bus/virtio/devices/virtio1/host2/target2:0:0/2:0:0:1/block/sdb").mkdir(parents=True)

    def folder(self, device: str) -> Path:
        return self.root / "sys/kernel/debug/virtio_scsi_rs" / device

    def add(self, device: str, **files: str) -> None:
        self.folder(device).mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (self.folder(device) / name).write_text(text)


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


@pytest.fixture
def terminal(tree: Tree) -> Iterator[Terminal]:
    with Terminal([top.build(), "--root", tree.root, "--interval", "0.1"], tree.root) as terminal:
        terminal.wait_for(lambda: terminal.rows[1].startswith("virtio1   host 2   state live"))
        yield terminal


def test_the_screen_follows_the_driver(tree: Tree, terminal: Terminal) -> None:
    (row,) = [row for row in terminal.rows if row.startswith("!  sdb")]
    assert "the device has it: waiting" in row
    assert terminal.is_taken()

    tree.add("virtio1", in_flight="", queues="queue 0 kind interrupt completed 7 ring works\n")
    terminal.wait_for(lambda: "Commands in flight: none" in terminal.rows)
    tree.add("virtio2", state="state waiting\n")
    terminal.wait_for(lambda: terminal.rows[0] == " virtio1  virtio2")
    terminal.type("Tab")
    terminal.wait_for(lambda: terminal.rows[1].startswith("virtio2   state waiting"))
    shutil.rmtree(tree.folder("virtio2"))
    terminal.wait_for(lambda: terminal.rows[0] == " virtio1")
    shutil.rmtree(tree.folder("virtio1").parent)
    terminal.wait_for(lambda: terminal.rows[1].startswith("debugfs is not mounted"))
    tree.add("virtio1", state="state gone\n")
    terminal.wait_for(lambda: "state gone" in terminal.rows[1])

    terminal.type("p")
    terminal.wait_for(lambda: terminal.rows[-1].startswith("PAUSED"))
    tree.add("virtio1", state="state live\n")
    with pytest.raises(AssertionError):
        terminal.wait_for(lambda: "state live" in terminal.rows[1], 1)
    terminal.type("p")
    terminal.wait_for(lambda: "state live" in terminal.rows[1])


@pytest.mark.parametrize(("rows", "columns"), [(12, 60), (50, 200), (1, 1)])
def test_it_draws_anew_when_the_terminal_gets_another_size(
    terminal: Terminal, rows: int, columns: int
) -> None:

    def shows(first: str, last: str) -> bool:
        shown = terminal.rows
        return first in shown[0] and shown[-1].startswith(last)

    terminal.resize(rows, columns)
    # With one row there is room for the keys only.
    terminal.wait_for(lambda: shows("" if rows == 1 else "virtio1", "q quit"[:columns]))
    assert len(terminal.rows) == rows
    terminal.resize(30, 120)
    terminal.wait_for(lambda: shows("virtio1", "q quit") and len(terminal.rows) == 30)
    assert any("the device has it: waiting" in row for row in terminal.rows)


@pytest.mark.parametrize("key", ["q", "Escape", "C-c"])
def test_a_key_that_ends_it_leaves_the_terminal_as_it_was(terminal: Terminal, key: str) -> None:
    assert terminal.is_taken()
    terminal.type(key)
    assert terminal.ended() == 0
    assert terminal.is_restored()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_that_ends_it_leaves_the_terminal_as_it_was(
    terminal: Terminal, number: signal.Signals
) -> None:
    terminal.send_signal(number)
    assert terminal.ended() == 0
    assert terminal.is_restored()


def test_it_ends_when_its_terminal_is_gone(terminal: Terminal) -> None:
    process = Path(f"/proc/{terminal.vanish()}")
    end = time.monotonic() + 20
    while process.exists():
        assert time.monotonic() < end, "it goes on without a terminal"
        time.sleep(0.05)


def test_without_a_driver_the_terminal_is_left_alone(tmp_path: Path) -> None:
    with Terminal([top.build(), "--root", tmp_path], tmp_path) as terminal:
        assert terminal.ended() == 1
        assert terminal.rows[0].startswith("error: there is no ")
        assert terminal.is_restored()

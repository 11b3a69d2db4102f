# SPDX-License-Identifier: GPL-2.0
"""Removal and recovery with a device that keeps commands for ever: nothing waits for it without bound."""

import time
from collections.abc import Callable

import pytest

from guest import QemuGuest, fio, sysfs
from guest.device import TestDevice
from support.boots import Boots
from support.known_lines import MISBEHAVING
from support.misbehaviour import RUNGS
from support.workloads import RANDOM_READS, nobody_is_stuck

pytestmark = [pytest.mark.device, pytest.mark.compare]


def start(serve: Callable[..., TestDevice], boot: Boots, units: int = 3) -> tuple[TestDevice, QemuGuest]:
    device = serve({"unit": [{"lun": lun, "size": "32M"} for lun in range(units)]})
    guest = boot(
        **device.door("scsi"), parameters="recovery_step=2", allow=MISBEHAVING, append="hung_task_panic=0"
    )
    sysfs.wait_for_units(guest, units)
    return device, guest


def node(guest: QemuGuest, lun: int) -> str:
    return sysfs.unit_node(guest, 0, lun)


def hold(device: TestDevice, guest: QemuGuest, lun: int, functions: bool) -> None:
    """Has the device keep all commands of a unit, a hundred of them, and answer no function."""
    device.rule("held", {"lun": lun}, drop=True)
    if not functions:
        device.rule("functions", {"on": "tmf"}, drop=True)
    guest.spawn(fio.command(node(guest, lun), iodepth=100, **RANDOM_READS))
    device.wait_for(lambda: len(device("waiting")["waiting"]) >= 90, why="a hundred commands in flight")


@pytest.mark.parametrize("functions", [True, False], ids=["functions work", "nothing works"])
def test_a_unit_is_removed_under_held_io(
    serve: Callable[..., TestDevice], boot: Boots, functions: bool
) -> None:
    """Events about other units are handled meanwhile or soon after, and the unit goes."""
    device, guest = start(serve, boot)
    good = guest.spawn(fio.command(node(guest, 0), iodepth=4, **{**RANDOM_READS, "runtime": 25}))
    hold(device, guest, 1, functions)
    began = time.monotonic()
    device("remove_unit", lun=1)
    device("add_unit", unit={"lun": 7, "size": "8M"})
    device("remove_unit", lun=2)
    guest.wait_until("ls -d /sys/bus/scsi/devices/*:0:0:7", 30)
    guest.wait_until("! ls -d /sys/bus/scsi/devices/*:0:0:2", 30)
    guest.wait_until("! ls -d /sys/bus/scsi/devices/*:0:0:1", 30)
    assert time.monotonic() - began < 20
    device("clear_rules")
    assert fio.Job.of(good.wait(60, check=True)).error == 0
    nobody_is_stuck(guest)


@pytest.mark.parametrize("functions", [True, False], ids=["functions work", "nothing works"])
def test_unbinding_the_controller_ends_held_io(
    serve: Callable[..., TestDevice], boot: Boots, functions: bool
) -> None:
    device, guest = start(serve, boot)
    hold(device, guest, 1, functions)
    name = guest.out("basename $(readlink -f /sys/class/scsi_host/host*/device/..)")
    began = time.monotonic()
    guest.run(f"echo {name} >{guest.driver.sysfs}/unbind", timeout=60, check=True)
    assert time.monotonic() - began < 30
    nobody_is_stuck(guest)
    device("clear_rules")
    guest.run(f"echo {name} >{guest.driver.sysfs}/bind", timeout=60, check=True)
    sysfs.wait_for_units(guest, 3)
    guest.run(f"dd if={node(guest, 1)} of=/dev/null bs=64k count=4 iflag=direct", check=True)


def test_one_unit_in_recovery_does_not_stop_the_others(serve: Callable[..., TestDevice], boot: Boots) -> None:
    """While a unit goes up the ladder, another's I/O goes on: no read of it takes seconds."""
    device, guest = start(serve, boot)
    guest.run("for f in /sys/block/sd*/device; do echo 2 >$f/timeout; done", check=True)
    device.rule("held", {"lun": 1}, drop=True)
    device.rule("functions", {"on": "tmf", "subtype": "abort_task"}, drop=True)
    bad = guest.spawn(f"dd if={node(guest, 1)} of=/dev/null bs=4k count=1 iflag=direct")
    good = guest.run(
        fio.command(node(guest, 0), iodepth=1, **{**RANDOM_READS, "runtime": 8}), timeout=60, check=True
    )
    worst = fio.Job.of(good).slowest_read
    device("clear_rules")
    bad.wait(120)
    assert device.lines("tmf", name="abort_task")
    # TCG on a busy machine takes its time; the ladder takes many seconds.
    assert worst < 1.5, worst


# More of them run in User-Mode Linux, where they take seconds: test_uml_schedules.py.
@pytest.mark.parametrize("seed", range(1))
def test_no_write_is_lost_whatever_fails(serve: Callable[..., TestDevice], boot: Boots, seed: int) -> None:
    """Commands and functions fail at random while data is written, which is verified in the end.

    A unit is taken offline when the device is reset twice running for one command. So only what was dropped
    needs that: it is dropped so seldom that its retry is not, and the last function before a reset works."""
    device, guest = start(serve, boot, 1)
    guest.run(
        "for f in /sys/block/sd*/device; do echo 2 >$f/timeout; echo 2 >$f/eh_timeout; "
        # Else the midlayer gives a command six time-outs, all in all, and some recoveries take longer.
        "echo -1 >$f/scsi_disk/*/max_retries; done",
        check=True,
    )
    some = {"on": "tmf", "subtype": RUNGS[:2]}
    chances: list[tuple[str, dict[str, object], float, dict[str, object]]] = [
        ("dropped", {"every": 500}, 1, {"drop": True}),
        ("held", {}, 0.004, {"hold": "x"}),
        ("late", {}, 0.02, {"delay_ms": 300}),
        ("too late", {}, 0.003, {"delay_ms": 2500}),
        ("silent", {}, 0.003, {"interrupt": False}),
        ("unwritten", {}, 0.003, {"write": "nothing"}),
        ("busy", {}, 0.02, {"response": "busy"}),
        ("refused", some, 0.3, {"response": "function_rejected"}),
        ("unanswered", some, 0.2, {"drop": True}),
        # A command that is held is one whose answer was lost: else the driver waits for it.
        ("denied", {"on": "tmf", "subtype": "query_task"}, 1, {"response": "ok"}),
    ]
    for i, (name, match, chance, action) in enumerate(chances):
        device.rule(name, {**match, "probability": chance, "seed": seed * 100 + i}, **action)
    write = {"rw": "randwrite", "bs": "4k", "iodepth": 8, "ioengine": "libaio", "direct": 1, "size": "4m"}
    job = guest.spawn(fio.command(node(guest, 0), verify="crc32c", do_verify=1, verify_fatal=1, **write))
    result = fio.Job.of(job.wait(240, check=True))
    device("clear_rules")
    assert result.error == 0
    assert result.writes == 1024
    nobody_is_stuck(guest)

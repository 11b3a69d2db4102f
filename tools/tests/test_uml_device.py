# SPDX-License-Identifier: GPL-2.0
"""Our module in kernels with sanitizers, with a device that misbehaves: no report, and it recovers."""

import errno
import itertools
import random
import time
from collections.abc import Callable
from typing import Any

import pytest

from guest.device import TestDevice
from guest.uml import VARIANTS, UmlGuest
from test_uml import DRIVER, SCENARIO, nodes, write_and_verify

Uml = Callable[..., UmlGuest]
Serve = Callable[..., TestDevice]

IO = {"opcode": ["READ_10", "WRITE_10"]}
# What a rule can do to reads and writes, other than leave them alone.
ACTIONS: dict[str, dict[str, Any]] = {
    "drop": {"drop": True},
    "hold": {"hold": "later"},
    "delay": {"delay_ms": 300},
    "reorder": {"reorder": 3},
    "twice": {"repeat": 2},
    "stale id": {"id": "stale"},
    "id out of range": {"id": "out_of_range"},
    "id not head": {"id": "not_head"},
    "nothing written": {"write": "nothing"},
    "only data written": {"write": "data"},
    "used 0": {"used_len": 0},
    "used max": {"used_len": "max"},
    "residual beyond": {"residual": "max"},
    "sense 0": {"status": "check_condition", "sense": "", "sense_len": 0},
    "sense 252": {"status": "check_condition", "sense": "70 00 03" + " 00" * 15, "sense_len": 252},
    "sense max": {"status": "check_condition", "sense": "72 03 11 00", "sense_len": 0xFFFFFFFF},
    "busy": {"status": "busy"},
    "task set full": {"status": "task_set_full"},
    "unknown status": {"status": 0x7E},
    "bad target": {"response": "bad_target"},
    "transport failure": {"response": "transport_failure"},
    "unknown response": {"response": 255},
    "used ahead": {"used_jump": 3},
    "late byte": {"scribble": {"part": "response", "bytes": "ff" * 108, "after_ms": 5}},
    "flip": {"flip": {"part": "response", "offset": 0, "for_ms": 50}},
    "no interrupt": {"interrupt": False},
}


def start(serve: Serve, uml: Uml, variant: str, **options: Any) -> tuple[TestDevice, UmlGuest]:
    """A guest that gives up on commands and on functions of recovery soon."""
    device = serve(SCENARIO)
    guest = uml(variant, [device], parameters="recovery_step=1", **options)
    guest.run("for t in /sys/bus/scsi/devices/*:*/timeout; do echo 2 >$t; done", check=True)
    guest.run("for t in /sys/bus/scsi/devices/*:*/eh_timeout; do echo 1 >$t; done", check=True)
    return device, guest


def recover(device: TestDevice, guest: UmlGuest) -> None:
    """The device behaves again: so does everything else, after a new start of it if need be."""
    device("clear_rules")
    device("release")
    name = guest.out(f"basename {DRIVER}/virtio*")
    guest.run(f"echo {name} >{DRIVER}/unbind && echo {name} >{DRIVER}/bind", check=True, timeout=120)
    guest.settle(60)
    write_and_verify(guest, nodes(guest)["0:0"])


def busy(guest: UmlGuest, seconds: int) -> list[Any]:
    """Reads and writes on two units, whatever comes of them."""
    disks = [nodes(guest)[unit] for unit in ("0:0", "3:16684")]
    return [
        guest.spawn(
            f"end=$((SECONDS + {seconds})); while test $SECONDS -lt $end; do "
            f"dd if={source} of={target} bs=32k count=40 {flag}=direct 2>/dev/null || sleep 0.05; done"
        )
        for disk in disks
        for source, target, flag in (("/dev/zero", disk, "oflag"), (disk, "/dev/null", "iflag"))
    ]


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_action(serve: Serve, uml: Uml, variant: str, action: str) -> None:
    device, guest = start(serve, uml, variant)
    with guest.misbehaving():
        jobs = busy(guest, 3)
        time.sleep(0.3)
        mark = device.mark()
        device.rule("it", {**IO, "every": 7, "times": 3}, **ACTIONS[action])
        device.wait_for(lambda: device.since(mark, rule="it"))
        for job in jobs:
            job.wait(90)
        recover(device, guest)
    guest.unload()


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("variant", VARIANTS)
def test_all_actions_at_once(serve: Serve, uml: Uml, variant: str, seed: int) -> None:
    device, guest = start(serve, uml, variant)
    chance = random.Random(seed)
    with guest.misbehaving():
        jobs = busy(guest, 12)
        end = time.monotonic() + 12
        for count in itertools.count():
            if time.monotonic() > end:
                break
            name = chance.choice(list(ACTIONS))
            device.rule(
                f"{name} {count}", {**IO, "probability": 0.02, "seed": count, "times": 2}, **ACTIONS[name]
            )
            time.sleep(chance.uniform(0.05, 0.3))
        device("clear_rules")
        device("release")
        for job in jobs:
            job.wait(120)
        recover(device, guest)
    guest.unload()


@pytest.mark.parametrize("functions", ["dropped", "refused", "held", "late"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_recovery(serve: Serve, uml: Uml, variant: str, functions: str) -> None:
    """Commands get no answer, and neither do the functions that should abort them, or not in time."""
    device, guest = start(serve, uml, variant)
    how: dict[str, dict[str, Any]] = {
        "dropped": {"drop": True},
        "refused": {"response": "function_rejected"},
        "held": {"hold": "functions"},
        "late": {"delay_ms": 1500},
    }
    with guest.misbehaving():
        device.rule("functions", {"on": "tmf"}, **how[functions])
        device.rule("commands", {**IO, "every": 5, "times": 3}, drop=True)
        jobs = busy(guest, 6)
        for job in jobs:
            job.wait(120)
        recover(device, guest)
    guest.unload()


@pytest.mark.parametrize("variant", VARIANTS)
def test_events(serve: Serve, uml: Uml, variant: str) -> None:
    """Events of all kinds, right and wrong, one by one and as floods, while commands run."""
    device, guest = start(serve, uml, variant)
    with guest.misbehaving():
        jobs = busy(guest, 6)
        for event in (0, 1, 2, 3, 4, 0x7FFFFFFF):
            for reason in (0, 1, 2, 16, 0xFFFF, 0xFFFFFFFF):
                for missed in (False, True):
                    device("event", event=event, reason=reason, target=9, missed=missed)
        for lun_bytes in ("ff" * 8, "00" * 8, "0100000000000000", "01ffffff00000000", "c101000000000000"):
            for event in (1, 2, 3):
                device("event", event=event, reason=2, lun_bytes=lun_bytes)
        for used_len in (0, 1, 15, 17, 0xFFFFFFFF):
            device("event", event=1, reason=1, target=9, used_len=used_len, wait=True)
        for event, reason in (("transport_reset", "rescan"), ("param_change", 0x2A09), ("async_notify", 16)):
            device("event", event=event, reason=reason, target=0, lun=1, times=3000)
        for count in range(20):
            device("add_unit", unit={"target": 20 + count, "size": "1M"})
            device("remove_unit", target=20 + count)
        device("notify_config", times=50)
        for job in jobs:
            job.wait(90)
        recover(device, guest)
    guest.unload()


@pytest.mark.parametrize("variant", VARIANTS)
def test_unbind_and_unload_under_io(serve: Serve, uml: Uml, variant: str) -> None:
    """The driver goes while commands run, are held, and while events come."""
    device, guest = start(serve, uml, variant)
    with guest.misbehaving():
        for round_ in range(5):
            jobs = busy(guest, 3)
            device.rule("held", {**IO, "every": 3}, hold="held")
            device("event", event="transport_reset", reason="rescan", target=7, times=500)
            name = guest.out(f"basename {DRIVER}/virtio*")
            time.sleep(0.2 * round_)
            guest.run(f"echo {name} >{DRIVER}/unbind", check=True, timeout=120)
            for job in jobs:
                job.wait(60)
            device("clear_rules")
            guest.run(f"echo {name} >{DRIVER}/bind", check=True, timeout=60)
            guest.settle(60)
        recover(device, guest)
    guest.unload()


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_allocation_fails_once(serve: Serve, uml: Uml, variant: str) -> None:
    """Probing the device, with each allocation failing in turn."""
    codes: list[int] = []
    for boot in range(20):
        guest = uml(variant, [serve(SCENARIO, name=f"device-{boot}")], name=f"{variant}-{boot}")
        name = guest.out(f"basename {DRIVER}/virtio*")
        guest.run(f"echo {name} >{DRIVER}/unbind", check=True)
        bind, unbind = f"write {name} {DRIVER}/bind", f"echo {name} >{DRIVER}/unbind"
        with guest.misbehaving("WARNING: arch/um/kernel/irq.c", "Call Trace"):
            codes += guest.fail_allocations(bind, unbind, len(codes) + 1)
        if codes[-1] != errno.EALREADY:
            break
    assert codes[-1] == 0
    # What the kernel itself can do without does not fail at all.
    assert set(codes) <= {0, errno.ENOMEM, errno.EALREADY}
    assert codes.count(errno.ENOMEM) > 50
    guest.run(f"echo {name} >{DRIVER}/bind", check=True)
    guest.settle()
    write_and_verify(guest, nodes(guest)["0:0"])
    guest.unload()

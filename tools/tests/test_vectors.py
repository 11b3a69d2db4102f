# SPDX-License-Identifier: GPL-2.0
"""Interrupt vectors run out: a CPU has about 200, and other devices have taken most of them. A controller
that gets fewer than it asked for, none of its own, or none at all for a while, works, and is never given up
for it.

The vectors are taken by virtio-serial devices, whose driver is part of the kernel. The controllers are
functions behind two ports of PCI Express, so each can be reset, and all behind a port have the same interrupt
line."""

import os
import re
import time
from collections import Counter
from typing import Any

import pytest

from guest import Controller, Disk, QemuGuest
from guest.faults import PARAMETERS, TransportFaults
from support.boots import OURS, Boots
from support.known_lines import IO_ERROR, OFFLINE
from support.machines import S3, root_port

pytestmark = [pytest.mark.main, pytest.mark.compare]


ENOSPC = 28
ALLOW = [
    # What commands end with when their controller is unbound.
    OFFLINE,
    IO_ERROR,
    # A reset has the driver look for disks while the midlayer does it for the first time.
    r"scsi \d+:\d+:\d+:\d+: rejecting I/O to offline device",
    r"virtio-pci \S+: (Reset done failure|.*reset)",
    r"virtio-pci \S+: PM: .*error -11",
]
# What the log says of a controller whose queues have no interrupts of their own.
SAID = {"one": "share one interrupt vector", "line": "share the interrupt line"}
OWN = "has an interrupt of its own again"
READ = "dd if=/dev/{} of=/dev/null bs=64k count=4 iflag=direct"


def hogs(*vectors: int) -> list[dict[str, Any]]:
    """Devices that take so many vectors each when the guest boots: one for the configuration, and two for
    each of their ports, of which the first counts twice."""
    assert all(5 <= each <= 65 and each % 2 for each in vectors)
    return [
        {"driver": "virtio-serial-pci", "id": f"hog{n}", "max_ports": each // 2 - 1, "vectors": each}
        for n, each in enumerate(vectors)
    ]


def functions(port: int, count: int, queues: int) -> list[Controller]:
    """Controllers that are behind a port together, each with a disk."""
    return [
        Controller(
            [Disk(0, 0, 16 << 20)],
            {"bus": f"port{port}", "addr": f"0.{n}", "multifunction": True, "num_queues": queues},
            id=f"p{port}f{n}",
        )
        for n in range(count)
    ]


def kinds(guest: QemuGuest) -> dict[str, str]:
    """With what interrupts each controller runs: one for each queue, one for all, or the line."""
    text = guest.out("cat /proc/interrupts")
    found = {}
    for name in guest.out(f"ls {guest.driver.sysfs}").split():
        if not re.fullmatch(r"virtio\d+", name):
            continue
        if re.search(rf"PCI-MSIX.* {name}-request$", text, re.M):
            found[name] = "own"
        elif re.search(rf"PCI-MSIX.* {name}-virtqueues$", text, re.M):
            found[name] = "one"
        elif re.search(rf"IO-APIC.*\b{name}(,|$)", text, re.M):
            found[name] = "line"
        else:
            found[name] = "none"
    return found


def read_all(guest: QemuGuest, count: int) -> None:
    """Each controller's disk is there and can be read, by interrupts: without them that takes longer."""
    guest.wait_until(f"test $(ls -d /sys/block/sd* | wc -l) -eq {count}")
    guest.run(
        f"for d in /sys/block/sd*; do timeout -s KILL 20 {READ.format('${d##*/}')} || exit; done",
        timeout=60,
        check=True,
    )


def said(guest: QemuGuest, name: str) -> list[str]:
    """What the log says of a controller's interrupts, in its order."""
    words = {text: kind for kind, text in SAID.items()} | {OWN: "own"}
    lines = [line for line in guest.dmesg().splitlines() if f"{name}: " in line]
    return [kind for line in lines for text, kind in words.items() if text in line]


def told(guest: QemuGuest, now: dict[str, str]) -> None:
    """The last word in the log on each controller's interrupts is what it has."""
    if not OURS:
        return
    for name, kind in now.items():
        assert (said(guest, name) or ["own"])[-1] == kind, (name, kind, said(guest, name))


def slept(guest: QemuGuest, count: int) -> None:
    """Suspends the guest to memory, wakes it and reads all disks. The agent does not survive that, so what is
    found comes over the console."""
    guest.agent_may_be_lost()
    before = len(guest.console_log)
    guest.spawn(
        f"echo mem >/sys/power/state; {{ n=0; for d in /sys/block/sd*; do timeout -s KILL 20 "
        f"{READ.format('${d##*/}')} && n=$((n + 1)); done; echo; echo read-$n; "
        f"grep virtio /proc/interrupts; dmesg -r | tail -n 40; echo all-said; }} >/dev/ttyS0 2>&1"
    )
    deadline = time.monotonic() + 180
    while "all-said" not in guest.console_log[before:]:
        assert time.monotonic() < deadline, guest.console_log[-3000:]
        if guest.qmp("query-status")["status"] == "suspended":
            guest.qmp("system_wakeup")
        time.sleep(0.2)
    text = guest.console_log[before:]
    assert f"read-{count}" in text.split(), text[-6000:]
    assert "given up" not in text


def others_take_the_vectors(guest: QemuGuest, first: str, other: str) -> None:
    """While one that has vectors is being reset, another one, which has none, is reset and gets them."""
    host = "ls /sys/bus/virtio/devices/{}/host*/target*/*/scsi_generic"
    node, others = (guest.out(host.format(name)) for name in (first, other))
    # It stays, as it takes ten seconds to take it away.
    faults = TransportFaults(guest, first, slow_reset_ms=2500).__enter__()
    job = guest.spawn(f"sg_reset -H /dev/{node}")
    guest.wait_until(f"! grep -q '{first}-config' /proc/interrupts")
    guest.run(f"sg_reset -H /dev/{others}", check=True)
    assert kinds(guest)[other] == "own"
    assert not job.done(), "the reset was over before"
    assert job.wait(60).rc == 0
    faults.clear()
    now = kinds(guest)
    assert now[other] == "own" and now[first] == "line"
    told(guest, now)
    # When they are free again, the next reset gives them back.
    guest.run(f"echo {other} >{guest.driver.sysfs}/unbind", check=True)
    guest.run(f"sg_reset -H /dev/{node}", check=True)
    assert kinds(guest)[first] == "own"
    guest.run(f"echo {other} >{guest.driver.sysfs}/bind", check=True)


@pytest.mark.parametrize(("cpus", "queues"), [(1, 1), *([(2, 2)] if os.environ.get("LONG") else [])])
def test_all_work_when_vectors_run_out(boot: Boots, cpus: int, queues: int) -> None:
    """After resets of every kind, too, in which vectors are given back and all want them again."""
    count = 8
    guest = boot(
        [*functions(0, 1, queues), *functions(1, count - 1, queues)],
        devices=[root_port(0), root_port(1), *hogs(*([65, 65, 45] if cpus == 1 else [65] * 5 + [47]))],
        smp=cpus,
        module=None,
        allow=ALLOW,
        **S3,
    )

    def check(what: str) -> dict[str, str]:
        read_all(guest, count)
        now = kinds(guest)
        print(what, Counter(now.values()))
        assert len(now) == count and "none" not in now.values()
        assert "own" in now.values(), "there were no vectors"
        assert "line" in now.values(), "there were enough vectors"
        told(guest, now)
        return now

    guest.run(f"insmod {guest.driver.path}", check=True)
    names = sorted(check("loaded"), key=lambda name: int(name.removeprefix("virtio")))

    if OURS:  # the other driver neither resets a device nor takes part when its function is reset
        for address in ("01:00.0", "02:00.0", f"02:00.{count - 2}"):
            guest.run(f"echo 1 >$(ls -d /sys/bus/pci/devices/*:{address})/reset", check=True)
        check("functions reset")

        guest.run("for s in /dev/sg*; do sg_reset -H $s || exit; done", check=True)
        now = check("devices reset")
        others_take_the_vectors(guest, names[0], next(name for name in names if now[name] == "line"))
        check("vectors taken")

    # Whoever looks at new disks has them in use.
    guest.wait_until(f"rmmod {guest.driver.name}")
    guest.run(f"insmod {guest.driver.path}", check=True)
    check("loaded again")
    assert "given up" not in guest.dmesg()
    guest.assert_clean_log()

    slept(guest, count)


@pytest.fixture(scope="module")
def alone(boot_shared: Boots) -> QemuGuest:
    return boot_shared(functions(0, 1, 1), devices=[root_port()], allow=ALLOW, parameters="recovery_step=2")


@pytest.fixture(scope="module")
def faults(alone: QemuGuest) -> TransportFaults:
    """It stays for all tests, as it takes ten seconds to take it away."""
    if not OURS:
        pytest.skip("the other driver neither resets a device nor takes part when its function is reset")
    (name,) = kinds(alone)
    return TransportFaults(alone, name, find_vqs_errno=ENOSPC).__enter__()


RESETS = {
    "driver": "sg_reset -H /dev/sg0",
    "function": "echo 1 >$(ls -d /sys/bus/pci/devices/*:01:00.0)/reset",
}


@pytest.mark.parametrize("by", RESETS)
def test_commands_wait_while_there_are_no_interrupts(
    alone: QemuGuest, faults: TransportFaults, by: str
) -> None:
    """Without vectors and without the line the controller waits, its commands with it, and loses none."""
    faults.set("fail_find_vqs", 3)
    seen = len(alone.dmesg())
    reset = alone.spawn(RESETS[by])
    alone.wait_until(f"test $(cat {PARAMETERS}/fail_find_vqs) -lt 3")
    job = alone.run(READ.format("sda"), check=True)
    assert faults.get("fail_find_vqs") == 0 and job.seconds > 0.5
    assert reset.wait(10).rc == 0
    log = alone.dmesg()[seen:]
    assert "given up" not in log
    assert log.count("the device waits for interrupts, as none are free") == 1
    assert log.count("the device has interrupts again") == 1
    read_all(alone, 1)


@pytest.mark.parametrize("by", RESETS)
def test_a_controller_that_waits_is_unbound_at_once(
    alone: QemuGuest, faults: TransportFaults, by: str
) -> None:
    """Its commands end at once, and so does the unbinding, once the midlayer has done looking for disks."""
    faults.set("fail_find_vqs", -1)
    seen = alone.out("dmesg | wc -l")
    # It has opened the disk already: an opening waits for a reset by the user, and may find the disk gone
    # after it, which reads as empty.
    read = READ.format("sda").replace("if=/dev/sda", "<&3")
    job = alone.spawn(
        f"exec 3</dev/sda; touch /tmp/opened; while test -e /tmp/opened; do sleep 0.1; done; {read}"
    )
    alone.wait_until("test -e /tmp/opened")
    reset = alone.spawn(RESETS[by])
    alone.wait_until(f"dmesg | tail -n +{int(seen) + 1} | grep -q 'the device waits for interrupts'")
    alone.run("rm /tmp/opened", check=True)
    time.sleep(1)
    assert not job.done(), "the command did not wait"
    unbinding = alone.spawn(f"echo {faults.device} >{alone.driver.sysfs}/unbind")
    assert job.wait(10).rc != 0
    assert reset.wait(10).rc == (0 if by == "function" else 1)
    unbinding.wait(60, check=True)
    faults.clear()
    alone.run(f"echo {faults.device} >{alone.driver.sysfs}/bind", check=True)
    read_all(alone, 1)

# SPDX-License-Identifier: GPL-2.0
"""A unit that gets another size: the block layer hears of it, also if the unit is in runtime suspend, and
user space is told once for each change."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from guest import MEGABYTE, QemuGuest, sysfs
from guest.device import TestDevice
from support.boots import Boots
from support.events import all_handled, quiet

pytestmark = [pytest.mark.device, pytest.mark.compare]


BLOCK = 512
# In this time whatever is still to come after a change has come.
AFTER = 1.5

TOLD = "SDEV_UA=CAPACITY_DATA_HAS_CHANGED"
RESIZED = "RESIZE=1"


@dataclass
class Uevents:
    """What the kernel has told user space of SCSI devices and disks: the lines of each uevent."""

    all: list[list[str]] = field(default_factory=list)

    def count(self, what: str, name: str) -> int:
        """How many there were with a line, about a device whose path ends, or goes on, with a name."""
        about = [lines for lines in self.all if any(f"/{name}" in line for line in lines)]
        return sum(what in lines for lines in about)


@dataclass
class Shared:
    device: TestDevice
    guest: QemuGuest
    size: int = 16

    @contextmanager
    def uevents(self) -> Iterator[Uevents]:
        """Collects what is told within the block and a little later."""
        self.guest.run("rm -f /tmp/uevents", check=True)
        subsystems = "--subsystem-match=scsi --subsystem-match=block"
        monitor = self.guest.spawn(f"udevadm monitor --kernel --property {subsystems} >/tmp/uevents")
        self.guest.wait_until("grep -q 'the kernel uevent' /tmp/uevents")
        seen = Uevents()
        try:
            yield seen
            time.sleep(AFTER)
        finally:
            monitor.kill()
        text = self.guest.out("cat /tmp/uevents")
        seen.all += [block.splitlines() for block in text.split("\n\n") if "ACTION=" in block]

    def resize(self, lun: int) -> int:
        """Gives a unit another size; returns how many blocks it has now."""
        self.size += 1
        blocks = self.size * MEGABYTE // BLOCK
        self.device("resize", lun=lun, blocks=blocks)
        return blocks

    def name(self, lun: int) -> str:
        return sysfs.unit_node(self.guest, 0, lun).removeprefix("/dev/")

    def has_size(self, lun: int, blocks: int, timeout: float = 10) -> None:
        self.guest.wait_until(f"test $(cat /sys/block/{self.name(lun)}/size) = {blocks}", timeout)

    def status(self, lun: int) -> str:
        return self.guest.out(f"cat /sys/block/{self.name(lun)}/device/power/runtime_status")

    def read(self, lun: int, megabyte: int = 0) -> None:
        node = sysfs.unit_node(self.guest, 0, lun)
        self.guest.run(f"dd if={node} of=/dev/null bs=1M skip={megabyte} count=1 iflag=direct", check=True)


AWAKE, SLEEPER, OTHER = 0, 1, 2


@pytest.fixture(scope="module")
def shared(serve_shared: Callable[..., TestDevice], boot_shared: Boots) -> Shared:
    device = serve_shared({"unit": [{"lun": lun, "size": "16M"} for lun in (AWAKE, SLEEPER, OTHER)]})
    shared = Shared(device, boot_shared(**device.door("test")))
    sysfs.wait_for_units(shared.guest, 3)
    for lun in (AWAKE, SLEEPER, OTHER):
        shared.read(lun)
    return shared


@pytest.fixture
def asleep(shared: Shared) -> Iterator[Shared]:
    """One unit sleeps while nobody uses it."""
    power = f"/sys/block/{shared.name(SLEEPER)}/device/power"
    shared.guest.run(f"echo 100 >{power}/autosuspend_delay_ms && echo auto >{power}/control", check=True)
    shared.device.wait_for(lambda: shared.status(SLEEPER) == "suspended", 20, "does not sleep")
    yield shared
    shared.guest.run(f"echo on >{power}/control", check=True)


def told_once(shared: Shared, uevents: Uevents, lun: int, times: int = 1) -> None:
    """One uevent of each kind for each change, about this unit."""
    address = f"{shared.guest.host()}:0:0:{lun}"
    counts = [uevents.count(TOLD, f"{address}"), uevents.count(RESIZED, f"block/{shared.name(lun)}")]
    assert counts == [times, times], uevents.all
    assert sum(TOLD in lines or RESIZED in lines for lines in uevents.all) == 2 * times, "about others, too"


def test_an_idle_unit_gets_its_new_size(shared: Shared) -> None:
    with shared.uevents() as uevents:
        blocks = shared.resize(AWAKE)
        shared.has_size(AWAKE, blocks)
    told_once(shared, uevents, AWAKE)
    # What the unit has to say to the next command says nothing new.
    with shared.uevents() as uevents:
        shared.read(AWAKE, shared.size - 1)
    assert uevents.count(TOLD, "") == uevents.count(RESIZED, "") == 0


def test_a_unit_in_use_gets_its_new_size(shared: Shared) -> None:
    """Commands find the unit attention before, while and after the driver acts on the event."""
    node = sysfs.unit_node(shared.guest, 0, OTHER)
    reads = (
        f"while [ ! -e /tmp/stop ]; do dd if={node} of=/dev/null bs=64k count=8 iflag=direct || exit 1; done"
    )
    shared.guest.run("rm -f /tmp/stop", check=True)
    mark = shared.device.mark()
    jobs = [shared.guest.spawn(reads) for _ in range(2)]
    shared.device.wait_for(lambda: len(shared.device.since(mark, "request", name="READ_10")) > 20)
    with shared.uevents() as uevents:
        blocks = shared.resize(OTHER)
        shared.has_size(OTHER, blocks)
    shared.guest.run("touch /tmp/stop", check=True)
    assert [job.wait().rc for job in jobs] == [0, 0]
    told_once(shared, uevents, OTHER)


def test_two_changes_are_reported_twice(shared: Shared) -> None:
    """Each is told, though they are alike."""
    with shared.uevents() as uevents:
        shared.has_size(AWAKE, shared.resize(AWAKE))
        time.sleep(3)
        shared.has_size(AWAKE, shared.resize(AWAKE))
    told_once(shared, uevents, AWAKE, times=2)


def test_a_unit_that_sleeps_has_its_new_size_when_it_is_used(asleep: Shared) -> None:
    """It has its new size by the time that it has been used again, all of which can be read."""
    with asleep.uevents() as uevents:
        mark = asleep.device.mark()
        blocks = asleep.resize(SLEEPER)
        asleep.device.wait_for(lambda: asleep.device.since(mark, "event"), why="no event")
        time.sleep(1)
        asleep.read(SLEEPER)
        asleep.has_size(SLEEPER, blocks, 5)
    asleep.read(SLEEPER, asleep.size - 1)
    told_once(asleep, uevents, SLEEPER)


@pytest.mark.ours("the C driver looks at no unit that sleeps")
def test_a_unit_that_sleeps_is_woken_once_when_events_were_missed(asleep: Shared) -> None:
    """All units are looked at then; what there is to ask a medium for concerns no disk."""
    tracing = "/sys/kernel/tracing"
    event = f"{tracing}/events/rpm/rpm_resume"
    name = f"{asleep.guest.host()}:0:0:{SLEEPER}"
    asleep.guest.run(
        f"echo 'name == \"{name}\"' >{event}/filter && echo >{tracing}/trace && echo 1 >{event}/enable",
        check=True,
    )
    mark = asleep.device.mark()
    asleep.device("event", event=0, missed=True, wait=True)
    all_handled(asleep.device)
    # The unit is read again after that.
    quiet(asleep.device)
    asleep.guest.run(f"echo 0 >{event}/enable", check=True)
    assert asleep.device.since(mark, "request", name="TEST_UNIT_READY", unit=f"0:{SLEEPER}"), "not looked at"
    resumed = asleep.guest.out(f"grep rpm_resume: {tracing}/trace || :").splitlines()
    assert len(resumed) == 1, resumed


def test_the_driver_kept_to_the_rules(shared: Shared) -> None:
    assert shared.device.lines("violation") == []

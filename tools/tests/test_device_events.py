# SPDX-License-Identifier: GPL-2.0
"""Every event of the protocol, whatever it says, from a device that sends what it is told to."""

import itertools
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from conftest import Boots
from guest import Guest, sysfs
from guest.device import TestDevice

TRANSPORT_RESET, ASYNC_NOTIFY, PARAM_CHANGE = 1, 2, 3
HARD, RESCAN, REMOVED = 0, 1, 2

# What is said of a unit that goes while it is looked at.
GOING = (r"I/O error,? (on )?dev sd", r"sd \d+:\d+:\d+:\d+: .*", r"device offline error", r"scsi \d+:.*")


@dataclass
class Bus:
    device: TestDevice
    guest: Guest

    def addresses(self) -> set[tuple[int, int]]:
        """Target and LUN of all logical units that the guest has, LUNs as the device numbers them."""
        return sysfs.units(self.guest)

    def expect(self, wanted: set[tuple[int, int]], timeout: float = 60) -> None:
        deadline = time.monotonic() + timeout
        while (seen := self.addresses()) != wanted:
            if time.monotonic() > deadline:
                raise AssertionError(f"missing {wanted - seen}, too many {seen - wanted}")
            time.sleep(0.1)

    def event(self, event: int, reason: int, target: int = 0, lun: int = 0, **fields: object) -> None:
        self.device("event", event=event, reason=reason, target=target, lun=lun, wait=True, **fields)

    def node(self, target: int, lun: int) -> str:
        return sysfs.unit_node(self.guest, target, lun)

    def works(self) -> None:
        node = self.node(0, 0)
        self.guest.run(f"dd if={node} of=/dev/null bs=64k count=4 iflag=direct", timeout=60, check=True)


@pytest.fixture(scope="module")
def bus(serve_shared: Callable[..., TestDevice], boot_shared: Boots) -> Bus:
    units = [{"size": "8M"}, {"lun": 1, "size": "8M"}, {"target": 1, "lun": 2, "size": "8M"}]
    units.append({"target": 2, "kind": "cdrom", "size": "2M"})
    device = serve_shared({"unit": units})
    guest = boot_shared(**device.door("test"), parameters="recovery_step=1", allow=GOING)
    bus = Bus(device, guest)
    bus.expect({(0, 0), (0, 1), (1, 2), (2, 0)})
    return bus


def watch_uevents(bus: Bus) -> Callable[[], str]:
    """Notes what the kernel tells user space of SCSI devices; returns what ends that and says it."""
    bus.guest.run("rm -f /tmp/uevents", check=True)
    monitor = bus.guest.spawn("udevadm monitor --kernel --property --subsystem-match=scsi >/tmp/uevents")
    bus.guest.wait_until("grep -q 'the kernel uevent' /tmp/uevents")

    def end() -> str:
        monitor.kill()
        return bus.guest.out("cat /tmp/uevents")

    return end


START = {(0, 0), (0, 1), (1, 2), (2, 0)}


def test_plug_and_unplug(bus: Bus) -> None:
    for target, lun in ((0, 9), (5, 0), (5, 300), (255, 16383)):
        bus.device("add_unit", unit={"target": target, "lun": lun, "size": "4M"})
        bus.expect(START | {(target, lun)})
        bus.device("remove_unit", target=target, lun=lun)
        bus.expect(START)


def test_addresses_in_both_formats(bus: Bus) -> None:
    """A device may write a LUN below 256 in the peripheral or in the flat format."""
    for field in ("0103000700000000", "0103400700000000"):
        bus.device("add_unit", unit={"target": 3, "lun": 7, "size": "4M"}, event=False)
        bus.device("event", event=TRANSPORT_RESET, reason=RESCAN, lun_bytes=field, wait=True)
        bus.expect(START | {(3, 7)})
        bus.device("remove_unit", target=3, lun=7, event=False)
        bus.device("event", event=TRANSPORT_RESET, reason=REMOVED, lun_bytes=field, wait=True)
        bus.expect(START)


def test_removal_of_lun_0_is_about_the_target(bus: Bus) -> None:
    for lun in (0, 3, 4):
        bus.device("add_unit", unit={"target": 8, "lun": lun, "size": "4M"})
    bus.expect(START | {(8, 0), (8, 3), (8, 4)})
    for lun in (0, 3, 4):
        bus.device("remove_unit", target=8, lun=lun, event=False)
    bus.event(TRANSPORT_RESET, REMOVED, target=8)
    bus.expect(START)


@pytest.mark.parametrize(
    ("asc", "ascq", "told"),
    [
        (0x2A, 0x00, None),
        (0x2A, 0x01, "SDEV_UA=MODE_PARAMETERS_CHANGED"),
        (0x2A, 0x06, "SDEV_UA=ASYMMETRIC_ACCESS_STATE_CHANGED"),
        (0x2A, 0x09, "SDEV_UA=CAPACITY_DATA_HAS_CHANGED"),
        (0x3F, 0x03, "SDEV_UA=INQUIRY_DATA_HAS_CHANGED"),
        (0x3F, 0x0E, "SDEV_UA=REPORTED_LUNS_DATA_HAS_CHANGED"),
        (0x38, 0x07, "SDEV_UA=THIN_PROVISIONING_SOFT_THRESHOLD_REACHED"),
        (0x2A, 0x77, None),
        (0x11, 0x22, None),
    ],
)
def test_parameter_changes(bus: Bus, asc: int, ascq: int, told: str | None) -> None:
    """A change has the unit read again, or user space told, or both."""
    end = watch_uevents(bus)
    mark = bus.device.mark()
    bus.event(PARAM_CHANGE, asc | ascq << 8, target=1, lun=2)
    if (asc, ascq) != (0x38, 0x07):
        bus.device.wait_for(lambda: bus.device.since(mark, "request", name="INQUIRY"), why="no new look")
    if told:
        bus.guest.wait_until(f"grep -q {told} /tmp/uevents")
    else:
        bus.works()
    end()


def test_a_new_capacity(bus: Bus) -> None:
    node = bus.node(1, 2)
    for blocks in (1 << 15, 1 << 14):
        bus.device("resize", target=1, lun=2, blocks=blocks)
        bus.guest.wait_until(f"test $(blockdev --getsz {node}) = {blocks}", 20)


def test_media_changes_are_subscribed_to_and_told(bus: Bus) -> None:
    asked = bus.device.lines("an")
    assert [(line["subscribe"], line["unit"]) for line in asked[:2]] == [(False, "2:0"), (True, "2:0")]
    end = watch_uevents(bus)
    bus.event(ASYNC_NOTIFY, 16, target=2)
    bus.guest.wait_until("grep -q SDEV_MEDIA_CHANGE=1 /tmp/uevents")
    end()


def test_media_changes_are_told_after_a_reset(bus: Bus) -> None:
    """A reset of the device ends what it was asked to notify of, so it is asked again."""
    mark = bus.device.mark()
    bus.guest.run(f"sg_reset -H {bus.node(2, 0)}", check=True)
    asked = bus.device.wait_for(
        lambda: bus.device.since(mark, "an", subscribe=True, unit="2:0"), why="not asked again"
    )
    assert asked
    ended = watch_uevents(bus)
    bus.device("medium", target=2, loaded=False)
    bus.device.wait_for(lambda: bus.device.since(mark, "event"), why="no event")
    bus.guest.wait_until("grep -q SDEV_MEDIA_CHANGE=1 /tmp/uevents")
    bus.device("medium", target=2, loaded=True)
    ended()


def test_a_hard_reset_is_expected(bus: Bus) -> None:
    """After it the unit attention is no surprise: a command of the user is tried again, not failed."""
    bus.event(TRANSPORT_RESET, HARD)
    bus.device("attention", asc=0x29, ascq=0)
    bus.works()


EVENTS = [0, 1, 2, 3, 4, 99, 0x7FFFFFFF]
REASONS = [0, 1, 2, 3, 16, 0x092A, 0xFFFFFFFF]
FIELDS = [
    "0100000000000000",  # a unit that is there
    "0100400100000000",
    "0109000500000000",  # one that is not
    "01ff7fff00000000",
    "0200000000000000",  # no addresses
    "0100c10100000000",
    "c101000000000000",
    "ffffffffffffffff",
    "0000000000000000",
]


@pytest.mark.parametrize("missed", [False, True])
def test_any_event(bus: Bus, missed: bool) -> None:
    """Every event with every reason about every kind of address: the bus stays as the device has it."""
    for event, reason, field in itertools.product(EVENTS, REASONS, FIELDS):
        bus.device("event", event=event, reason=reason, lun_bytes=field, missed=missed, wait=True)
    bus.device("event", event=0, missed=True, wait=True)
    bus.expect(START, 120)
    bus.works()


@pytest.mark.parametrize("used_len", [0, 4, 15, 0xFFFFFFFF])
def test_lengths_that_the_device_claims(bus: Bus, used_len: int) -> None:
    bus.device("add_unit", unit={"target": 6, "lun": 1, "size": "4M"}, event=False)
    bus.event(TRANSPORT_RESET, RESCAN, target=6, lun=1, used_len=used_len)
    bus.device("event", event=0, missed=True, wait=True)
    bus.expect(START | {(6, 1)}, 60)
    bus.device("remove_unit", target=6, lun=1)
    bus.expect(START)


@pytest.mark.parametrize("fields", [{"event": 1, "reason": 1}, {"event": 3, "reason": 0x092A, "lun": 1}])
def test_floods(bus: Bus, fields: dict[str, int]) -> None:
    """A hundred thousand events: they are coalesced, the log is not flooded, and I/O goes on."""
    lines = int(bus.guest.out("dmesg | wc -l"))
    mark = bus.device.mark()
    began = time.monotonic()
    bus.device("event", times=100_000, **fields)
    while bus.device("waiting") and time.monotonic() - began < 5:
        bus.works()
    bus.expect(START, 120)
    bus.works()
    assert int(bus.guest.out("dmesg | wc -l")) - lines < 200
    # Far fewer looks than events.
    assert len(bus.device.since(mark, "request")) < 50_000


def test_missed_events(bus: Bus) -> None:
    """The device says only that it had no buffers: units are found, removed and read again."""
    bus.device("add_unit", unit={"target": 10, "lun": 0, "size": "4M"}, event=False)
    bus.device("add_unit", unit={"target": 0, "lun": 40, "size": "4M"}, event=False)
    bus.device("remove_unit", target=0, lun=1, event=False)
    bus.device("resize", target=1, lun=2, blocks=1 << 13, event=False)
    bus.device("event", event=0, missed=True, wait=True)
    bus.expect({(0, 0), (0, 40), (1, 2), (2, 0), (10, 0)}, 90)
    bus.guest.wait_until(f"test $(blockdev --getsz {bus.node(1, 2)}) = {1 << 13}", 20)
    bus.device("remove_unit", target=10, lun=0, event=False)
    bus.device("remove_unit", target=0, lun=40, event=False)
    bus.device("add_unit", unit={"target": 0, "lun": 1, "size": "8M"}, event=False)
    bus.device("event", event=0, missed=True, wait=True)
    bus.expect(START, 90)


def test_reconciling_is_bounded_when_a_unit_does_not_answer(bus: Bus) -> None:
    bus.device("add_unit", unit={"target": 11, "lun": 3, "size": "4M"}, event=False)
    bus.device.rule("silent", {"target": 1, "lun": 2, "opcode": "INQUIRY", "times": 3}, drop=True)
    began = time.monotonic()
    bus.device("event", event=0, missed=True, wait=True)
    bus.expect(START | {(11, 3)}, 120)
    assert time.monotonic() - began < 100
    bus.device("remove_rule", name="silent")
    bus.device("remove_unit", target=11, lun=3)
    bus.expect(START)


@pytest.mark.parametrize("seed", range(4))
def test_any_order_of_plug_and_unplug(bus: Bus, seed: int) -> None:
    """Whatever comes and goes, and however often, in the end the bus is as the device has it."""
    chance = random.Random(seed)
    there: set[tuple[int, int]] = set()
    for _ in range(150):
        address = (chance.choice((20, 21, 22)), chance.choice((0, 1, 2, 300)))
        target, lun = address
        if address in there:
            there.remove(address)
            bus.device("remove_unit", target=target, lun=lun)
        else:
            there.add(address)
            bus.device("add_unit", unit={"target": target, "lun": lun, "size": "4M"})
        if chance.random() < 0.1:
            time.sleep(chance.random() / 4)
    bus.expect(START | there, 120)
    for target, lun in there:
        bus.device("remove_unit", target=target, lun=lun)
    bus.expect(START, 120)


BROKEN: dict[str, dict[str, object]] = {
    "hardware error": {"status": "check_condition", "sense": {"key": 4, "asc": 0x44}},
    "failure": {"response": "failure"},
}
# What a file system says that cannot be read or written, and the block layer.
UNREADABLE = (
    r"(EXT4-fs|JBD2|Aborting journal).* sd[a-z]",
    r"Buffer I/O error on dev sd",
    r"critical target error",
)


@pytest.mark.parametrize("lun", [0, 1])
@pytest.mark.parametrize("way", BROKEN)
def test_a_mounted_disk_that_fails_for_a_while_stays(bus: Bus, way: str, lun: int) -> None:
    """All that it is sent fails, INQUIRY as well, while the device reports all kinds of things: that it may
    be new, that its neighbour was removed, that events were lost. What fails is not what is not there."""
    device, guest, other = bus.device, bus.guest, 1 - lun
    for each in (0, 1):
        device("add_unit", unit={"target": 8, "lun": each, "size": "8M"})
    bus.expect(START | {(8, 0), (8, 1)})
    node = bus.node(8, lun)
    number = f"/sys/block/{node[5:]}/diskseq"
    before = guest.out(f"cat {number}")
    guest.run(
        f"mkfs.ext4 -q {node} && mount -o noatime {node} /mnt && "
        "head -c 256k /dev/urandom >/mnt/file && sync && cp /mnt/file /tmp/file",
        check=True,
    )
    read = "echo 3 >/proc/sys/vm/drop_caches; cmp /mnt/file /tmp/file"
    guest.run(read, check=True)
    with guest.allowing(*UNREADABLE):
        mark = device.mark()
        device.rule("broken", {"target": 8, "lun": lun}, **BROKEN[way])
        assert guest.run(read).rc != 0
        bus.event(TRANSPORT_RESET, RESCAN, target=8, lun=lun)
        device("remove_unit", target=8, lun=other, event=False)
        bus.event(TRANSPORT_RESET, REMOVED, target=8, lun=other)
        bus.expect(START | {(8, lun)})
        # Nothing but the loss of events tells of this one, and this one comes after the others.
        device("add_unit", unit={"target": 9, "lun": 2, "size": "4M"}, event=False)
        device("event", event=0, missed=True, wait=True)
        bus.expect(START | {(8, lun), (9, 2)})
        device("remove_unit", target=9, lun=2)
        bus.expect(START | {(8, lun)})
        asked = device.since(mark, "request", name="INQUIRY", unit=f"8:{lun}")
        device("remove_rule", name="broken")
    assert asked, "nobody has looked for it"
    assert guest.out(f"cat {number}") == before
    # What it was asked for while it failed may be all that is known of it.
    guest.run(f"echo 1 >/sys/block/{node[5:]}/device/rescan", check=True)
    guest.run(read, check=True)
    guest.run("cp /tmp/file /mnt/new && sync && umount /mnt && e2fsck -fn " + node, check=True)
    device("remove_unit", target=8, lun=lun)
    bus.expect(START)


REPORTS: dict[str, dict[str, object]] = {
    "it may be new": {"event": TRANSPORT_RESET, "reason": RESCAN, "target": 0, "lun": 1},
    "events were lost": {"event": 0, "missed": True},
}


@pytest.mark.parametrize("report", REPORTS)
def test_a_disk_that_fails_for_a_while_keeps_its_size(bus: Bus, report: str) -> None:
    """A capacity that cannot be read is no capacity of 0, with which a mounted file system is lost."""
    device, guest = bus.device, bus.guest
    node = bus.node(0, 1)
    read = f"dd if={node} of=/dev/null bs=4k count=1 iflag=direct"
    size = guest.out(f"cat /sys/block/{node[5:]}/size")
    with guest.allowing(*UNREADABLE):
        device.rule("broken", {"target": 0, "lun": 1}, **BROKEN["hardware error"])
        assert guest.run(read).rc != 0
        device("event", **REPORTS[report], wait=True)
        # What is reported next is handled next.
        device("add_unit", unit={"target": 9, "lun": 2, "size": "4M"})
        bus.expect(START | {(9, 2)})
        device("remove_unit", target=9, lun=2)
        bus.expect(START)
        device("remove_rule", name="broken")
    assert guest.out(f"cat /sys/block/{node[5:]}/size") == size
    guest.run(read, check=True)


def test_the_driver_kept_to_the_rules(bus: Bus) -> None:
    assert bus.device.lines("violation") == []

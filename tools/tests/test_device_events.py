# SPDX-License-Identifier: GPL-2.0
"""Every event of the protocol, whatever it says, from a device that sends what it is told to."""

import re
from collections.abc import Callable

import pytest

from guest.device import TestDevice
from support import events
from support.boots import Boots
from support.events import ASYNC_NOTIFY, PARAM_CHANGE, REMOVED, RESCAN, START, TRANSPORT_RESET, Bus
from support.known_lines import COMES_AND_GOES

pytestmark = [pytest.mark.main, pytest.mark.x86, pytest.mark.compare]


@pytest.fixture(scope="module")
def bus(serve_shared: Callable[..., TestDevice], boot_shared: Boots) -> Bus:
    units = [{"size": "8M"}, {"lun": 1, "size": "8M"}, {"target": 1, "lun": 2, "size": "8M"}]
    units.append({"target": 2, "kind": "cdrom", "size": "2M"})
    device = serve_shared({"unit": units})
    guest = boot_shared(**device.door("test"), parameters="recovery_step=1", allow=COMES_AND_GOES)
    bus = Bus(device, guest)
    bus.expect({(0, 0), (0, 1), (1, 2), (2, 0)})
    return bus


def watch_uevents(bus: Bus) -> Callable[[], list[list[str]]]:
    """Notes what the kernel tells user space of SCSI devices; returns what ends that and has the lines of
    each uevent."""
    bus.guest.run("rm -f /tmp/uevents", check=True)
    monitor = bus.guest.spawn("udevadm monitor --kernel --property --subsystem-match=scsi >/tmp/uevents")
    bus.guest.wait_until("grep -q 'the kernel uevent' /tmp/uevents")

    def end() -> list[list[str]]:
        monitor.kill()
        text = bus.guest.out("cat /tmp/uevents")
        return [block.splitlines() for block in text.split("\n\n")]

    return end


test_units_come_and_go = events.test_units_come_and_go
test_addresses_in_both_formats_are_understood = events.test_addresses_in_both_formats_are_understood
test_removal_of_lun_0_is_about_the_target = events.test_removal_of_lun_0_is_about_the_target


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
def test_parameter_changes_are_read_and_reported(bus: Bus, asc: int, ascq: int, told: str | None) -> None:
    """A change has the unit read again, or user space told, or both."""
    end = watch_uevents(bus)
    mark = bus.device.mark()
    bus.event(PARAM_CHANGE, asc | ascq << 8, target=1, lun=2)
    events.all_handled(bus.device)
    if (asc, ascq) != (0x38, 0x07):
        assert bus.device.since(mark, "request", name="INQUIRY", unit="1:2"), "no new look"
    # The uevents of a unit come in their order, so that this one is the last.
    last = "SDEV_UA=POWER_ON_RESET_OCCURRED"
    bus.device("attention", target=1, lun=2, asc=0x29, ascq=0)
    bus.guest.run(f"dd if={bus.node(1, 2)} of=/dev/null bs=4k count=1 iflag=direct", check=True)
    bus.guest.wait_until(f"grep -q {last} /tmp/uevents")
    # Units of other targets may just tell of what tests before this did to those.
    about = [lines for lines in end() if any(re.fullmatch("DEVPATH=.*:1:2", line) for line in lines)]
    said = [line for lines in about for line in lines if line.startswith("SDEV_")]
    assert said == ([told] if told else []) + [last]


test_a_new_capacity_is_seen = events.test_a_new_capacity_is_seen


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


test_a_hard_reset_is_expected = events.test_a_hard_reset_is_expected
test_any_event_leaves_the_bus_as_it_is = events.test_any_event_leaves_the_bus_as_it_is
test_claimed_lengths_do_not_matter = events.test_claimed_lengths_do_not_matter
test_a_flood_does_not_stop_io = events.test_a_flood_does_not_stop_io
test_missed_events_are_made_up_for = events.test_missed_events_are_made_up_for
test_reconciling_is_bounded_when_a_unit_does_not_answer = (
    events.test_reconciling_is_bounded_when_a_unit_does_not_answer
)
test_the_bus_follows_any_order_of_plug_and_unplug = events.test_the_bus_follows_any_order_of_plug_and_unplug


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
        f"mkfs.ext4 -q -E lazy_itable_init=0 {node} && mount -o noatime,commit=600 {node} /mnt && "
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

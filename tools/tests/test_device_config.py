# SPDX-License-Identifier: GPL-2.0
"""Configuration spaces and features of every kind, behind the door where both are the device's own."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from guest import QemuGuest, Result, fio
from guest.device import TestDevice, doors
from support.boots import OURS, Boots
from support.known_lines import DISK, OUR_DRIVER

pytestmark = [pytest.mark.device, pytest.mark.compare]


READABLE = "test -e {0} && dd if={0} bs=64k count=16 iflag=direct | cmp -n 1048576 - /dev/zero"

# Values with which the disk has to work all the same.
USABLE = {
    "seg_max 0": {"seg_max": 0},
    "seg_max 1": {"seg_max": 1},
    "seg_max 65536": {"seg_max": 0x10000},
    "seg_max all ones": {"seg_max": 0xFFFFFFFF},
    "max_sectors 0": {"max_sectors": 0},
    "max_sectors all ones": {"max_sectors": 0xFFFFFFFF},
    "cmd_per_lun 0": {"cmd_per_lun": 0},
    "cmd_per_lun 1": {"cmd_per_lun": 1},
    "cmd_per_lun all ones": {"cmd_per_lun": 0xFFFFFFFF},
    "event_info_size 0": {"event_info_size": 0},
    "event_info_size 64": {"event_info_size": 64},
    "max_channel all ones": {"max_channel": 0xFFFF},
    "max_target all ones": {"max_target": 0xFFFF},
    "max_target 0": {"max_target": 0},
    "max_lun 0": {"max_lun": 0},
    "max_lun all ones": {"max_lun": 0xFFFFFFFF},
    "num_queues 0": {"num_queues": 0},
    "other sizes": {"sense_size": 252, "cdb_size": 64},
}

# Values with which there is no device, and what is said of it.
UNUSABLE: dict[str, tuple[dict[str, int], str]] = {
    "less than a page at a time": ({"max_sectors": 1}, "cannot be served: max_sectors"),
    "more queues than there are": ({"num_queues": 2}, "and 2 request queues could not be created"),
    "all ones": (
        dict.fromkeys(("num_queues", "seg_max", "max_sectors", "cmd_per_lun"), 0xFFFFFFFF),
        "request queues could not be created",
    ),
}


USUAL = {
    "num_queues": 1,
    "seg_max": 126,
    "max_sectors": 0xFFFF,
    "cmd_per_lun": 128,
    "event_info_size": 16,
    "sense_size": 96,
    "cdb_size": 32,
    "keeps_sizes": False,
    "max_channel": 0,
    "max_target": 255,
    "max_lun": 16383,
}


@dataclass
class Shared:
    device: TestDevice
    guest: QemuGuest

    def load(self, values: dict[str, int]) -> Result:
        """Loads the driver for a device with these values in its configuration space."""
        self.device("set_config", config={**USUAL, **values}, notify=False)
        return self.guest.run(f"insmod {self.guest.driver.path}")

    def unload(self) -> None:
        # While a unit is looked at, the module is in use.
        self.guest.wait_until(f"rmmod {self.guest.driver.name}", 60)


@pytest.fixture(scope="module")
def shared(serve_shared: Callable[..., TestDevice], boot_shared: Boots) -> Shared:
    """One guest, one device; the driver is loaded anew for each configuration."""
    device = serve_shared({"device": {"request_queues": 1}, "unit": [{"size": "4M"}]})
    return Shared(device, boot_shared(**device.door("test"), module=None, allow=[OUR_DRIVER]))


@pytest.mark.parametrize("name", USABLE)
def test_usable_configuration_works(shared: Shared, name: str) -> None:
    mark = shared.device.mark()
    shared.load(USABLE[name])
    shared.guest.wait_until(READABLE.format("/dev/sda"))
    shared.unload()
    assert shared.device.since(mark, "violation") == []


@pytest.mark.parametrize("name", UNUSABLE)
def test_unusable_configuration_is_refused(shared: Shared, name: str) -> None:
    """No host comes up, and the driver can be unloaded as ever."""
    mark = shared.device.mark()
    values, said = UNUSABLE[name]
    before = len(shared.guest.dmesg())
    shared.load(values)
    assert shared.guest.run("ls -d /sys/class/scsi_host/host*").rc != 0, "a host came up"
    if OURS:
        assert said in shared.guest.dmesg()[before:]
    shared.unload()
    assert shared.device.since(mark, "violation") == []


@pytest.mark.skipif(not OURS, reason="the driver does not read what it has written")
@pytest.mark.parametrize(("sense_size", "cdb_size"), [(18, 16), (252, 32)])
def test_a_device_that_keeps_its_sizes_is_served_with_them(
    shared: Shared, sense_size: int, cdb_size: int
) -> None:
    """Requests and responses are as long as the device has them, so that data begins where it looks."""
    mark = shared.device.mark()
    shared.load({"keeps_sizes": True, "sense_size": sense_size, "cdb_size": cdb_size})
    shared.guest.wait_until(READABLE.format("/dev/sda"))
    shared.guest.run(
        "yes | dd of=/dev/sda bs=64k count=4 iflag=fullblock oflag=direct && "
        "dd if=/dev/sda bs=64k count=4 iflag=direct | cmp -n 262144 - <(yes)",
        check=True,
    )
    sense = {"status": "check_condition", "sense": {"key": 3, "asc": 0x11}}
    shared.device.rule("medium", {"opcode": "READ_10", "times": 1}, **sense)
    said = shared.guest.run("sg_raw -r 512 /dev/sg0 28 00 00 00 00 00 00 00 01 00")
    shared.device("clear_rules")
    assert "Unrecovered read error" in said.stderr
    shared.guest.run("dd if=/dev/zero of=/dev/sda bs=64k count=4 oflag=direct", check=True)
    shared.unload()
    assert shared.device.since(mark, "violation") == []


def test_more_queues_than_exist_are_refused(
    serve: Callable[..., TestDevice], boot: Callable[..., QemuGuest]
) -> None:
    """The transport has fewer queues than the configuration says: no device, and no crash."""
    device = serve({"device": {"request_queues": 2}, "unit": [{"size": "4M"}]})
    device("set_config", config={"num_queues": 65535}, notify=False)
    guest = boot(**device.door("test"), smp=4, allow=[OUR_DRIVER], module=None)
    guest.run(f"insmod {guest.driver.path}", check=True)
    assert guest.run(f"ls -d {guest.driver.sysfs}/virtio*").rc != 0, "the device is bound"
    assert guest.run("ls -d /sys/class/scsi_host/host*").rc != 0, "a host came up"
    if OURS:
        assert "request queues could not be created" in guest.dmesg()
    guest.wait_until(f"rmmod {guest.driver.name}")


# Bits that neither virtio nor its SCSI device has given a meaning, or that our driver does not know.
UNKNOWN = (5, 22, 45, 63)
FEATURES: dict[str, list[str | int]] = {
    "nothing but version 1": ["version_1"],
    "no indirect descriptors": ["hotplug", "change", "event_idx", "version_1"],
    "no event index": ["hotplug", "change", "indirect_desc", "version_1"],
    "no hotplug": ["change", "indirect_desc", "event_idx", "version_1"],
    "packed": ["hotplug", "change", "indirect_desc", "event_idx", "version_1", "ring_packed"],
    "packed without the rest": ["version_1", "ring_packed"],
    "unknown bits": ["hotplug", "version_1", *UNKNOWN],
}


# What a device has that says nothing of its features.
DEFAULT = "default"


@dataclass
class Several:
    """A guest that has a device for each set of features, and one more."""

    devices: dict[str, TestDevice]
    guest: QemuGuest

    def disk(self, name: str) -> str:
        """The node of a device's disk, by its serial number."""
        number = list(self.devices).index(name)
        return self.guest.out(
            f"grep -l N-{number}- /sys/block/sd*/device/vpd_pg80 | sed 's,.*block,/dev,;s,/device.*,,'"
        )

    def virtio(self, name: str) -> str:
        folder = f"/sys/block/{self.disk(name).removeprefix('/dev/')}/device"
        return self.guest.out(f"basename $(readlink -f {folder}/../../..)")

    def settle(self) -> None:
        self.guest.wait_until(f"test $(ls -d /sys/block/sd* | wc -l) -eq {len(self.devices)}")


@pytest.fixture(scope="module")
def several(serve_shared: Callable[..., TestDevice], boot_shared: Boots) -> Several:
    devices = {}
    for number, name in enumerate([*FEATURES, DEFAULT]):
        features = {"features": FEATURES[name]} if name in FEATURES else {}
        unit = {"size": "4M", "serial": f"N-{number}-"}
        devices[name] = serve_shared({"device": features, "unit": [unit]})
    several = Several(devices, boot_shared(**doors("test", *devices.values())))
    several.settle()
    return several


@pytest.mark.parametrize("name", FEATURES)
def test_works_with_any_features(several: Several, name: str) -> None:
    """As the device is found by the guest, and when it is bound again."""
    device, guest, disk = several.devices[name], several.guest, several.disk(name)
    guest.run(READABLE.format(disk), check=True)
    acked = int(device("stats")["acked"], 16)
    assert not any(acked >> bit & 1 for bit in UNKNOWN)
    assert bool(acked >> 34 & 1) == ("ring_packed" in FEATURES[name])
    # The firmware, which uses the first request queue alone, knows only split rings.
    assert {line["packed"] for line in device.lines("queue_start", queue=0)} == {
        "ring_packed" in FEATURES[name]
    }
    guest.run("dd if=/dev/urandom of=/tmp/d bs=64k count=32", check=True)
    guest.run(f"dd if=/tmp/d of={disk} bs=64k oflag=direct", check=True)
    guest.run(f"dd if={disk} bs=16k count=128 iflag=direct | cmp - /tmp/d", check=True)
    virtio = several.virtio(name)
    for how in ("unbind", "bind"):
        guest.run(f"echo {virtio} >{guest.driver.sysfs}/{how}", check=True)
    several.settle()
    guest.run(f"dd if={several.disk(name)} bs=64k count=32 iflag=direct | cmp - /tmp/d", check=True)
    assert device.lines("violation") == []


@pytest.mark.parametrize("entry", ["of no request", "out of range", "stale id", "another id", "twice"])
def test_io_survives_forged_entries_of_a_packed_ring(several: Several, entry: str) -> None:
    """As that of a split ring (test_device_actions.py), in a ring that the virtio core has other code for."""
    device, guest = several.devices["packed"], several.guest
    disk = several.disk("packed")
    mark = device.mark()
    reads = fio.command(
        disk, rw="randread", bs="4k", ioengine="libaio", iodepth=8, direct=1, size="2M", loops=6
    )
    rules: dict[str, dict[str, Any]] = {
        "stale id": {"id": "stale"},
        "another id": {"id": "not_head"},
        "twice": {"repeat": 2},
    }
    with guest.allowing(OUR_DRIVER, DISK):
        job = guest.spawn(reads)
        device.wait_for(lambda: len(device.since(mark, "request")) > 50, why="no I/O")
        if entry in rules:
            device.rule("entry", {"opcode": "READ_10", "times": 2}, **rules[entry])
        else:
            for queue in (2, 3):
                device("used", queue=queue, id=100 if entry == "of no request" else 60000, len=12)
        # Each of them breaks the queue for good, so the device is set up anew.
        device.wait_for(lambda: device.since(mark, "queue_start", queue=2), 60, "no reset")
        assert fio.Job.of(job.wait(90, check=True)).error == 0
        if entry in rules:
            device("remove_rule", name="entry")
    assert {line["packed"] for line in device.since(mark, "queue_start", queue=2)} == {True}
    guest.run(f"dd if={disk} of=/dev/null bs=64k iflag=direct", check=True)


def test_all_features_work_when_the_driver_is_loaded_again(several: Several) -> None:
    several.guest.unload()
    several.guest.load()
    several.settle()
    for name, device in several.devices.items():
        several.guest.run(f"dd if={several.disk(name)} of=/dev/null bs=64k count=32 iflag=direct", check=True)
        assert device.lines("violation") == []


def test_configuration_changes_do_not_stop_io(several: Several) -> None:
    """Told of changes at any time, and of other values: the driver goes on."""
    device, guest = several.devices[DEFAULT], several.guest
    read = READABLE.format(several.disk(DEFAULT))
    guest.run(read, check=True)
    with guest.allowing(OUR_DRIVER):
        device("notify_config", times=50)
        device("set_config", config={"max_sectors": 8, "cmd_per_lun": 1, "seg_max": 2, "num_queues": 9})
        guest.run(read, check=True)
    assert len(device.lines("config_change")) == 51

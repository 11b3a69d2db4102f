# SPDX-License-Identifier: GPL-2.0
"""Configuration spaces and features of every kind, behind the door where both are the device's own."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from conftest import OURS, Boots
from guest import Guest, Result
from guest.device import TestDevice

# What the driver says of limits that it had to correct.
ALLOW = [r"virtio_scsi_rs virtio\d+: "]

READABLE = "test -e /dev/sda && dd if=/dev/sda bs=64k count=16 iflag=direct | cmp -n 1048576 - /dev/zero"

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
    "more queues than there are": ({"num_queues": 2}, "and 2 request queues could not be made"),
    "all ones": (
        dict.fromkeys(("num_queues", "seg_max", "max_sectors", "cmd_per_lun"), 0xFFFFFFFF),
        "request queues could not be made",
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
    "max_channel": 0,
    "max_target": 255,
    "max_lun": 16383,
}


@dataclass
class Shared:
    device: TestDevice
    guest: Guest

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
    return Shared(device, boot_shared(**device.door("test"), module=None, allow=ALLOW))


@pytest.mark.parametrize("name", USABLE)
def test_usable_configuration(shared: Shared, name: str) -> None:
    mark = shared.device.mark()
    shared.load(USABLE[name])
    shared.guest.wait_until(READABLE)
    shared.unload()
    assert shared.device.since(mark, "violation") == []


@pytest.mark.parametrize("name", UNUSABLE)
def test_unusable_configuration(shared: Shared, name: str) -> None:
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


def test_more_queues_than_exist(serve: Callable[..., TestDevice], boot: Callable[..., Guest]) -> None:
    """The transport has fewer queues than the configuration says: no device, and no crash."""
    device = serve({"device": {"request_queues": 2}, "unit": [{"size": "4M"}]})
    device("set_config", config={"num_queues": 65535}, notify=False)
    guest = boot(**device.door("test"), smp=4, allow=ALLOW, module=None)
    guest.run(f"insmod {guest.driver.path}")
    guest.run("sleep 1; ls -d /sys/class/scsi_host/host*")
    guest.wait_until(f"rmmod {guest.driver.name}")


FEATURES: dict[str, list[str | int]] = {
    "nothing but version 1": ["version_1"],
    "no indirect descriptors": ["hotplug", "change", "event_idx", "version_1"],
    "no event index": ["hotplug", "change", "indirect_desc", "version_1"],
    "no hotplug": ["change", "indirect_desc", "event_idx", "version_1"],
    "packed": ["hotplug", "change", "indirect_desc", "event_idx", "version_1", "ring_packed"],
    "packed without the rest": ["version_1", "ring_packed"],
    "unknown bits": ["hotplug", "version_1", 5, 22, 45, 63],
}


@pytest.mark.parametrize("name", FEATURES)
def test_features(serve: Callable[..., TestDevice], boot: Callable[..., Guest], name: str) -> None:
    device = serve({"device": {"features": FEATURES[name]}, "unit": [{"size": "4M"}]})
    guest = boot(**device.door("test"))
    guest.wait_until(READABLE)
    acked = int(device("stats")["acked"], 16)
    bits = {5, 22, 45, 63}
    assert not any(acked >> bit & 1 for bit in bits)
    assert bool(acked >> 34 & 1) == ("ring_packed" in FEATURES[name])
    # The firmware, which uses the first request queue alone, knows only split rings.
    assert {line["packed"] for line in device.lines("queue_start", queue=0)} == {
        "ring_packed" in FEATURES[name]
    }
    guest.run("dd if=/dev/urandom of=/tmp/d bs=64k count=32 && dd if=/tmp/d of=/dev/sda bs=64k oflag=direct")
    guest.run("dd if=/dev/sda bs=16k count=128 iflag=direct | cmp - /tmp/d", check=True)
    guest.unload()
    guest.load()
    guest.wait_until("test -e /dev/sda && dd if=/dev/sda bs=64k count=32 iflag=direct | cmp - /tmp/d")
    assert device.lines("violation") == []


def test_config_change_notifications(serve: Callable[..., TestDevice], boot: Callable[..., Guest]) -> None:
    """Told of changes at any time, and of other values: the driver goes on."""
    device = serve({"unit": [{"size": "4M"}]})
    guest = boot(**device.door("test"), allow=ALLOW)
    guest.wait_until(READABLE)
    device("notify_config", times=50)
    device("set_config", config={"max_sectors": 8, "cmd_per_lun": 1, "seg_max": 2, "num_queues": 9})
    guest.run(READABLE, check=True)
    assert len(device.lines("config_change")) == 51

# SPDX-License-Identifier: GPL-2.0
"""The scripted device behind QEMU's doors."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from guest import QemuGuest
from guest.device import DOORS, TestDevice

pytestmark = [pytest.mark.device, pytest.mark.compare]


SCENARIO = {
    "device": {"request_queues": 2},
    "unit": [
        {"target": 0, "lun": 0, "size": "32M", "thin": True},
        {"target": 0, "lun": 1, "size": "16M", "block_size": 4096},
        {"target": 3, "lun": 300, "size": "16M"},
        {"target": 5, "lun": 0, "kind": "cdrom", "size": "4M"},
    ],
}

NODES = "ls -d /sys/bus/scsi/devices/*:*/block/* 2>/dev/null"


@pytest.mark.parametrize("door", DOORS)
def test_disks_work(door: str, serve: Callable[..., TestDevice], boot: Callable[..., QemuGuest]) -> None:
    """Every unit is found, keeps data and a file system; the driver breaks no rule of the specification."""
    device = serve(SCENARIO)
    guest = boot(**device.door(door))
    guest.wait_until(f'test "$({NODES} | wc -l)" -eq 4')
    found = {Path(node).parts[5].partition(":")[2]: Path(node).name for node in guest.out(NODES).splitlines()}
    assert set(found) == {"0:0:0", "0:0:1", "0:3:16684", "0:5:0"}

    data = os.urandom(2 << 20)
    guest.push("/tmp/data", data)
    for unit in ("0:0:0", "0:0:1", "0:3:16684"):
        node = f"/dev/{found[unit]}"
        guest.run(f"dd if=/tmp/data of={node} bs=128k oflag=direct conv=fsync", check=True)
        guest.run(f"dd if={node} bs=64k count=32 iflag=direct | cmp - /tmp/data", check=True)
    disk = f"/dev/{found['0:0:0']}"
    guest.run(f"mke2fs -q -t ext4 {disk} && mkdir -p /mnt && mount -o discard {disk} /mnt", check=True)
    guest.run("cp /tmp/data /mnt/a && sync && cmp /mnt/a /tmp/data && rm /mnt/a && umount /mnt", check=True)
    guest.run(f"e2fsck -fn {disk}", check=True)
    guest.unload()
    commands = device("stats")["stats"]["commands"]
    assert {"INQUIRY", "REPORT_LUNS", "READ_10", "WRITE_10", "SYNCHRONIZE_CACHE_10", "UNMAP"} <= set(commands)
    assert device.lines("violation") == []
    assert not device("waiting")["waiting"]

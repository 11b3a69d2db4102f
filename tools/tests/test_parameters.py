# SPDX-License-Identifier: GPL-2.0
"""Module parameters: what they do, as sysfs shows it, and that wrong ones are refused with a reason.

One guest loads and unloads the module many times.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from guest import MEGABYTE, Controller, Disk, QemuGuest, fio, sysfs
from guest.guest import OUR_MODULE

pytestmark = [pytest.mark.main, pytest.mark.ours("is about our module's parameters")]


PARAMETERS = "poll_queues request_queues queue_depth max_units".split()


@pytest.fixture(scope="module")
def guest(boot_shared: Callable[..., QemuGuest], scratch_shared: Path) -> QemuGuest:
    disk = Disk(0, 0, 16 * MEGABYTE, scratch_shared / "disk.img")
    return boot_shared([Controller([disk], {"num_queues": 4})], smp=4, module=None)


@contextmanager
def loaded(guest: QemuGuest, parameters: str) -> Iterator[Disk]:
    guest.load("ours", parameters)
    try:
        yield guest.disks[0]
    finally:
        guest.unload()


@pytest.mark.parametrize(
    ("parameters", "kinds"),
    [
        ("", ["default"] * 4),
        ("request_queues=1", ["default"]),
        ("request_queues=3", ["default"] * 3),
        ("request_queues=65533", ["default"] * 4),
        ("poll_queues=1", ["default"] * 3 + ["poll"]),
        ("request_queues=3 poll_queues=2", ["default"] + ["poll"] * 2),
        ("poll_queues=100", ["default"] + ["poll"] * 3),
    ],
)
def test_queues_are_as_many_as_the_parameters_say(
    guest: QemuGuest, parameters: str, kinds: list[str]
) -> None:
    with loaded(guest, parameters) as disk:
        assert [kind for kind, _ in sysfs.hardware_queues(guest, disk)] == kinds
        assert sysfs.host_limit(guest, "nr_hw_queues") == len(kinds)
        lines = [line for line in sysfs.interrupts(guest) if line.name.endswith("-request")]
        assert len(lines) == kinds.count("default")
        said = guest.out("dmesg | grep 'poll queues' | tail -n 1")
        assert f"{kinds.count('default')}/0/{kinds.count('poll')} default/read/poll queues" in said
        fio.write_verified(guest, guest.node(disk), size="2M")


@pytest.mark.parametrize(
    ("parameters", "depth"),
    [
        ("", 128),
        ("queue_depth=0", 128),
        ("queue_depth=1", 1),
        ("queue_depth=7", 7),
        ("queue_depth=32767", 128),
    ],
)
def test_queue_depth_is_an_upper_limit(guest: QemuGuest, parameters: str, depth: int) -> None:
    """It is an upper limit: a device that takes 128 is not given more."""
    with loaded(guest, parameters) as disk:
        assert sysfs.device_attribute(guest, disk, "queue_depth") == str(depth)
        assert sysfs.host_limit(guest, "cmd_per_lun") == depth
        fio.write_verified(guest, guest.node(disk), size="2M")


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ("queue_depth=40000", "queue_depth is more than 32767"),
        ("queue_depth=32768", "queue_depth is more than 32767"),
        ("poll_queues=4 request_queues=4", "poll_queues has to be less than request_queues"),
        ("poll_queues=5 request_queues=1", "poll_queues has to be less than request_queues"),
        ("request_queues=65534", "request_queues is more than 65533"),
        ("poll_queues=65534", "poll_queues is more than 65533"),
        ("recovery_wait=2", "recovery_wait=2 is not from 0 to 1"),
        ("recovery_step=0", "recovery_step=0 is not from 1 to 3600"),
        ("recovery_step=3601", "recovery_step=3601 is not from 1 to 3600"),
        ("recovery_patience=2147484", "recovery_patience=2147484 is not from 0 to 2147483"),
        ("recovery_report=-1", "`-1' invalid for parameter `recovery_report'"),
        ("queue_depth=many", "`many' invalid for parameter `queue_depth'"),
        ("poll_queues=-1", "`-1' invalid for parameter `poll_queues'"),
        ("request_queues=4294967296", "`4294967296' .* parameter `request_queues'"),
        ("poll_queues=", "`' invalid for parameter `poll_queues'"),
    ],
)
def test_bad_value_is_refused(guest: QemuGuest, parameters: str, reason: str) -> None:
    with guest.allowing("virtio_scsi_rs: "):
        before = len(guest.dmesg().splitlines())
        result = guest.run(f"insmod {OUR_MODULE} {parameters}")
        said = "\n".join(guest.dmesg().splitlines()[before:])
    assert result.rc == 1, result
    assert re.search("Invalid parameters|Invalid argument|Numerical result out of range", result.stderr)
    assert re.search(f"virtio_scsi_rs: {reason}", said), said
    assert "virtio_scsi_rs" not in guest.out("cat /proc/modules")


def test_module_loads_after_a_refusal(guest: QemuGuest) -> None:
    with guest.allowing("queue_depth is more"):
        assert guest.run(f"insmod {OUR_MODULE} queue_depth=40000").rc == 1
    with loaded(guest, "queue_depth=9") as disk:
        assert sysfs.device_attribute(guest, disk, "queue_depth") == "9"


def test_modinfo_documents_each_parameter(guest: QemuGuest) -> None:
    """Each parameter says what it does and what its default is, and udev finds the module by its alias."""
    said = guest.out(f"modinfo {OUR_MODULE}")
    documented = dict(re.findall(r"^parm: +(\w+):(.*)$", said, re.MULTILINE))
    types = dict(re.findall(r"^parmtype: +(\w+):(.*)$", said, re.MULTILINE))
    for name in PARAMETERS:
        assert re.search(r"\(default: \w.*\)( \(\w+\))?$", documented[name]), documented[name]
        assert "uint" in types.get(name, documented[name]) or "u32" in documented[name]
    assert set(PARAMETERS) <= set(documented)
    assert re.search(r"^alias: +virtio:d00000008v\*$", said, re.MULTILINE)
    assert re.search(r"^license: +GPL", said, re.MULTILINE)
    assert re.search(r"^description: +\S", said, re.MULTILINE)

# SPDX-License-Identifier: GPL-2.0
"""lsscsi and sg3_utils: what the logical units say of themselves, and commands of every length.

What a command returns is compared with what QEMU was told to be and with the image behind it. Where
QEMU's disk refuses a command, its sense has to arrive.
"""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from guest import QemuGuest
from support import sg3
from support.scsi_units import (
    BAD_OPCODE,
    BLOCK,
    INVALID_OPCODE,
    NO_MEDIUM,
    NOT_READY,
    READ_32,
    SERIAL,
    WWN,
    QemuUnits,
    Units,
)

pytestmark = [pytest.mark.main, pytest.mark.ours("names our module, and runs both drivers by itself")]


@pytest.fixture(scope="module")
def units(boot_shared: Callable[..., QemuGuest], scratch_shared: Path) -> QemuUnits:
    return QemuUnits(boot_shared, scratch_shared / "ours", "ours")


fresh = sg3.fresh


def test_lsscsi_lists_each_unit(units: Units) -> None:
    guest, host = units.guest, units.guest.host()
    lines = [re.split(r"\s{2,}|(?<=\]) ", line.strip()) for line in guest.out("lsscsi -gs").splitlines()]
    disk, scratch, large, blocks4k, cdrom = units.all
    assert lines == [
        [f"[{host}:0:0:0]", "disk", "DEBIAN", "RUST DISK", "7.3", disk.node, disk.sg, "67.1MB"],
        [f"[{host}:0:0:16684]", "disk", "QEMU", "QEMU HARDDISK", "2.5+", scratch.node, scratch.sg, "33.5MB"],
        [f"[{host}:0:1:0]", "disk", "QEMU", "QEMU HARDDISK", "2.5+", large.node, large.sg, "4.39TB"],
        [f"[{host}:0:1:1]", "disk", "QEMU", "QEMU HARDDISK", "2.5+", blocks4k.node, blocks4k.sg, "1.07GB"],
        [f"[{host}:0:2:0]", "cd/dvd", "QEMU", "QEMU CD-ROM", "2.5+", cdrom.node, cdrom.sg, lines[4][7]],
    ]
    assert re.findall(r"\] *(\S+)", guest.out("lsscsi -H")) == ["virtio_scsi_rs"] * 2
    assert f"{WWN:x}" in guest.out(f"lsscsi -U {host}:0:0:0")
    assert "queue_depth=128 scsi_level=6" in guest.out(f"lsscsi -l {host}:0:0:0")


def test_inquiry_says_what_the_disk_is(units: Units) -> None:
    said = units.guest.out(f"sg_inq {units.disk.node}")
    for line in (
        "Vendor identification: DEBIAN",
        "Product identification: RUST DISK",
        "Product revision level: 7.3",
        "Peripheral device type: disk",
        "CmdQue=1",
    ):
        assert line in said
    assert "Peripheral device type: cd/dvd" in units.guest.out(f"sg_inq {units.cdrom.node}")


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ("sv", ["Unit serial number [sn]", "Device identification [di]", "Block limits (SBC) [bl]"]),
        ("sn", [f"Product serial number: {SERIAL}"]),
        ("di", [f"vendor specific: {SERIAL}", f"0x{WWN:x}"]),
        ("bl", ["Maximum unmap LBA count: 0x200000", "Maximum write same length: 0x3fffff"]),
        ("bdc", ["Medium rotation rate is not reported"]),
        ("lbpv", ["LBPU=1", "LBPWS=1", "LBPWS10=1", "thin provisioned"]),
    ],
)
def test_vpd_pages_are_read(units: Units, page: str, expected: list[str]) -> None:
    said = units.guest.out(f"sg_vpd -p {page} {units.disk.node}")
    assert [line for line in expected if line not in said] == []


test_vpd_page_that_is_not_there_has_sense = sg3.test_vpd_page_that_is_not_there_has_sense
test_luns_are_listed = sg3.test_luns_are_listed
test_turs_are_counted = sg3.test_turs_are_counted
test_readcap_has_the_size = sg3.test_readcap_has_the_size
test_readcap_says_that_a_disk_is_too_large = sg3.test_readcap_says_that_a_disk_is_too_large
test_modes_are_read = sg3.test_modes_are_read


def test_opcodes_is_refused(units: Units) -> None:
    """QEMU's disk has no REPORT SUPPORTED OPERATION CODES."""
    result = units.guest.run(f"sg_opcodes -v {units.disk.node} 2>&1")
    assert result.rc == BAD_OPCODE
    assert INVALID_OPCODE in result.stdout


def test_requests_has_the_sense_once(units: Units) -> None:
    """REQUEST SENSE gives what the command before it left, once."""
    assert units.disk.raw("ff 00 00 00 00 00").rc == BAD_OPCODE
    assert INVALID_OPCODE in units.guest.out(f"sg_requests {units.disk.node} 2>&1")
    assert "Sense key: No Sense" in units.guest.out(f"sg_requests {units.disk.node} 2>&1")


def test_verify_reaches_the_device(units: Units) -> None:
    before = units.disk.count()
    units.guest.run(f"sg_verify --count=100 {units.disk.node}", check=True)
    units.guest.run(f"sg_verify --16 --count=100 {units.disk.node}", check=True)
    assert units.disk.count() - before == 2
    # QEMU's disk does not compare, and says so.
    compare = f"sg_verify --bytchk=512 --in=/usr/bin/fio {units.disk.node}"
    assert "bad field in VERIFY(10) cdb" in units.guest.run(compare).stderr


def test_sync_reaches_the_image(units: Units) -> None:
    before = units.scratch.host_count("flush_operations")
    units.guest.run(f"sg_sync {units.scratch.node}", check=True)
    assert units.scratch.host_count("flush_operations") == before + 1
    result = units.guest.run(f"sg_sync --16 {units.scratch.node}")
    assert result.rc == BAD_OPCODE
    assert "Illegal request, Invalid opcode" in result.stderr


def test_start_moves_the_tray(units: Units) -> None:
    """The tray opens and closes, and what is asked of an open one gets sense."""
    cdrom, guest = units.cdrom, units.guest
    with guest.qmp.listen("DEVICE_TRAY_MOVED") as moved:
        guest.run(f"sg_start --eject {cdrom.node}", check=True)
        assert moved.wait(10)["data"]["tray-open"] is True
        result = cdrom.raw("00 00 00 00 00 00")
        assert result.rc == NOT_READY
        assert NO_MEDIUM in result.stderr
        guest.run(f"sg_start --load {cdrom.node}", check=True)
        assert moved.wait(10)["data"]["tray-open"] is False
    guest.wait_until(f"sg_raw {cdrom.node} 00 00 00 00 00 00", timeout=10)
    guest.run(f"sg_start --stop {units.disk.node} && sg_start --start {units.disk.node}", check=True)


test_raw_read_has_the_data = sg3.test_raw_read_has_the_data
test_raw_write_is_on_the_image = sg3.test_raw_write_is_on_the_image


def test_raw_32_byte_cdb_is_answered(units: Units) -> None:
    """READ(32) of one block. QEMU's disk knows no such command; its answer has to come back all the same."""
    assert len(READ_32.split()) == 32
    before = units.disk.count()
    result = units.disk.raw(READ_32, f"-r {BLOCK}")
    assert result.rc == BAD_OPCODE
    assert INVALID_OPCODE in result.stderr
    assert units.disk.count() == before + 1


test_raw_cdb_over_32_bytes_is_refused = sg3.test_raw_cdb_over_32_bytes_is_refused
test_raw_residual_reaches_the_user = sg3.test_raw_residual_reaches_the_user
test_raw_read_overrun_is_an_error = sg3.test_raw_read_overrun_is_an_error
test_raw_write_overrun_writes_nothing = sg3.test_raw_write_overrun_writes_nothing
test_raw_address_out_of_range_has_sense = sg3.test_raw_address_out_of_range_has_sense

# SPDX-License-Identifier: GPL-2.0
"""lsscsi and sg3_utils: what the logical units say of themselves, and commands of every length.

What a command returns is compared with what QEMU was told to be and with the image behind it. Where
QEMU's disk refuses a command, its sense has to arrive.
"""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from guest import Guest, images
from scsi_units import (
    BAD_OPCODE,
    BLOCK,
    FRESH,
    ILLEGAL_REQUEST,
    INVALID_FIELD,
    INVALID_OPCODE,
    LBA_OUT_OF_RANGE,
    MEGABYTE,
    NO_MEDIUM,
    NOT_READY,
    OTHER,
    OUT_OF_RANGE,
    OVERRUN,
    READ_32,
    SERIAL,
    WWN,
    QemuUnits,
    Units,
)


@pytest.fixture(scope="module")
def units(boot_shared: Callable[..., Guest], scratch_shared: Path) -> QemuUnits:
    return QemuUnits(boot_shared, scratch_shared / "ours", "ours")


@pytest.fixture(scope="module")
def fresh(units: Units) -> str:
    """A file in the guest with data that is on no image yet."""
    units.guest.push("/tmp/fresh", FRESH)
    return "/tmp/fresh"


def test_lsscsi(units: Units) -> None:
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


def test_inquiry(units: Units) -> None:
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
def test_vpd(units: Units, page: str, expected: list[str]) -> None:
    said = units.guest.out(f"sg_vpd -p {page} {units.disk.node}")
    assert [line for line in expected if line not in said] == []


def test_vpd_page_that_is_not_there(units: Units) -> None:
    result = units.disk.raw("12 01 99 00 60 00", "-r 96")
    assert result.rc == ILLEGAL_REQUEST
    assert INVALID_FIELD in result.stderr


def test_luns(units: Units) -> None:
    said = units.guest.out(f"sg_luns --decode {units.disk.node}")
    assert "which implies 2 lun entries" in said
    assert "0000000000000000\n      Peripheral device addressing: lun=0" in said
    assert "412c000000000000\n      Flat space addressing: lun=300" in said
    said = units.guest.out(f"sg_luns {units.large.node}").split()
    assert said[-2:] == ["0000000000000000", "0001000000000000"]


def test_turs(units: Units) -> None:
    """Each is a command that the midlayer counts; without --low this version of sg_turs sends none."""
    before = units.disk.count(), units.disk.count("ioerr_cnt")
    said = units.guest.out(f"sg_turs --low -n 200 -v {units.disk.sg} 2>&1")
    assert "Completed 200 Test Unit Ready commands with 0 errors" in said
    after = units.disk.count(), units.disk.count("ioerr_cnt")
    assert (after[0] - before[0], after[1] - before[1]) == (200, 0)


@pytest.mark.parametrize(
    ("name", "option", "blocks", "length"),
    [
        ("disk", "", 64 * MEGABYTE // 512, 512),
        ("disk", "--16", 64 * MEGABYTE // 512, 512),
        ("large", "--16", (4 << 40) // 512, 512),
        ("blocks4k", "", (1 << 30) // 4096, 4096),
        ("blocks4k", "--16", (1 << 30) // 4096, 4096),
    ],
)
def test_readcap(units: Units, name: str, option: str, blocks: int, length: int) -> None:
    node = getattr(units, name).node
    assert units.guest.out(f"sg_readcap -b {option} {node}") == f"0x{blocks:x} 0x{length:x}"


def test_readcap_of_too_large_a_disk(units: Units) -> None:
    said = units.guest.out(f"sg_readcap {units.large.node}")
    assert "READ CAPACITY (10) indicates device capacity too large" in said
    assert "Last LBA=8589934591 " in said


def test_modes(units: Units) -> None:
    said = units.guest.out(f"sg_modes -p 8 {units.disk.node}")
    assert "Mode parameter header from MODE SENSE(10)" in said
    assert ">> Caching, page_control: current\n 00     08 12 04 00" in said  # 04: write cache enabled
    six = units.guest.out(f"sg_modes -6 -p 8 {units.disk.node}")
    assert "Mode parameter header from MODE SENSE(6)" in six
    assert six.partition(">> ")[2] == said.partition(">> ")[2]
    assert ">> MM capabilities" in units.guest.out(f"sg_modes -p 0x3f {units.cdrom.node}")


def test_opcodes_is_refused(units: Units) -> None:
    """QEMU's disk has no REPORT SUPPORTED OPERATION CODES."""
    result = units.guest.run(f"sg_opcodes -v {units.disk.node} 2>&1")
    assert result.rc == BAD_OPCODE
    assert INVALID_OPCODE in result.stdout


def test_requests(units: Units) -> None:
    """REQUEST SENSE gives what the command before it left, once."""
    assert units.disk.raw("ff 00 00 00 00 00").rc == BAD_OPCODE
    assert INVALID_OPCODE in units.guest.out(f"sg_requests {units.disk.node} 2>&1")
    assert "Sense key: No Sense" in units.guest.out(f"sg_requests {units.disk.node} 2>&1")


def test_verify(units: Units) -> None:
    before = units.disk.count()
    units.guest.run(f"sg_verify --count=100 {units.disk.node}", check=True)
    units.guest.run(f"sg_verify --16 --count=100 {units.disk.node}", check=True)
    assert units.disk.count() - before == 2
    # QEMU's disk does not compare, and says so.
    compare = f"sg_verify --bytchk=512 --in=/usr/bin/fio {units.disk.node}"
    assert "bad field in VERIFY(10) cdb" in units.guest.run(compare).stderr


def test_sync(units: Units) -> None:
    before = units.scratch.host_count("flush_operations")
    units.guest.run(f"sg_sync {units.scratch.node}", check=True)
    assert units.scratch.host_count("flush_operations") == before + 1
    result = units.guest.run(f"sg_sync --16 {units.scratch.node}")
    assert result.rc == BAD_OPCODE
    assert "Illegal request, Invalid opcode" in result.stderr


def test_start(units: Units) -> None:
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


@pytest.mark.parametrize(
    "cdb",
    [
        "08 00 12 34 05 00",
        "28 00 00 00 12 34 00 00 05 00",
        "a8 00 00 00 12 34 00 00 00 05 00 00",
        "88 00 00 00 00 00 00 00 12 34 00 00 00 05 00 00",
    ],
    ids=lambda cdb: f"{len(cdb.split())}-bytes",
)
def test_raw_read(units: Units, cdb: str) -> None:
    result = units.disk.raw(cdb, f"-r {5 * BLOCK} -o /tmp/read")
    assert result.rc == 0, result.stderr
    assert units.guest.pull("/tmp/read") == images.part(units.disk.image, 0x1234, 5)


@pytest.mark.parametrize(
    ("cdb", "lba"),
    [
        ("0a 00 01 00 05 00", 0x100),
        ("2a 00 00 00 02 00 00 00 05 00", 0x200),
        ("aa 00 00 00 03 00 00 00 00 05 00 00", 0x300),
        ("8a 00 00 00 00 00 00 00 04 00 00 00 00 05 00 00", 0x400),
    ],
    ids=["6-bytes", "10-bytes", "12-bytes", "16-bytes"],
)
def test_raw_write(units: Units, fresh: str, cdb: str, lba: int) -> None:
    units.scratch.clear(lba - 1, 7)
    result = units.scratch.raw(cdb, f"-s {5 * BLOCK} -i {fresh}")
    assert result.rc == 0, result.stderr
    written = images.part(units.scratch.image, lba - 1, 7)
    assert written == bytes(BLOCK) + FRESH[: 5 * BLOCK] + bytes(BLOCK)


def test_raw_32_byte_cdb(units: Units) -> None:
    """READ(32) of one block. QEMU's disk knows no such command; its answer has to come back all the same."""
    assert len(READ_32.split()) == 32
    before = units.disk.count()
    result = units.disk.raw(READ_32, f"-r {BLOCK}")
    assert result.rc == BAD_OPCODE
    assert INVALID_OPCODE in result.stderr
    assert units.disk.count() == before + 1


def test_raw_cdb_over_32_bytes_is_refused(units: Units) -> None:
    """It never gets to the driver, and the next command is served as ever."""
    result = units.disk.raw("12 00 00 00 24 00" + " 00" * 30, "-r 36")
    assert "Invalid argument" in result.stderr
    assert units.disk.raw("12 00 00 00 24 00", "-r 36").rc == 0


def test_raw_residual(units: Units) -> None:
    """A buffer that is larger than the data: the midlayer hears how much came."""
    result = units.disk.raw("12 00 00 00 24 00", "-r 4096 -o /tmp/inquiry")
    assert result.rc == 0, result.stderr
    assert "Writing 36 bytes of data" in result.stderr
    assert units.guest.pull("/tmp/inquiry")[8:32] == units.identity
    result = units.disk.raw("25 00 00 00 00 00 00 00 00 00", "-r 512")
    assert "Received 8 bytes of data" in result.stdout + result.stderr


@pytest.mark.parametrize(
    ("cdb", "options"),
    [
        ("12 00 00 00 24 00", "-r 8"),
        ("28 00 00 00 00 00 00 00 02 00", f"-r {BLOCK}"),
        ("28 00 00 00 00 00 00 00 02 00", ""),
        ("28 00 00 00 00 00 00 00 02 00", f"-s {2 * BLOCK} -i /usr/bin/fio"),
    ],
    ids=["inquiry", "read", "read-without-buffer", "read-with-data-out"],
)
def test_raw_read_overrun(units: Units, cdb: str, options: str) -> None:
    result = units.disk.raw(cdb, options)
    assert result.rc == OTHER
    assert OVERRUN in result.stderr


@pytest.mark.parametrize(
    "options",
    [f"-s {BLOCK} -i /tmp/fresh", "", f"-r {2 * BLOCK}"],
    ids=["short", "without-buffer", "with-data-in"],
)
def test_raw_write_overrun(units: Units, fresh: str, options: str) -> None:
    """Nothing of a command that does not fit gets to the disk."""
    before = images.part(units.scratch.image, 0x800, 2)
    result = units.scratch.raw("2a 00 00 00 08 00 00 00 02 00", options)
    assert result.rc == OTHER
    assert OVERRUN in result.stderr
    assert images.part(units.scratch.image, 0x800, 2) == before


def test_raw_address_out_of_range(units: Units) -> None:
    result = units.disk.raw("28 00 7f ff ff ff 00 00 01 00", f"-r {BLOCK}")
    assert result.rc == LBA_OUT_OF_RANGE
    assert OUT_OF_RANGE in result.stderr

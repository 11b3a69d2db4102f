# SPDX-License-Identifier: GPL-2.0
"""Tests with sg3_utils that any device has to pass. They use the Units of scsi_units.py."""

import pytest

from guest import MEGABYTE, fio, images
from support.scsi_units import (
    BLOCK,
    DATA,
    FRESH,
    ILLEGAL_REQUEST,
    INVALID_FIELD,
    LBA_OUT_OF_RANGE,
    OTHER,
    OUT_OF_RANGE,
    OVERRUN,
    UNIT_ATTENTION,
    Units,
)


@pytest.fixture(scope="module")
def fresh(units: Units) -> str:
    """A file in the guest with data that is on no image yet."""
    units.guest.push("/tmp/fresh", FRESH)
    return "/tmp/fresh"


def test_vpd_page_that_is_not_there_has_sense(units: Units) -> None:
    result = units.disk.raw("12 01 99 00 60 00", "-r 96")
    assert result.rc == ILLEGAL_REQUEST
    assert INVALID_FIELD in result.stderr


def test_luns_are_listed(units: Units) -> None:
    said = units.guest.out(f"sg_luns --decode {units.disk.node}")
    assert "which implies 2 lun entries" in said
    assert "0000000000000000\n      Peripheral device addressing: lun=0" in said
    assert "412c000000000000\n      Flat space addressing: lun=300" in said
    said = units.guest.out(f"sg_luns {units.large.node}").split()
    assert said[-2:] == ["0000000000000000", "0001000000000000"]


def test_turs_are_counted(units: Units) -> None:
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
def test_readcap_has_the_size(units: Units, name: str, option: str, blocks: int, length: int) -> None:
    node = getattr(units, name).node
    assert units.guest.out(f"sg_readcap -b {option} {node}") == f"0x{blocks:x} 0x{length:x}"


def test_readcap_says_that_a_disk_is_too_large(units: Units) -> None:
    said = units.guest.out(f"sg_readcap {units.large.node}")
    assert "READ CAPACITY (10) indicates device capacity too large" in said
    assert "Last LBA=8589934591 " in said


def test_modes_are_read(units: Units) -> None:
    said = units.guest.out(f"sg_modes -p 8 {units.disk.node}")
    assert "Mode parameter header from MODE SENSE(10)" in said
    assert ">> Caching, page_control: current\n 00     08 12 04 00" in said  # 04: write cache enabled
    six = units.guest.out(f"sg_modes -6 -p 8 {units.disk.node}")
    assert "Mode parameter header from MODE SENSE(6)" in six
    assert six.partition(">> ")[2] == said.partition(">> ")[2]
    assert ">> MM capabilities" in units.guest.out(f"sg_modes -p 0x3f {units.cdrom.node}")


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
def test_raw_read_has_the_data(units: Units, cdb: str) -> None:
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
def test_raw_write_is_on_the_image(units: Units, fresh: str, cdb: str, lba: int) -> None:
    units.scratch.clear(lba - 1, 7)
    result = units.scratch.raw(cdb, f"-s {5 * BLOCK} -i {fresh}")
    assert result.rc == 0, result.stderr
    written = images.part(units.scratch.image, lba - 1, 7)
    assert written == bytes(BLOCK) + FRESH[: 5 * BLOCK] + bytes(BLOCK)


def test_raw_cdb_over_32_bytes_is_refused(units: Units) -> None:
    """It never gets to the driver, and the next command is served as ever."""
    result = units.disk.raw("12 00 00 00 24 00" + " 00" * 30, "-r 36")
    assert "Invalid argument" in result.stderr
    assert units.disk.raw("12 00 00 00 24 00", "-r 36").rc == 0


def test_raw_residual_reaches_the_user(units: Units) -> None:
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
def test_raw_read_overrun_is_an_error(units: Units, cdb: str, options: str) -> None:
    result = units.disk.raw(cdb, options)
    assert result.rc == OTHER
    assert OVERRUN in result.stderr


@pytest.mark.parametrize(
    "options",
    [f"-s {BLOCK} -i /tmp/fresh", "", f"-r {2 * BLOCK}"],
    ids=["short", "without-buffer", "with-data-in"],
)
def test_raw_write_overrun_writes_nothing(units: Units, fresh: str, options: str) -> None:
    """Nothing of a command that does not fit gets to the disk."""
    before = images.part(units.scratch.image, 0x800, 2)
    result = units.scratch.raw("2a 00 00 00 08 00 00 00 02 00", options)
    assert result.rc == OTHER
    assert OVERRUN in result.stderr
    assert images.part(units.scratch.image, 0x800, 2) == before


def test_raw_address_out_of_range_has_sense(units: Units) -> None:
    result = units.disk.raw("28 00 7f ff ff ff 00 00 01 00", f"-r {BLOCK}")
    assert result.rc == LBA_OUT_OF_RANGE
    assert OUT_OF_RANGE in result.stderr


@pytest.mark.parametrize("cdb_size", [6, 10, 12, 16])
def test_sg_dd_reads(units: Units, cdb_size: int) -> None:
    copy = f"sg_dd if={units.disk.sg} of=/tmp/copy bs=512 count=2000 skip=3 bpt=100 cdbsz={cdb_size}"
    units.guest.run(copy, check=True)
    assert units.guest.pull("/tmp/copy") == DATA[3 * BLOCK :][: 2000 * BLOCK]


@pytest.mark.parametrize("cdb_size", [6, 10, 12, 16])
def test_sg_dd_writes(units: Units, cdb_size: int) -> None:
    lba = 0x1000 + cdb_size * 0x100
    units.scratch.clear(lba - 1, 202)
    copy = f"sg_dd if=/tmp/fresh of={units.scratch.sg} bs=512 count=200 seek={lba} bpt=64 cdbsz={cdb_size}"
    units.guest.run(copy, check=True)
    written = images.part(units.scratch.image, lba - 1, 202)
    assert written == bytes(BLOCK) + FRESH[: 200 * BLOCK] + bytes(BLOCK)


@pytest.mark.parametrize("command", ["sgp_dd thr=8", "sgm_dd", "sg_dd blk_sgio=1"])
def test_copying_from_disk_to_disk_keeps_data(units: Units, command: str) -> None:
    """sgp_dd has up to eight commands in flight on each side."""
    units.guest.run(f"blkdiscard {units.scratch.node}", check=True)
    ends = f"if={units.disk.sg} of={units.scratch.sg}"
    units.guest.run(f"{command} {ends} bs=512 bpt=37 count={len(DATA) // BLOCK}", check=True)
    assert images.part(units.scratch.image, 0, len(DATA) // BLOCK) == DATA


@pytest.mark.parametrize(
    ("options", "fill"),
    [
        ("--10 --in=/tmp/fresh --xferlen=512", FRESH[:BLOCK]),
        ("--16 --in=/tmp/fresh --xferlen=512", FRESH[:BLOCK]),
        ("--10 --ff", b"\xff" * BLOCK),
        ("--16 --unmap", bytes(BLOCK)),
    ],
    ids=["10", "16", "10-ones", "16-unmap"],
)
def test_write_same_writes_each_block(units: Units, options: str, fill: bytes) -> None:
    scratch = units.scratch
    old = b"\x55" * BLOCK
    images.put(scratch.image, 0x4000, old * 66)
    units.guest.run(f"sg_write_same {options} --lba=0x4001 --num=64 {scratch.node}", check=True)
    assert images.part(scratch.image, 0x4000, 66) == old + fill * 64 + old


def test_reset_of_a_logical_unit_reaches_the_device(units: Units) -> None:
    """The reset gets to the device, whose next answer is that it was reset."""
    units.guest.run(f"sg_reset -d {units.disk.sg}", check=True)
    result = units.disk.raw("00 00 00 00 00 00")
    assert result.rc == UNIT_ATTENTION
    assert units.was_reset in result.stderr
    assert units.disk.raw("00 00 00 00 00 00").rc == 0


def test_resets_lose_no_data(units: Units) -> None:
    """What is in flight during a reset is sent again: no error, and the data is right."""
    job = fio.start(units.guest, units.scratch.node, **fio.write_options(size="24M", loops=2))
    resets = 0
    while not job.done():
        units.guest.run(f"sg_reset -d {units.scratch.sg}", check=True)
        resets += 1
    done = fio.Job.of(job.wait())
    assert (done.error, done.result.rc) == (0, 0), done.said
    assert resets >= 3
    assert 2 * 24 * MEGABYTE <= done.written <= done.read


def test_scan_finds_a_deleted_unit_again(units: Units) -> None:
    """The midlayer asks for the LUNs, or tries them one after the other; both ways find the same."""
    guest, host = units.guest, units.guest.host()
    before = guest.out("lsscsi").split()
    guest.run(f"echo 1 >/sys/bus/scsi/devices/{host}:0:0:16684/delete", check=True)
    assert "16684" not in guest.out("lsscsi")
    guest.run(f"echo '- - -' >/sys/class/scsi_host/host{host}/scan", check=True)
    assert guest.out("lsscsi").split() == before
    guest.settle()

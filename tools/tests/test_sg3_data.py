# SPDX-License-Identifier: GPL-2.0
"""sg3_utils that move, unmap or look for data, resets under I/O, and all beside the kernel's own driver.

The last test sends the same commands through the C driver on the same machine: every answer has to be
the same to the letter.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from guest import QemuGuest, images, make_iso
from support import sg3
from support.scsi_units import BLOCK, DATA, FRESH, READ_32, QemuUnits, Units

pytestmark = [pytest.mark.main, pytest.mark.ours("names our module, and runs both drivers by itself")]


@pytest.fixture(scope="module")
def units(boot_shared: Callable[..., QemuGuest], scratch_shared: Path) -> QemuUnits:
    units = QemuUnits(boot_shared, scratch_shared / "ours", "ours")
    units.guest.push("/tmp/fresh", FRESH)
    return units


def holes(image: Path, lba: int, blocks: int) -> bool:
    """Whether a range of an image takes no room at all."""
    with open(image, "rb") as data:
        try:
            return os.lseek(data.fileno(), lba * BLOCK, os.SEEK_DATA) >= (lba + blocks) * BLOCK
        except OSError:
            return True  # no data up to the end


test_sg_dd_reads = sg3.test_sg_dd_reads
test_sg_dd_writes = sg3.test_sg_dd_writes
test_copying_from_disk_to_disk_keeps_data = sg3.test_copying_from_disk_to_disk_keeps_data


def test_unmapped_blocks_leave_the_image(units: Units) -> None:
    """What is unmapped reads as zeros and leaves the image; what is around it stays."""
    scratch = units.scratch
    units.guest.run(f"dd if=/tmp/fresh of={scratch.node} bs=64k oflag=direct", check=True)
    before = scratch.host_count("unmap_operations")
    units.guest.run(f"sg_unmap --force --lba=256,1024 --num=512,256 {scratch.node}", check=True)
    assert scratch.host_count("unmap_operations") - before == 2
    kept = bytearray(FRESH)
    for lba, blocks in ((256, 512), (1024, 256)):
        assert holes(scratch.image, lba, blocks)
        kept[lba * BLOCK : (lba + blocks) * BLOCK] = bytes(blocks * BLOCK)
    assert images.part(scratch.image, 0, len(FRESH) // BLOCK) == kept
    units.guest.run(f"dd if={scratch.node} of=/tmp/back bs=64k count=16 iflag=direct", check=True)
    assert units.guest.pull("/tmp/back") == kept


test_write_same_writes_each_block = sg3.test_write_same_writes_each_block


def test_write_same_32_is_refused(units: Units) -> None:
    """A 32-byte command with data out; QEMU's disk does not know it."""
    before = images.part(units.scratch.image, 0x5000, 8)
    same = "sg_write_same --32 --in=/tmp/fresh --xferlen=512 --lba=0x5000 --num=8"
    result = units.guest.run(f"{same} {units.scratch.node}")
    assert "Write same(32): Illegal request, Invalid opcode" in result.stderr
    assert images.part(units.scratch.image, 0x5000, 8) == before


test_reset_of_a_logical_unit_reaches_the_device = sg3.test_reset_of_a_logical_unit_reaches_the_device
test_resets_lose_no_data = sg3.test_resets_lose_no_data


@pytest.fixture
def plugged(units: QemuUnits) -> Iterator[str]:
    """The address of a disk that is plugged in where nobody tells of it."""
    disk = units.plug
    units.guest.add_disk(disk)
    yield units.guest.address(disk)
    if disk in units.guest.disks:
        units.guest.remove_disk(disk)


def test_rescan_scsi_bus_finds_what_came_and_went(units: QemuUnits, plugged: str) -> None:
    """Scans by hand find what came and what went, and leave the rest alone."""
    guest, host = units.guest, units.guest.host("scsi1")
    others = len(units.all)
    assert plugged not in guest.out("lsscsi")
    found = guest.out(f"rescan-scsi-bus.sh --hosts={host} --ids=0 --alltargets --nosync")
    assert "1 new or changed device(s) found." in found
    assert f"[{plugged}]" in guest.out("lsscsi")
    guest.settle()
    again = guest.out("rescan-scsi-bus.sh --nosync")
    assert "0 new or changed device(s) found." in again
    assert again.count("OLD: ") == others + 1
    guest.remove_disk(units.plug)
    gone = guest.out(f"rescan-scsi-bus.sh --hosts={host} --ids=0 --remove --nosync")
    assert "1 device(s) removed." in gone
    assert f"[{plugged}]" not in guest.out("lsscsi")


test_scan_finds_a_deleted_unit_again = sg3.test_scan_finds_a_deleted_unit_again


SAME_AS_C = """
sg_inq {disk}
sg_inq -i {disk}
sg_inq {cdrom}
sg_vpd -a {disk}
sg_vpd -a {scratch}
sg_vpd -a {large}
sg_vpd -a {cdrom}
sg_luns --decode {disk}
sg_luns --select=1 {large}
sg_luns --select=2 {large}
sg_turs --low -n 20 -v {disk}
sg_readcap -l {disk}
sg_readcap {large}
sg_readcap -l {blocks4k}
sg_readcap {cdrom}
sg_modes -a {disk}
sg_modes -6 -a {disk}
sg_modes -a {cdrom}
sg_modes --page=0x3f,0xff {disk}
sg_opcodes -v {disk}
sg_raw -v {disk} ff 00 00 00 00 00
sg_requests {disk}
sg_requests -d {disk}
sg_verify --count=100 {disk}
sg_verify --bytchk=512 --in=/usr/bin/fio {disk}
sg_sync {scratch}
sg_sync --16 {scratch}
sg_start --stop {disk}
sg_start --start {disk}
sg_start --eject {cdrom}
sg_raw -v {cdrom} 00 00 00 00 00 00
sg_start --load {cdrom}
sg_logs -a {disk}
sg_rbuf {disk}
sg_ident {disk}
sg_persist -k {disk}
sg_get_lba_status {disk}
sg_get_config -b {cdrom}
sg_senddiag -t {disk}
sg_rep_zones {disk}
sg_unmap --force --lba=64 --num=64 {scratch}
sg_unmap --force --lba=0xfffffff0 --num=64 {scratch}
sg_write_same --16 --in=/usr/bin/fio --xferlen=512 --lba=64 --num=64 {scratch}
sg_write_same --16 --in=/usr/bin/fio --xferlen=512 --lba=0xfffffff0 --num=64 {scratch}
sg_write_same --16 --ndob --lba=64 --num=64 {scratch}
sg_write_same --32 --in=/usr/bin/fio --xferlen=512 --lba=64 --num=64 {scratch}
sg_compare_and_write --in=/usr/bin/fio --lba=0 --num=1 {scratch}
sg_reset -d {disk_sg}
sg_raw -v {disk} 00 00 00 00 00 00
sg_raw -v {disk} 00 00 00 00 00 00
sg_raw -v -r 512 {disk} 12 00 00 00 24 00
sg_raw -v -r 8 {disk} 12 00 00 00 24 00
sg_raw -v -r 65536 {disk} 12 01 b0 01 00 00
sg_raw -v -r 512 {disk} 28 00 00 00 00 00 00 00 02 00
sg_raw -v -r 4096 {disk} 28 00 00 00 00 00 00 00 02 00
sg_raw -v {disk} 28 00 00 00 00 00 00 00 02 00
sg_raw -v -r 512 {disk} 28 00 00 00 00 00 00 00 00 00
sg_raw -v -r 512 {disk} 28 00 7f ff ff ff 00 00 01 00
sg_raw -v -r 512 {disk} 28 e0 00 00 00 00 00 00 01 00
sg_raw -v -s 512 -i /usr/bin/fio {scratch} 2a 00 00 00 00 20 00 00 02 00
sg_raw -v -s 4096 -i /usr/bin/fio {scratch} 2a 00 00 00 00 20 00 00 02 00
sg_raw -v {scratch} 2a 00 00 00 00 20 00 00 02 00
sg_raw -v -s 512 -i /usr/bin/fio {disk} 28 00 00 00 00 20 00 00 01 00
sg_raw -v -r 512 {scratch} 2a 00 00 00 00 20 00 00 01 00
sg_raw -v -r 512 {disk} c1 00 00 00 00 20 00 00 01 00
sg_raw -v -r 512 {disk} {read32}
sg_raw -v -s 512 -i /usr/bin/fio {cdrom} 2a 00 00 00 00 20 00 00 01 00
sg_raw -v -r 2048 {cdrom} be 00 00 00 00 10 00 00 01 10 00 00
sg_raw -v -r 2048 {cdrom} 28 00 00 00 00 10 00 00 01 00
sg_raw -v -r 512 {disk_sg} 28 00 00 00 00 00 00 00 02 00
sg_raw -v -r 4096 {disk_sg} 12 00 00 00 24 00
sg_dd if={disk_sg} of=/dev/null bs=512 count=10 skip=131070
"""


def answers(units: Units) -> dict[str, str]:
    """Command -> exit code and all it said, with the names of nodes left out."""
    nodes = {name: getattr(units, name).node for name in ("disk", "scratch", "large", "blocks4k", "cdrom")}
    nodes["disk_sg"] = units.disk.sg
    nodes["read32"] = READ_32
    said = {}
    for command in SAME_AS_C.strip().splitlines():
        result = units.guest.run(command.format(**nodes))
        text = f"code {result.rc}\n{result.stdout}\n{result.stderr}"
        for name, node in nodes.items():
            text = text.replace(node, name)
        said[command] = text
    return said


def test_same_answers_as_over_the_c_driver(boot: Callable[..., QemuGuest], scratch: Path) -> None:
    iso = make_iso(scratch / "cd.iso", {"data.bin": DATA})
    ours = answers(QemuUnits(boot, scratch / "ours", "ours", iso))
    theirs = answers(QemuUnits(boot, scratch / "c", "c", iso))
    others = [f"$ {each}\n{ours[each]}\n-- but the C driver:\n{theirs[each]}" for each in ours]
    assert [text for text, each in zip(others, ours, strict=True) if ours[each] != theirs[each]] == []
    assert images.digest(scratch / "ours/scratch.img") == images.digest(scratch / "c/scratch.img")

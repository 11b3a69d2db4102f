# SPDX-License-Identifier: GPL-2.0
"""The suites of the data path, with the scripted device behind each of its doors.

The tests that do not depend on what QEMU's own disk can do are those of the other files, run with other
units; the rest is what the scripted one can do beyond it.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from guest import MEGABYTE, Disk, Guest, Result, images, make_iso, sysfs
from guest.device import DOORS, TestDevice
from guest.uml import UmlGuest
from support import data, sg3
from support.boots import OURS, Boots, folder_of, has_failed
from support.data import Disks, each_gets_its_own, many, seen
from support.libiscsi import Verdicts, assert_same, run_suite
from support.scsi_units import (
    BLOCK,
    DATA,
    FRESH,
    ILLEGAL_REQUEST,
    NO_MEDIUM,
    NOT_READY,
    READ_32,
    SERIAL,
    Unit,
    Units,
)

pytestmark = [pytest.mark.device, pytest.mark.compare]


# The tests that any device has to pass.
fresh = sg3.fresh
test_cdrom_reads_as_its_image = data.test_cdrom_reads_as_its_image
test_copying_from_disk_to_disk_keeps_data = sg3.test_copying_from_disk_to_disk_keeps_data
test_ext4_holds_what_was_written = data.test_ext4_holds_what_was_written
test_fio_verifies_what_it_wrote = data.test_fio_verifies_what_it_wrote
test_fio_finds_what_is_damaged = data.test_fio_finds_what_is_damaged
test_several_jobs_of_fio_verify_what_they_wrote = data.test_several_jobs_of_fio_verify_what_they_wrote
test_luns_are_listed = sg3.test_luns_are_listed
test_modes_are_read = sg3.test_modes_are_read
test_raw_address_out_of_range_has_sense = sg3.test_raw_address_out_of_range_has_sense
test_raw_cdb_over_32_bytes_is_refused = sg3.test_raw_cdb_over_32_bytes_is_refused
test_raw_read_has_the_data = sg3.test_raw_read_has_the_data
test_raw_read_overrun_is_an_error = sg3.test_raw_read_overrun_is_an_error
test_raw_residual_reaches_the_user = sg3.test_raw_residual_reaches_the_user
test_raw_write_is_on_the_image = sg3.test_raw_write_is_on_the_image
test_raw_write_overrun_writes_nothing = sg3.test_raw_write_overrun_writes_nothing
test_readcap_has_the_size = sg3.test_readcap_has_the_size
test_readcap_says_that_a_disk_is_too_large = sg3.test_readcap_says_that_a_disk_is_too_large
test_reset_of_a_logical_unit_reaches_the_device = sg3.test_reset_of_a_logical_unit_reaches_the_device
test_resets_lose_no_data = sg3.test_resets_lose_no_data
test_scan_finds_a_deleted_unit_again = sg3.test_scan_finds_a_deleted_unit_again
test_sg_dd_reads = sg3.test_sg_dd_reads
test_sg_dd_writes = sg3.test_sg_dd_writes
test_turs_are_counted = sg3.test_turs_are_counted
test_vpd_page_that_is_not_there_has_sense = sg3.test_vpd_page_that_is_not_there_has_sense
test_write_same_writes_each_block = sg3.test_write_same_writes_each_block

UML = "uml"


def unit_of(disk: Disk) -> dict[str, Any]:
    """A unit of a scenario that is as a disk of QEMU's would be."""
    unit: dict[str, Any] = {"target": disk.target, "lun": disk.lun}
    if disk.cdrom:
        return {**unit, "kind": "cdrom", "file": disk.file}
    if "serial" in disk.props:
        unit["serial"] = disk.props["serial"]
    if disk.file:
        images.make(disk.file, disk.size)
        unit["file"] = disk.file
    return {
        **unit,
        "size": disk.size,
        "block_size": disk.props.get("logical_block_size", BLOCK),
        "thin": True,
    }


def scenario(disks: list[Disk]) -> dict[str, Any]:
    return {"device": {"request_queues": 2}, "unit": [unit_of(disk) for disk in disks]}


class ScriptedUnits(Units):
    """What the tests of sg3_utils are about, as units of a scripted device."""

    identity = b"VSRS    TEST DISK       "
    was_reset = "Sense key: Unit Attention\nAdditional sense: Bus device reset function occurred"

    def __init__(self, folder: Path) -> None:
        files = [folder / f"{name}.img" for name in ("disk", "scratch")]
        self.disks = [
            Disk(0, 0, 64 * MEGABYTE, files[0], props={"serial": SERIAL}),
            Disk(0, 300, 32 * MEGABYTE, files[1]),
            Disk(1, 0, 4 << 40),
            Disk(1, 1, 1 << 30, props={"logical_block_size": 4096}),
            Disk(2, 0, cdrom=True, file=make_iso(folder / "cd.iso", {"data.bin": DATA})),
        ]

    def found_in(self, guest: Guest) -> None:
        self.guest = guest
        self.disk, self.scratch, self.large, self.blocks4k, self.cdrom = (
            Unit(guest, disk) for disk in self.disks
        )


class Door:
    """A way to put scripted devices in front of a guest."""

    def __init__(self, name: str, folder: Path, stack: ExitStack) -> None:
        self.name = name
        self.folder = folder
        self._boots = Boots(folder)
        self._stack = stack
        stack.enter_context(self._boots.stack)

    def guest(self, device: TestDevice, **options: Any) -> Guest:
        if self.name == UML:
            self._stack.enter_context(guest := UmlGuest(self.folder, [device], **options))
            return guest
        guest = self._boots(**device.door(self.name), **options)
        sysfs.wait_for_units(guest, len(device.scenario["unit"]))
        return guest


@pytest.fixture(scope="module", params=[*DOORS, UML])
def door_name(request: pytest.FixtureRequest) -> str:
    """Requests look the same through each door, and test_device_doors.py has a disk behind each: LONG=1 in
    the environment, as in `make compare`, is for all of this through both of QEMU's."""
    name = str(request.param)
    if name == DOORS[1] and not os.environ.get("LONG"):
        pytest.skip("is done through another door, and through this one with LONG=1")
    if name == UML:
        if not (OURS and os.environ.get("UML")):
            pytest.skip("is for our module, with UML=1")
        request.getfixturevalue("uml_module")("kasan")
    return name


@pytest.fixture
def door(door_name: str, logs: Path, module: Path) -> Iterator[Door]:
    with ExitStack() as stack:
        yield Door(door_name, logs, stack)


@pytest.fixture(scope="module")
def shared(
    door_name: str,
    serve_shared: Callable[..., TestDevice],
    module: Path,
    scratch_shared: Path,
    request: pytest.FixtureRequest,
) -> Iterator[tuple[ScriptedUnits, Disks, TestDevice]]:
    """The units of the two suites, in one guest."""
    folder = scratch_shared / door_name
    folder.mkdir(exist_ok=True)
    units, disks = ScriptedUnits(folder), Disks(folder, target=4)
    device = serve_shared(scenario([*units.disks, *disks.all]))
    assert units.disks[0].file
    images.put(units.disks[0].file, 0, DATA)
    failed = request.session.testsfailed
    with ExitStack() as stack:
        guest = Door(door_name, folder_of(request.node) / door_name, stack).guest(device)
        guest.push("/tmp/fresh", FRESH)
        units.found_in(guest)
        disks.guest = guest
        yield units, disks, device
        if request.session.testsfailed > failed:
            guest.give_up()


@pytest.fixture(scope="module")
def units(shared: tuple[ScriptedUnits, Disks, TestDevice]) -> ScriptedUnits:
    return shared[0]


@pytest.fixture(scope="module")
def disks(shared: tuple[ScriptedUnits, Disks, TestDevice]) -> Disks:
    return shared[1]


@pytest.fixture
def device(shared: tuple[ScriptedUnits, Disks, TestDevice]) -> TestDevice:
    return shared[2]


@pytest.fixture(autouse=True)
def _log_stays_clean(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "shared" in request.fixturenames and not has_failed(request.node):
        request.getfixturevalue("units").guest.assert_clean_log()


def commands(device: TestDevice, *names: str) -> list[int]:
    """How many commands of some kinds the device has had."""
    counts = device("stats")["stats"]["commands"]
    return [counts.get(name, 0) for name in names]


def test_lsscsi_lists_each_unit(units: ScriptedUnits) -> None:
    lines = [line.split() for line in units.guest.out("lsscsi").splitlines()]
    address = units.guest.host()
    for unit in (units.disk, units.scratch, units.large, units.blocks4k, units.cdrom):
        where = f"[{address}:0:{unit.disk.target}:{unit.disk.shown_lun}]"
        kind, product = ("cd/dvd", "CD-ROM") if unit.disk.cdrom else ("disk", "DISK")
        assert [where, kind, "VSRS", "TEST", product, "0001", unit.node] in lines


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ("sv", ["Unit serial number [sn]", "Device identification [di]", "Extended inquiry data [ei]"]),
        ("sn", [f"Product serial number: {SERIAL}"]),
        ("di", [f"vendor specific: {SERIAL}", "designator type: NAA"]),
        ("bl", ["Maximum unmap LBA count: 0x", "Maximum write same length: 0x"]),
        ("bdc", ["Nominal form factor", "ZONED=0"]),
        ("lbpv", ["LBPU=1", "LBPWS=1", "LBPWS10=1", "thin provisioned"]),
    ],
)
def test_vpd_pages_are_read(units: ScriptedUnits, page: str, expected: list[str]) -> None:
    said = units.guest.out(f"sg_vpd -p {page} {units.disk.node}")
    assert [line for line in expected if line not in said] == [], said


def test_opcodes_are_those_that_are_answered(units: ScriptedUnits) -> None:
    """What the unit says that it has, and nothing else, is what it answers."""
    said = units.guest.out(f"sg_opcodes {units.disk.node}")
    for name in (
        "Read(6)",
        "Read(16)",
        "Write(16)",
        "Unmap",
        "Write same(10)",
        "Compare and write",
        "Read(32)",
    ):
        assert name in said
    assert "Write buffer" not in said
    assert units.disk.raw("3b 00 00 00 00 00 00 00 00 00").rc != 0


def test_requests_finds_no_sense(units: ScriptedUnits) -> None:
    for option in ("", "--desc"):
        said = units.guest.out(f"sg_requests {option} {units.disk.node} 2>&1")
        assert "Sense key: No Sense" in said


def test_verify_compares(units: ScriptedUnits) -> None:
    """Without data, with the data that is there, and with other data."""
    for option in ("", "--16"):
        units.guest.run(f"sg_verify {option} --count=100 {units.disk.node}", check=True)
    units.guest.push("/tmp/there", DATA[7 * BLOCK :][: 8 * BLOCK])
    compare = f"--lba=7 --count=8 --bytchk={8 * BLOCK} {units.disk.node}"
    units.guest.run(f"sg_verify --in=/tmp/there {compare}", check=True)
    result = units.guest.run(f"sg_verify --in=/tmp/fresh {compare}")
    assert (result.rc, "MISCOMPARE" in result.stderr) == (14, True)


def test_sync_reaches_the_device(units: ScriptedUnits, device: TestDevice) -> None:
    names = ("SYNCHRONIZE_CACHE_10", "SYNCHRONIZE_CACHE_16")
    before = commands(device, *names)
    units.guest.run(f"sg_sync {units.scratch.node} && sg_sync --16 {units.scratch.node}", check=True)
    assert commands(device, *names) == [count + 1 for count in before]


def test_start_moves_the_tray(units: ScriptedUnits) -> None:
    """The tray opens and closes, and what is asked of an open one gets sense."""
    cdrom, guest = units.cdrom, units.guest
    guest.run(f"sg_start --eject {cdrom.node}", check=True)
    result = cdrom.raw("00 00 00 00 00 00")
    assert result.rc == NOT_READY
    assert NO_MEDIUM in result.stderr
    guest.run(f"sg_start --load {cdrom.node}", check=True)
    guest.wait_until(f"sg_raw {cdrom.node} 00 00 00 00 00 00", timeout=10)
    guest.run(f"sg_start --stop {units.disk.node} && sg_start --start {units.disk.node}", check=True)


def test_raw_32_byte_cdbs_read_and_write(units: ScriptedUnits) -> None:
    """READ(32) and WRITE(32) of one block."""
    result = units.disk.raw(READ_32, f"-r {BLOCK} -o /tmp/read")
    assert result.rc == 0, result.stderr
    assert units.guest.pull("/tmp/read") == DATA[:BLOCK]
    lba = 0x700
    units.scratch.clear(lba - 1, 3)
    write = READ_32.replace("00 18 00 09", "00 18 00 0b").split()
    write[18:20] = [f"{lba >> 8:02x}", f"{lba & 0xFF:02x}"]
    result = units.scratch.raw(" ".join(write), f"-s {BLOCK} -i /tmp/fresh")
    assert result.rc == 0, result.stderr
    assert images.part(units.scratch.image, lba - 1, 3) == bytes(BLOCK) + FRESH[:BLOCK] + bytes(BLOCK)


def test_unmapped_blocks_read_as_zeros(units: ScriptedUnits, device: TestDevice) -> None:
    """What is unmapped reads as zeros; what is around it stays."""
    scratch = units.scratch
    units.guest.run(f"dd if=/tmp/fresh of={scratch.node} bs=64k oflag=direct", check=True)
    before = commands(device, "UNMAP")[0]
    units.guest.run(f"sg_unmap --force --lba=256,1024 --num=512,256 {scratch.node}", check=True)
    assert commands(device, "UNMAP") == [before + 1]
    kept = bytearray(FRESH)
    for lba, blocks in ((256, 512), (1024, 256)):
        kept[lba * BLOCK : (lba + blocks) * BLOCK] = bytes(blocks * BLOCK)
    units.guest.run(f"dd if={scratch.node} of=/tmp/back bs=64k count=16 iflag=direct", check=True)
    assert units.guest.pull("/tmp/back") == kept


def test_write_same_32_writes_each_block(units: ScriptedUnits) -> None:
    scratch = units.scratch
    scratch.clear(0x5000 - 1, 10)
    same = "sg_write_same --32 --in=/tmp/fresh --xferlen=512 --lba=0x5000 --num=8"
    units.guest.run(f"{same} {scratch.node}", check=True)
    assert images.part(scratch.image, 0x5000 - 1, 10) == bytes(BLOCK) + FRESH[:BLOCK] * 8 + bytes(BLOCK)


def test_compare_and_write_writes_only_if_equal(units: ScriptedUnits) -> None:
    """It writes if the data is what it is said to be, and says where it is not."""
    scratch, old, new = units.scratch, FRESH[:BLOCK], FRESH[BLOCK : 2 * BLOCK]
    images.put(scratch.image, 0x6000, old + bytes(BLOCK))
    units.guest.push("/tmp/compare", old + new)
    both = f"sg_compare_and_write --in=/tmp/compare --lba=0x6000 --num=1 {scratch.node}"
    units.guest.run(both, check=True)
    assert images.part(scratch.image, 0x6000, 2) == new + bytes(BLOCK)
    result = units.guest.run(both)
    assert (result.rc, "Miscompare at byte offset: 0" in result.stderr) == (14, True)
    assert images.part(scratch.image, 0x6000, 1) == new


def test_persistent_reservation_is_made_and_cleared(units: ScriptedUnits) -> None:
    persist, node = "sg_persist -n --no-inquiry", units.scratch.sg
    units.guest.run(f"{persist} --out --register --param-sark=0xabc {node}", check=True)
    units.guest.run(f"{persist} --out --reserve --param-rk=0xabc --prout-type=1 {node}", check=True)
    assert "Write Exclusive" in units.guest.out(f"{persist} --in --read-reservation {node}")
    units.guest.run(f"{persist} --out --clear --param-rk=0xabc {node}", check=True)
    assert "NO registered" in units.guest.out(f"{persist} --in --read-keys {node}")


def test_wrong_field_is_refused(units: ScriptedUnits) -> None:
    assert units.disk.raw("28 e0 00 00 00 00 00 00 01 00", f"-r {BLOCK}").rc == ILLEGAL_REQUEST


def test_a_synchronous_write_is_flushed(disks: Disks, device: TestDevice) -> None:
    """A synchronous write is followed by a flush, and another one is not."""
    guest, node = disks.guest, disks.guest.node(disks.fio)
    before = commands(device, "SYNCHRONIZE_CACHE_10")[0]
    guest.run(f"dd if=/dev/zero of={node} bs=4k count=20 oflag=direct", check=True)
    assert commands(device, "SYNCHRONIZE_CACHE_10") == [before]
    mark = device.mark()
    guest.run(f"dd if=/dev/zero of={node} bs=4k count=20 oflag=direct,sync", check=True)
    flushes = commands(device, "SYNCHRONIZE_CACHE_10")[0] - before
    through = [line for line in device.since(mark, "request") if line["name"] == "WRITE_10"]
    # The third bit of the second byte says: force unit access.
    through = [line for line in through if int(line["cdb"][2:4], 16) & 8]
    assert flushes >= 20 or len(through) >= 20


def test_the_driver_kept_to_the_rules(device: TestDevice) -> None:
    assert device.lines("violation") == []
    assert not device("waiting")["waiting"]


def test_each_of_many_disks_has_its_own_data(
    serve: Callable[..., TestDevice], door: Door, scratch: Path
) -> None:
    """Each of 64 units, at the edges of addressing, gets its own data."""
    disks = many(scratch)
    guest = door.guest(serve(scenario(disks)))
    found = seen(guest)
    each_gets_its_own(guest, disks, found)


def suite(name: str, folder: Path, **options: Any) -> tuple[Result, Verdicts]:
    """The conformance suite over a disk behind a door."""
    folder.mkdir(parents=True)
    disk = Disk(0, 0, 64 * MEGABYTE, folder / "disk.img", props={"serial": "LIBISCSI"})
    with ExitStack() as stack:
        device = stack.enter_context(TestDevice(folder, scenario([disk])))
        guest = Door(name, folder / "guest", stack).guest(device, **options)
        said = run_suite(guest, guest.node(disk))
        assert device.lines("violation") == []
        return said


@pytest.fixture(scope="session")
def over_c(tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Verdicts]:
    """What the suite says over the kernel's own driver."""
    return suite(DOORS[0], tmp_path_factory.mktemp("c") / "suite", module="c")


def test_same_verdicts_as_over_the_c_driver(
    door_name: str, scratch: Path, module: Path, over_c: tuple[Result, Verdicts]
) -> None:
    """The conformance suite ends as it does over the C driver."""
    result, ours = suite(door_name, scratch / "suite")
    assert_same(ours, over_c[1])
    assert result.rc == over_c[0].rc

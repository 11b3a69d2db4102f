# SPDX-License-Identifier: GPL-2.0
"""The logical units of the tests of sg3_utils, and the answers expected of them."""

from collections.abc import Callable
from pathlib import Path

from guest import MEGABYTE, Controller, Disk, Guest, QemuGuest, Result, images, make_iso

BLOCK = images.BLOCK
DATA = images.pattern("data", 4 * MEGABYTE)
FRESH = images.pattern("fresh", MEGABYTE)
SERIAL, WWN = "VSRS-0001", 0x5000C50015EA71AC
IDENTITY = {"serial": SERIAL, "wwn": WWN, "vendor": "DEBIAN", "product": "RUST DISK", "ver": "7.3"}

# READ(32) of one block.
READ_32 = "7f 00 00 00 00 00 00 18 00 09 00 00" + " 00" * 19 + " 01"

INVALID_OPCODE = "Sense key: Illegal Request\nAdditional sense: Invalid command operation code"
INVALID_FIELD = "Sense key: Illegal Request\nAdditional sense: Invalid field in cdb"
OUT_OF_RANGE = "Sense key: Illegal Request\nAdditional sense: Logical block address out of range"
NO_MEDIUM = "Sense key: Not Ready\nAdditional sense: Medium not present"
# What the host made of it: the device says OVERRUN, the midlayer's word for which is DID_ERROR.
OVERRUN = "Host_status=0x07 [DID_ERROR]"

# What sg_raw exits with: the sense key's own code, see sg3_utils(8).
ILLEGAL_REQUEST, BAD_OPCODE, UNIT_ATTENTION, NOT_READY, LBA_OUT_OF_RANGE, OTHER = 5, 9, 6, 2, 22, 99


class Unit:
    """A logical unit of the guest, with its nodes."""

    def __init__(self, guest: Guest, disk: Disk) -> None:
        self.guest = guest
        self.disk = disk
        self.node = guest.node(disk)
        self.sg = guest.node(disk, "scsi_generic")
        self.sysfs = f"/sys/bus/scsi/devices/{guest.address(disk)}"

    @property
    def image(self) -> Path:
        assert self.disk.file
        return self.disk.file

    def clear(self, lba: int, blocks: int) -> None:
        """Fills a part of the image with zeros, behind the guest's back."""
        images.put(self.image, lba, bytes(blocks * BLOCK))

    def count(self, what: str = "iorequest_cnt") -> int:
        return int(self.guest.out(f"cat {self.sysfs}/{what}"), 16)

    def raw(self, cdb: str, options: str = "") -> Result:
        return self.guest.run(f"sg_raw -v {options} {self.node} {cdb}")


class QemuUnit(Unit):
    """A logical unit of QEMU's own device."""

    guest: QemuGuest

    def host_count(self, what: str) -> int:
        """One of QEMU's own counters for the image."""
        for each in self.guest.qmp("query-blockstats"):
            if each.get("node-name") == self.disk.node:
                return each["stats"][what]
        raise AssertionError(f"QEMU has no counters for {self.disk.node}")


class Units:
    """The logical units that these tests are about, and the guest."""

    guest: Guest
    disk: Unit
    scratch: Unit
    large: Unit
    blocks4k: Unit
    cdrom: Unit
    # T10 vendor and product identification of the disk, as INQUIRY has them.
    identity: bytes
    # What sg_raw says of the sense of the first command after a reset of the unit.
    was_reset: str


class QemuUnits(Units):
    """Those of QEMU's own device."""

    identity = b"DEBIAN  RUST DISK       "
    was_reset = "Sense key: Unit Attention\nAdditional sense: Power on, reset, or bus device reset occurred"

    def __init__(
        self, boot: Callable[..., QemuGuest], folder: Path, module: str, iso: Path | None = None
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        files = [folder / f"{name}.img" for name in ("disk", "scratch", "plug")]
        images.make(files[0], 64 * MEGABYTE, DATA)
        images.make(files[1], 32 * MEGABYTE)
        iso = iso or make_iso(folder / "cd.iso", {"data.bin": DATA})
        disks = [
            Disk(0, 0, 64 * MEGABYTE, files[0], props=IDENTITY),
            Disk(0, 300, 32 * MEGABYTE, files[1]),
            Disk(1, 0, 4 << 40),
            Disk(1, 1, 1 << 30, props={"logical_block_size": 4096, "physical_block_size": 4096}),
            Disk(2, 0, cdrom=True, file=iso),
        ]
        # Nobody tells of what is plugged into the second controller.
        silent = Controller([], {"hotplug": False}, id="scsi1")
        self.guest = boot([Controller(disks, {"num_queues": 2}), silent], module=module)
        self.all = [QemuUnit(self.guest, disk) for disk in disks]
        self.disk, self.scratch, self.large, self.blocks4k, self.cdrom = self.all
        self.plug = Disk(0, 0, 8 * MEGABYTE, files[2], bus="scsi1")

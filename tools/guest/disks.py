# SPDX-License-Identifier: GPL-2.0
"""Disks and CD-ROMs of the machine's SCSI controllers, as QEMU's blockdev and device options."""

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MEGABYTE = 1 << 20


def shown_lun(lun: int) -> int:
    """The number the kernel gives a LUN: over 255 the addressing method of the wire is part of it."""
    return lun if lun < 256 else lun | 0x4000


@dataclass
class Disk:
    """One logical unit.

    With a `file` its contents are that file's, which is made (sparse) if it is not there; with none they
    are zeros that nothing can change, served as fast as QEMU can. `blockdev` replaces all of this by
    options of QEMU's own, and `props` are further properties of the device.
    """

    target: int = 0
    lun: int = 0
    size: int = 64 * MEGABYTE
    file: Path | None = None
    cdrom: bool = False
    props: dict[str, Any] = field(default_factory=dict)
    blockdev: dict[str, Any] | None = None
    bus: str = "scsi0"

    @property
    def id(self) -> str:
        return f"{self.bus}-t{self.target}-l{self.lun}"

    @property
    def node(self) -> str:
        return f"n-{self.id}"

    @property
    def shown_lun(self) -> int:
        return shown_lun(self.lun)

    def blockdev_options(self) -> dict[str, Any]:
        if self.blockdev is not None:
            return {"node-name": self.node, **self.blockdev}
        if self.file is None:
            return {"node-name": self.node, "driver": "null-co", "size": self.size, "read-zeroes": True}
        if not self.file.exists():
            with open(self.file, "wb") as new:
                new.truncate(self.size)
        options = {
            "node-name": self.node,
            "driver": "raw",
            "read-only": self.cdrom,
            "file": {"driver": "file", "filename": str(self.file)},
        }
        if not self.cdrom:
            options["discard"] = "unmap"
        return options

    def device_options(self) -> dict[str, Any]:
        return {
            "driver": "scsi-cd" if self.cdrom else "scsi-hd",
            "id": self.id,
            "bus": f"{self.bus}.0",
            "drive": self.node,
            "scsi-id": self.target,
            "lun": self.lun,
            **self.props,
        }


@dataclass
class Controller:
    """A virtio SCSI controller with its properties (num_queues, packed, ...) and what it serves."""

    disks: list[Disk] = field(default_factory=list)
    props: dict[str, Any] = field(default_factory=dict)
    id: str = "scsi0"
    driver: str | None = None

    def __post_init__(self) -> None:
        for disk in self.disks:
            disk.bus = self.id

    def device_options(self, machine: str) -> dict[str, Any]:
        driver = self.driver or ("virtio-scsi-device" if machine == "microvm" else "virtio-scsi-pci")
        return {"driver": driver, "id": self.id, **self.props}


def make_iso(image: Path, files: Mapping[str, bytes]) -> Path:
    """A CD-ROM image with these files in it."""
    folder = image.with_suffix(".d")
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    subprocess.run(
        ["xorriso", "-as", "mkisofs", "-quiet", "-R", "-V", "VSRS", "-o", image, folder],
        check=True,
        capture_output=True,
    )
    return image

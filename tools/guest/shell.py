# SPDX-License-Identifier: GPL-2.0
"""`make shell`: the console of a guest on this terminal, our module loaded, some disks behind it."""

import shutil
import sys

from . import paths
from .disks import MEGABYTE, Controller, Disk, make_iso
from .guest import OUR_MODULE
from .qemu import QemuGuest

DIRECTORY = paths.LOGS / "shell"

WELCOME = """#!/bin/bash
stty rows {rows} cols {columns} </dev/console
dmesg -n 4
insmod {module} || echo "the module did not load: see dmesg"
sleep 1
echo
lsscsi -gs
echo
echo "virtio_scsi_rs serves these. 'exit' or ^D switches the machine off."
echo "^A c is QEMU's monitor and back, ^A x ends QEMU."
"""


def main() -> int:
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    size = shutil.get_terminal_size()
    disks = [
        Disk(0, 0, 256 * MEGABYTE, DIRECTORY / "disk.img"),
        Disk(0, 1, 64 * MEGABYTE, DIRECTORY / "lun1.img"),
        Disk(0, 300, 64 * MEGABYTE, DIRECTORY / "lun300.img"),
        Disk(2, 0, cdrom=True, file=make_iso(DIRECTORY / "cd.iso", {"readme.txt": b"hello\n"})),
    ]
    welcome = WELCOME.format(rows=size.lines, columns=size.columns, module=OUR_MODULE)
    guest = QemuGuest(
        DIRECTORY,
        [Controller(disks, {"num_queues": 2})],
        append="vsrs.shell=1 quiet",
        files={"/etc/shell-start": welcome.encode()},
        interactive=True,
    )
    print(f"booting {paths.Kernel.prepared().release} ...", flush=True)
    return guest.interact()


if __name__ == "__main__":
    sys.exit(main())

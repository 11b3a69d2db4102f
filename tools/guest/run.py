# SPDX-License-Identifier: GPL-2.0
"""The guest's part of `make run`: boots the stock kernel, loads our module, and puts a file system on a
disk behind it that is verified inside the guest, and from outside on the image."""

import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from . import paths
from .disks import MEGABYTE, Controller, Disk, make_iso
from .qemu import QemuGuest

DIRECTORY = paths.LOGS / "run"

# Files of many sizes, among them an empty one and one that is not a multiple of a block.
WRITE = """
set -e
mkfs.ext4 -q -O metadata_csum -L run {disk}
mkdir -p /mnt/run
mount {disk} /mnt/run
mkdir -p /mnt/run/small /mnt/run/big
: >/mnt/run/empty
for i in $(seq 40); do head -c $((i * 1777)) /dev/urandom >/mnt/run/small/$i; done
for i in 1 2 3; do head -c 8388611 /dev/urandom >/mnt/run/big/$i; done
cp /usr/bin/fio /mnt/run/big/program
cd /mnt/run
find . -type f ! -name SUMS -exec sha256sum {{}} + >/tmp/SUMS
cp /tmp/SUMS SUMS
cd /
umount /mnt/run
"""

VERIFY = """
set -e
echo 3 >/proc/sys/vm/drop_caches
mount -o ro {disk} /mnt/run
cd /mnt/run
sha256sum --quiet -c /tmp/SUMS
wc -l </tmp/SUMS
cd /
umount /mnt/run
"""


class Failed(Exception):
    """A step did not do what it should."""


@contextmanager
def step(name: str) -> Iterator[Callable[[str], None]]:
    """One line of the report: what was done, what was seen, how long it took."""
    began = time.monotonic()
    notes: list[str] = []
    print(f"-- {name} ...", flush=True)
    try:
        yield notes.append
    except Exception as error:
        print(f"\n{error}\n\nmake run: FAILED at: {name}; logs: {DIRECTORY}/", flush=True)
        raise SystemExit(1) from None
    report(name, time.monotonic() - began, "; ".join(notes))


def report(name: str, seconds: float, note: str) -> None:
    with open(DIRECTORY / "report", "a") as out:
        out.write(f"{seconds:6.1f} s  {name}{': ' if note else ''}{note}\n")


def expect(true: bool, otherwise: str) -> None:
    if not true:
        raise Failed(otherwise)


def digest(path: Path) -> str:
    with open(path, "rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()


def verify_image(image: Path) -> int:
    """Reads the file system from the image without a kernel; returns how many files it holds."""
    checked = subprocess.run(["e2fsck", "-f", "-n", image], capture_output=True, text=True)
    expect(checked.returncode == 0, f"e2fsck finds errors on {image}:\n{checked.stdout}{checked.stderr}")
    copy = DIRECTORY / "from-image"
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir()
    dumped = subprocess.run(
        ["debugfs", "-R", f"rdump / {copy}", image], capture_output=True, text=True, check=True
    )
    lines = (copy / "SUMS").read_text().splitlines() if (copy / "SUMS").exists() else []
    expect(len(lines) > 40, f"the list of checksums is not on {image}:\n{dumped.stderr}")
    for line in lines:
        wanted, name = line.split(maxsplit=1)
        expect(digest(copy / name) == wanted, f"{name} on the image differs from what the guest wrote")
    shutil.rmtree(copy)
    return len(lines)


def run() -> None:
    ext4 = Disk(target=0, lun=0, size=256 * MEGABYTE, file=DIRECTORY / "ext4.img")
    second = Disk(target=0, lun=1, size=32 * MEGABYTE, file=DIRECTORY / "second.img")
    far = Disk(target=0, lun=300, size=32 * MEGABYTE, file=DIRECTORY / "lun300.img")
    zeros = Disk(target=1, lun=0, size=1 << 40)
    cdrom = Disk(target=2, lun=0, cdrom=True, file=DIRECTORY / "cd.iso")
    disks = [ext4, second, far, zeros, cdrom]
    with step("making a CD-ROM image"):
        assert cdrom.file
        make_iso(cdrom.file, {"readme.txt": b"A CD-ROM.\n", "data.bin": os.urandom(MEGABYTE)})

    kernel = paths.Kernel.prepared()
    guest = QemuGuest(DIRECTORY, [Controller(disks, {"num_queues": 2})], module=None)
    with step(f"booting {kernel.release} in QEMU") as note:
        guest.start()
        note(f"first command after {guest.boot_seconds:.1f} s")
    try:
        with step("loading virtio_scsi_rs"):
            guest.load("ours")
            print(guest.out("modinfo -F description /lib/ours/virtio_scsi_rs.ko; lsmod | grep virtio_scsi"))
        with step("looking for the disks") as note:
            print(guest.out("lsscsi -gs"))
            missing = [d.id for d in disks if f"[{guest.address(d)}]" not in guest.out("lsscsi")]
            expect(not missing, f"the guest does not see {', '.join(missing)}")
            note(f"{len(disks) - 1} disks (LUNs 0, 1, 300) and a CD-ROM")
        with step("making ext4 and writing files"):
            guest.run(WRITE.format(disk=guest.node(ext4)), timeout=300, check=True)
        with step("verifying their checksums in the guest") as note:
            count = guest.run(VERIFY.format(disk=guest.node(ext4)), timeout=300, check=True).stdout.strip()
            note(f"{count} files")
        with step("reading the CD-ROM, writing LUNs 1 and 300") as note:
            read = guest.out(f"sha256sum <{guest.node(cdrom)}").split()[0]
            expect(read == digest(cdrom.file), "the CD-ROM reads wrong")
            data = os.urandom(MEGABYTE)
            guest.push("/tmp/data", data)
            write = "dd if=/tmp/data bs=64k seek=16 oflag=direct conv=fsync,notrunc"
            for disk in (second, far):
                guest.run(f"{write} of={guest.node(disk)}", check=True)
        with step("unloading the module, switching off") as note:
            guest.unload("ours")
            guest.poweroff()
            note("kernel log clean")
    finally:
        guest.end()

    with step("verifying the images from outside") as note:
        assert ext4.file
        count = verify_image(ext4.file)
        for disk in (second, far):
            assert disk.file
            with open(disk.file, "rb") as image:
                image.seek(MEGABYTE)
                expect(image.read(MEGABYTE) == data, f"{disk.file} does not hold what the guest wrote")
        note(f"e2fsck finds no error, {count} checksums right, LUNs 1 and 300 hold what was written")


if __name__ == "__main__":
    try:
        run()
    except KeyboardInterrupt:
        sys.exit("\nmake run: interrupted")

# SPDX-License-Identifier: GPL-2.0
"""Disks whose contents are verified, the tests of them that any device has to pass, and disks at the edges
of addressing."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from guest import MEGABYTE, Disk, Guest, fio, images, make_iso

# Files of many sizes, written by several processes at once, moved and cut about.
FILL_EXT4 = """
set -e
mkfs.ext4 -q -O metadata_csum {node}
mount {node} /mnt
cd /mnt
: >empty
for p in 1 2 3 4; do
    mkdir $p
    ( for i in $(seq 25); do head -c $((i * p * 1777)) /dev/urandom >$p/$i; done
      head -c $((p * 3000017)) /dev/urandom >$p/large ) &
done
wait
mv 1/large 2/larger
rm -r 3
truncate -s 1000001 4/large
fallocate -p -o 8192 -l 40960 2/larger
sync
find . -type f ! -name SUMS -exec sha256sum {{}} + >SUMS
cp SUMS /tmp/SUMS
cd /
umount /mnt
"""


CHECK_EXT4 = """
set -e
echo 3 >/proc/sys/vm/drop_caches
mount -o ro {node} /mnt
cd /mnt
sha256sum --quiet -c /tmp/SUMS
cd /
umount /mnt
"""


class Disks:
    """The disks of most tests here, and the guest that has them."""

    guest: Guest

    def __init__(self, folder: Path, target: int = 0) -> None:
        """The disks are on this target and the next two."""
        self.image = folder / "fio.img"
        self.fio = Disk(target, 0, 64 * MEGABYTE, self.image)
        self.ext4 = Disk(target + 1, 0, 192 * MEGABYTE, folder / "ext4.img")
        contents = {f"folder/{n}": images.pattern(f"cd {n}", n * 100_003) for n in range(20)}
        iso = make_iso(folder / "cd.iso", {**contents, "large": images.pattern("cd", 32 * MEGABYTE)})
        self.cdrom = Disk(target + 2, 0, cdrom=True, file=iso)
        self.contents = contents
        self.all = [self.fio, self.ext4, self.cdrom]


def test_cdrom_reads_as_its_image(disks: Disks) -> None:
    """In full, through the page cache and around it, and as a file system."""
    guest, node = disks.guest, disks.guest.node(disks.cdrom)
    assert disks.cdrom.file
    wanted = images.digest(disks.cdrom.file)
    assert guest.out(f"sha256sum <{node}").split()[0] == wanted
    assert guest.out(f"dd if={node} bs=96k iflag=direct status=none | sha256sum").split()[0] == wanted
    guest.run(f"mount -t iso9660 -o ro {node} /mnt", check=True)
    said = guest.out("cd /mnt && sha256sum folder/* large")
    guest.run("umount /mnt", check=True)
    sums = {name: digest for digest, name in (line.split() for line in said.splitlines())}
    for name, data in disks.contents.items():
        assert sums[name] == images.digest(data)
    assert len(sums) == len(disks.contents) + 1
    # It is a CD-ROM: nothing writes to it.
    assert "Read-only" in guest.run(f"dd if=/dev/zero of={node} bs=2k count=1").stderr


@pytest.mark.parametrize("engine", ["io_uring", "libaio", "psync", "sg"])
def test_fio_verifies_what_it_wrote(disks: Disks, engine: str) -> None:
    """Blocks of 512 bytes to 256 KiB, 32 at a time (16 for what the sg driver takes of one file)."""
    guest = disks.guest
    node = guest.node(disks.fio, "scsi_generic" if engine == "sg" else "block")
    before = disks.image.stat().st_mtime_ns
    job = fio.write_verified(guest, node, engine=engine, size="32M", randseed=hash(engine) & 0xFFFF)
    assert job.written == 32 * MEGABYTE
    assert disks.image.stat().st_mtime_ns > before


def test_several_jobs_of_fio_verify_what_they_wrote(disks: Disks) -> None:
    """Each writes its own part of the disk from its own CPU, so several queues are at work at once."""
    guest = disks.guest
    # User-Mode Linux has one.
    cpus = guest.out("cat /sys/devices/system/cpu/online")
    options = fio.write_options(
        size="8M", numjobs=4, offset_increment="8M", cpus_allowed_policy="split", cpus_allowed=cpus
    )
    job = fio.run(guest, guest.node(disks.fio), **options, group_reporting=True)
    assert job.written == 4 * 8 * MEGABYTE <= job.read


def test_fio_finds_what_is_damaged(disks: Disks) -> None:
    """What these tests rely on: one byte changed on the image is found."""
    guest, node = disks.guest, disks.guest.node(disks.fio)
    options = fio.write_options(size="4M", bsrange="4k-4k", verify_backlog=0)
    fio.run(guest, node, **options)
    images.put(disks.image, 2 * MEGABYTE // 512 + 3, b"damaged")
    with pytest.raises(fio.VerifyFailed, match=r"verify failed at file .* offset 2097152"):
        fio.run(guest, node, **options, verify_only=True)


def test_ext4_holds_what_was_written(disks: Disks, tmp_path: Path) -> None:
    guest, node = disks.guest, disks.guest.node(disks.ext4)
    guest.run(FILL_EXT4.format(node=node), timeout=120, check=True)
    guest.run(CHECK_EXT4.format(node=node), timeout=120, check=True)
    image = disks.ext4.file
    assert image
    checked = subprocess.run(["e2fsck", "-f", "-n", image], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    subprocess.run(["debugfs", "-R", f"rdump / {tmp_path}", image], check=True, capture_output=True)
    lines = (tmp_path / "SUMS").read_text().splitlines()
    assert len(lines) == 1 + 3 * 25 + 3
    for line in lines:
        digest, name = line.split(maxsplit=1)
        assert images.digest(tmp_path / name) == digest, name


@dataclass(frozen=True)
class Seen:
    """A disk as lsscsi lists it."""

    address: str
    size: str
    node: str


def each_gets_its_own(guest: Guest, disks: list[Disk], found: dict[str, Seen]) -> None:
    """Each disk has its address, and what only this one is to have, which is written to all at once."""
    host = guest.host()
    assert {serial: (each.address, each.size) for serial, each in found.items()} == {
        disk.props["serial"]: (f"{host}:0:{disk.target}:{disk.shown_lun}", "2.09MB") for disk in disks
    }

    script = "set -e\n"
    for serial, each in found.items():
        script += f"yes 'this is {serial}' | dd of={each.node} bs=64k count=32 iflag=fullblock "
        script += "oflag=direct conv=fsync status=none &\n"
    guest.run(script + "wait\n", timeout=120, check=True)
    for disk in disks:
        line = f"this is {disk.props['serial']}\n".encode()
        assert disk.file
        wanted = (line * (2 * MEGABYTE // len(line) + 1))[: 2 * MEGABYTE]
        assert images.digest(disk.file) == images.digest(wanted), disk.props["serial"]


def many(folder: Path) -> list[Disk]:
    """64 disks on targets 0 to 15 and 255, and the LUNs at the edges of the addressing methods."""
    disks = [Disk(target, lun, 2 * MEGABYTE) for target in range(14) for lun in (0, 1, 7, 200)]
    disks += [Disk(14, lun, 2 * MEGABYTE) for lun in (0, 255, 256, 257, 16383)]
    disks += [Disk(15, 300, 2 * MEGABYTE), Disk(255, 0, 2 * MEGABYTE), Disk(255, 16383, 2 * MEGABYTE)]
    for disk in disks:
        disk.file = folder / f"{disk.target}-{disk.lun}.img"
        # The serial number is what the disk is known by in the guest, whatever the driver calls it.
        disk.props = {"serial": f"t{disk.target}l{disk.lun}"}
    return disks


def seen(guest: Guest) -> dict[str, Seen]:
    """The disks by their serial numbers."""
    said = guest.out(
        "lsscsi -s | while read -r line; do set -- $line; while [ $# -gt 2 ]; do shift; done; "
        'echo "$(sg_vpd -q -p sn $1 | tail -n 1) $line"; done'
    )
    found = {}
    for line in map(str.strip, said.splitlines()):
        words = line.removeprefix("Product serial number:").split()
        found[words[0]] = Seen(words[1].strip("[]"), words[-1], words[-2])
    return found

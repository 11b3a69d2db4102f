# SPDX-License-Identifier: GPL-2.0
"""Installs a Debian system, given as a tar file, on a disk: what an installer does, in a guest.

    python3 -m guest.system_disk FOLDER SERIES

makes FOLDER/disk.qcow2 of FOLDER/system.tar, for tools/root-system.
"""

import subprocess
import sys
from pathlib import Path

from . import initramfs
from .disks import MEGABYTE, Controller, Disk
from .qemu import QemuGuest

SIZE = 4096 * MEGABYTE

# Settings for a machine with a serial console, without clock noise of emulation in the log. The signed GRUB
# for UEFI finds its configuration by the distributor's name.
GRUB = """\
GRUB_DISTRIBUTOR=Debian
GRUB_TIMEOUT=5
GRUB_CMDLINE_LINUX_DEFAULT=""
GRUB_CMDLINE_LINUX="console=ttyS0 tsc=nowatchdog no_timer_check resume=UUID=$(uuid $swap)"
GRUB_TERMINAL=serial
GRUB_SERIAL_COMMAND="serial --speed=115200"
"""

# sfdisk is the system's own, for which a part of it is unpacked in memory.
SCRIPT = f"""
set -eux
uuid() {{ blkid -o value -s UUID "$1"; }}
into() {{ for each in dev proc sys; do mkdir -p $1/$each; mount --rbind /$each $1/$each; done; }}
mkdir -p /system /memory
mount -t tmpfs memory /memory
tar -C /memory -xf $tar ./etc ./usr/{{bin,sbin,lib64,lib/x86_64-linux-gnu}} ./{{bin,sbin,lib,lib64}}
into /memory
chroot /memory sfdisk --wipe always $disk <<END
label: gpt
size=1M, type=21686148-6449-6E6F-744E-656564454649
size=64M, type=uefi
size=1G, type=swap
type=linux
END
esp=${{disk}}2 swap=${{disk}}3 root=${{disk}}4
for each in $esp $swap $root; do until [ -b $each ]; do sleep 0.1; done; done
chroot /memory mkfs.vfat -n EFI $esp
chroot /memory mkswap $swap
mkfs.ext4 -q $root
mount $root /system
tar -C /system --numeric-owner --xattrs --xattrs-include='*' -xpf $tar
into /system
mkdir -p /system/boot/efi /dev/disk/by-uuid
for each in $esp $swap $root; do ln -s $each /dev/disk/by-uuid/$(uuid $each); done
for each in vfat nls_cp437 nls_ascii; do chroot /system modprobe $each; done
mount -t vfat $esp /system/boot/efi
cat >/system/etc/fstab <<END
UUID=$(uuid $root) / ext4 errors=remount-ro 0 1
UUID=$(uuid $esp) /boot/efi vfat umask=0077 0 1
UUID=$(uuid $swap) none swap sw 0 0
END
cat >/system/etc/default/grub <<END
{GRUB}
END
chroot /system grub-install --target=i386-pc $disk
chroot /system grub-install --target=x86_64-efi --no-nvram --force-extra-removable
chroot /system update-grub
umount /system/boot/efi
sync
for each in dev proc sys; do umount -R /system/$each; done
umount /system
"""


def main(folder: Path, series: str) -> None:
    tar, raw, image = (folder / name for name in ("system.tar", "disk.raw", "disk.qcow2"))
    source, target = Disk(0, file=tar), Disk(1, size=SIZE, file=raw)
    # In place of busybox's, which knows no extended attributes.
    files = {name: Path(name) for name in ("/usr/bin/tar", *initramfs.libraries("/usr/bin/tar"))}
    with QemuGuest(
        folder / "logs",
        [Controller([source, target])],
        kernel=series,
        module="c",
        memory=2048,
        files=files,
    ) as guest:
        guest.settle()
        variables = (
            f"export PATH=$PATH:/usr/sbin:/usr/bin tar={guest.node(source)} disk={guest.node(target)}\n"
        )
        print(guest.run(f"{variables}{SCRIPT}", timeout=1200, check=True).stderr)
        guest.poweroff()
    subprocess.run(["qemu-img", "convert", "-O", "qcow2", raw, image], check=True)
    raw.unlink()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])

# SPDX-License-Identifier: GPL-2.0
"""Both modules installed, as from the packages, and udev: who serves a controller is who was chosen.

The guest has no initramfs of its own making, so the choice is applied by loading the modules again; the same
files for modprobe, the same udev and the same alias decide as in an initramfs.
"""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from guest import Controller, Disk, QemuGuest, initramfs, paths
from support.machines import root_port

pytestmark = [pytest.mark.main, pytest.mark.ours("is about the choice of our module")]

SELECT = "virtio-scsi-rs-select"
WAY_BACK = "module_blacklist=virtio_scsi_rs"
UDEV_RULES = "/usr/lib/udev/rules.d/80-drivers.rules"
LIBKMOD = "/usr/lib/x86_64-linux-gnu/libkmod.so.2"
# udev loads libkmod when it needs it.
FILES = {name: Path(name).resolve() for name in (UDEV_RULES, LIBKMOD)}


@pytest.fixture
def files(packages: list[Path], tmp_path: Path) -> dict[str, bytes | Path]:
    """What the packages install, and what udev needs."""
    for package in packages:
        subprocess.run(["dpkg-deb", "--extract", package, tmp_path], check=True)
    ours = {f"/{path.relative_to(tmp_path)}": path for path in tmp_path.rglob("*") if path.is_file()}
    return {**FILES, **{name: path for name, path in ours.items() if "/share/" not in name}}


def install(guest: QemuGuest) -> None:
    """The C driver goes to where the stock kernel has it."""
    modules = f"/usr/lib/modules/{paths.Kernel.prepared(guest.series).release}"
    guest.run(
        f"mkdir -p {modules}/kernel/drivers/scsi && "
        f"mv {initramfs.C_DRIVER_PATH} {modules}/kernel/drivers/scsi/virtio_scsi.ko && "
        "ln -s /usr/bin/kmod /tmp/depmod && /tmp/depmod",
        check=True,
    )
    # Nobody has loaded one yet.
    guest.run("! grep ^virtio_scsi /proc/modules", check=True)


def served(guest: QemuGuest) -> list[str]:
    """Has udev find the controllers as at boot; returns the driver of each."""
    guest.run("udevadm control --exit; rmmod virtio_scsi_rs; rmmod virtio_scsi")
    guest.run("! grep ^virtio_scsi /proc/modules", check=True)
    # What modprobe's files say is read when udev starts.
    guest.run(
        "/usr/lib/systemd/systemd-udevd --daemon && "
        "udevadm trigger --action=add --subsystem-match=virtio && udevadm settle",
        check=True,
    )
    return drivers(guest)


def drivers(guest: QemuGuest) -> list[str]:
    status = guest.out(f"{SELECT} status").splitlines()
    return [line.rpartition(" served by ")[2] for line in status if line.startswith("virtio")]


def test_a_controller_is_served_by_the_driver_that_was_chosen(
    boot: Callable[..., QemuGuest], files: dict[str, bytes | Path]
) -> None:
    controllers = [Controller([Disk()]), Controller([Disk()], id="scsi1")]
    guest = boot(controllers, module=None, files=files, smp=4, devices=[root_port(1)])
    install(guest)
    loaded = "cut -d' ' -f1 /proc/modules | grep ^virtio_scsi"

    assert served(guest) == ["virtio_scsi"] * 2
    assert guest.out(loaded) == "virtio_scsi"

    guest.run(f"{SELECT} rust", check=True)
    # Until the next boot it is as it was.
    assert drivers(guest) == ["virtio_scsi"] * 2
    for _ in range(3):
        assert served(guest) == ["virtio_scsi_rs"] * 2
        assert sorted(guest.out(loaded).splitlines()) == ["virtio_scsi", "virtio_scsi_rs"]
    guest.settle()
    guest.run("dd if=/dev/sda of=/dev/null bs=64k count=16 iflag=direct", check=True)
    # So is a controller that comes later.
    guest.qmp("device_add", {"driver": "virtio-scsi-pci", "id": "late", "bus": "port1"})
    guest.wait_until("test $(ls -d /sys/bus/virtio/drivers/virtio_scsi_rs/virtio* | wc -l) = 3")
    assert drivers(guest) == ["virtio_scsi_rs"] * 3

    # A kernel that has no such module keeps its disks.
    ours = guest.out("modinfo -F filename virtio_scsi_rs")
    guest.run(f"mv {ours} /tmp/ && /tmp/depmod", check=True)
    assert served(guest) == ["virtio_scsi"] * 3
    guest.run(f"mv /tmp/virtio_scsi_rs.ko {ours} && /tmp/depmod", check=True)
    assert served(guest) == ["virtio_scsi_rs"] * 3

    guest.run(f"{SELECT} c", check=True)
    assert served(guest) == ["virtio_scsi"] * 3
    assert guest.out(loaded) == "virtio_scsi"
    guest.settle()


def test_a_kernel_parameter_is_the_way_back(
    boot: Callable[..., QemuGuest], files: dict[str, bytes | Path]
) -> None:
    guest = boot(
        [Controller([Disk()])],
        module=None,
        files=files,
        append=WAY_BACK,
        allow=["Module virtio_scsi_rs is blacklisted"],
    )
    install(guest)
    guest.run(f"{SELECT} rust", check=True)
    assert served(guest) == ["virtio_scsi"]
    assert "Module virtio_scsi_rs is blacklisted" in guest.dmesg()
    guest.settle()
    guest.run("dd if=/dev/sda of=/dev/null bs=64k count=16 iflag=direct", check=True)

# SPDX-License-Identifier: GPL-2.0
"""The package for DKMS, installed in a whole Debian system with a stock kernel and its headers: the module is
built there, with nothing but Debian's packages, and then serves a disk in a guest."""

import lzma
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from guest import Controller, Disk, QemuGuest, paths
from support.debian_root import DebianRoot, made_root, may_mount
from support.installed import dkms_package

pytestmark = [pytest.mark.install, pytest.mark.ours("about a package of our module")]

NAME = "virtio-scsi-rs-dkms"
SELECT = "virtio-scsi-rs-select"
TREES = f"/var/cache/{NAME}"
SOURCE = f"linux-source-{paths.SERIES}"
MODULE = "updates/dkms/virtio_scsi_rs.ko.xz"
INSTALL = f"dpkg --install /mnt/virtio-scsi-rs-tools_*.deb /mnt/{NAME}_*.deb"
STATUS = "dkms status -m virtio-scsi-rs"
BUILD = 'dkms autoinstall -k "$RELEASE"'
# As if the kernel was only now being installed.
FORGET = 'dkms unbuild "virtio-scsi-rs/$DRIVER" -k "$RELEASE"'
# As few modules as possible, so that what is in an initramfs is there for the sake of the packages' hooks.
SMALL = r"printf 'MODULES=list\nCOMPRESS=lz4\n' >/etc/initramfs-tools/conf.d/small"
KEEPS_C = "Until then this kernel boots with the C driver"


def field(package: Path, names: str) -> str:
    command = ["dpkg-deb", f"--showformat={names}", "--show", package]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def wanted(package: Path) -> list[str]:
    """What the package wants to have installed, but for ours; of alternatives that for the kernel."""
    names = []
    for each in field(package, "${Depends}, ${Recommends}").split(","):
        choices = [re.sub(r"\(.*", "", choice).strip() for choice in each.split("|")]
        names.append(SOURCE if SOURCE in choices else choices[0])
    return [name for name in names if not name.startswith("virtio-scsi-rs-")]


def version_of_kernel(release: str) -> str:
    """The version of a kernel's packages, the newest that the archive has."""
    command = ["apt-cache", "show", f"linux-headers-{release}"]
    shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return sorted(re.findall(r"^Version: (.*)$", shown, re.M))[-1]


@pytest.fixture(scope="module")
def fresh(packages: list[Path], scratch_shared: Path) -> DebianRoot:
    """A system with a kernel, its headers, and all that the package wants, but without the package."""
    if not may_mount():
        pytest.skip("a user's own toolbox has no mounts of its own")
    folder = packages[0].parent
    package = dkms_package(folder)
    release = paths.Kernel.prepared().release
    version = version_of_kernel(release)
    kernel = [f"linux-image-{release}", f"linux-headers-{release}", "initramfs-tools", "lz4", "mount"]
    root = made_root(
        [*kernel, *(f"{name}={version}" if name == SOURCE else name for name in wanted(package))]
    )
    driver = field(package, "${Version}")
    system = DebianRoot(
        scratch_shared / "fresh", [root], folder, release=release, version=version, driver=driver
    )
    system.run(SMALL)
    return system


@pytest.fixture(scope="module")
def installed(fresh: DebianRoot, scratch_shared: Path) -> tuple[DebianRoot, str]:
    """The same with the package, and what dpkg and DKMS said."""
    system = fresh.branch(scratch_shared / "installed")
    return system, system.run(INSTALL).stdout


@pytest.fixture
def system(installed: tuple[DebianRoot, str], scratch: Path) -> DebianRoot:
    """A system with the package, for one test to change."""
    return installed[0].branch(scratch / "system")


def in_initramfs(system: DebianRoot) -> bool:
    return MODULE.removesuffix(".xz") in system.out('lsinitramfs "/boot/initrd.img-$RELEASE"')


def test_installing_the_package_builds_the_module(installed: tuple[DebianRoot, str]) -> None:
    system, said = installed
    release = system.variables["release"]
    print(said)
    assert system.out(STATUS) == f"virtio-scsi-rs/{system.variables['driver']}, {release}, x86_64: installed"
    modinfo = 'modinfo -k "$RELEASE" virtio_scsi_rs'
    assert system.out(f"{modinfo} -F filename") == f"/lib/modules/{release}/{MODULE}"
    stock = system.out('modinfo -k "$RELEASE" virtio_scsi -F vermagic')
    assert system.out(f"{modinfo} -F vermagic") == stock
    assert stock.startswith(f"{release} ")
    assert system.out(f"{modinfo} -F signer") == "DKMS module signing key"
    # What it takes is said before, and not only in a log.
    takes = re.search(r"takes\s+about five minutes .* up to (\d+) MB in \S+, of which (\d+) MB stay", said)
    assert takes, said
    assert re.search(r"the kernel tree is ready after \d+ s", said)
    stays = int(system.out(f"du --summarize --block-size=1M {TREES}").split()[0])
    assert int(takes[2]) * 0.7 <= stays <= int(takes[2])
    # As long as nothing is chosen, nothing changes.
    assert f"{SELECT} rust" in said
    assert system.out(f"{SELECT} chosen") == "none"


def test_the_module_that_was_built_serves_a_disk(
    installed: tuple[DebianRoot, str], boot: Callable[..., QemuGuest], scratch: Path
) -> None:
    system, _ = installed
    module = lzma.decompress(system.read(f"/usr/lib/modules/{system.variables['release']}/{MODULE}"))
    image = scratch / "disk.img"
    image.write_bytes(b"".join(bytes([number]) * 4096 for number in range(256)))
    name = "/usr/lib/dkms/virtio_scsi_rs.ko"
    guest = boot(
        [Controller([Disk(size=1 << 20, file=image)])], module=None, files={name: module, "/wanted": image}
    )
    guest.run(f"insmod {name}", check=True)
    guest.settle()
    assert guest.out("readlink /sys/bus/virtio/devices/virtio*/host*/../driver").endswith("/virtio_scsi_rs")
    guest.run("dd if=/dev/sda bs=64k iflag=direct | cmp - /wanted", check=True)


@pytest.mark.parametrize("hooks", ["postinst.d", "header_postinst.d"])
def test_a_new_kernel_gets_the_module_into_its_initramfs(system: DebianRoot, hooks: str) -> None:
    """From the hooks of the kernel's package, which come before there is an initramfs, or of that of its
    headers, which may come later. The tree is there, and the kernel's source is not needed any more."""
    system.run(f"{SELECT} rust")
    assert in_initramfs(system)
    system.run(f"dpkg --purge {SOURCE}")
    system.run(FORGET)
    assert "installed" not in system.out(STATUS)
    if hooks == "postinst.d":
        system.run('rm "/boot/initrd.img-$RELEASE"')
    else:
        system.run('update-initramfs -u -k "$RELEASE"')
        assert not in_initramfs(system)
    said = system.out(
        f'run-parts --exit-on-error --arg="$RELEASE" --arg="/boot/vmlinuz-$RELEASE" /etc/kernel/{hooks}'
    )
    assert f"using the kernel tree in {TREES}/" in said
    assert system.out(STATUS).endswith(": installed")
    assert in_initramfs(system)
    state = "module installed; initramfs: has the module, virtio_scsi_rs"
    assert f"kernel {system.variables['release']}: {state}" in system.out(f"{SELECT} status")


# What is wrong -> how that comes about, and what is said of it.
FLAWS = {
    "no source": (
        f"dpkg --purge {SOURCE}",
        rf"{SOURCE} is needed in version (\S+), and none is installed\n +apt install {SOURCE}=\1\n",
    ),
    "another source": (
        f"sed -i '/^Package: {SOURCE}$/,/^$/ s/^Version: .*/Version: 7.0-1/' /var/lib/dpkg/status",
        rf"{SOURCE} is needed in version (\S+), and 7.0-1 is installed\n +apt install {SOURCE}=\1\n",
    ),
    "no package": (
        "dpkg --force-depends --purge bison bc",
        r"packages are missing: bc bison\n +apt install bc bison\n",
    ),
    "another rustc": (
        r"printf '#!/bin/sh\necho rustc 1.0.0\n' >/tmp/rustc; install /tmp/rustc /usr/bin/rustc",
        r"another version of Rust\n +the kernel: rustc 1\.\d+\.\d+ .*\n +this machine: rustc 1\.0\.0\n",
    ),
    "no space": (
        f"mount -t tmpfs -o size=99m none {TREES}",
        r"\d+ MB are needed in \S+, and 99 MB are free there\n +Free some space",
    ),
    "no Rust": ("sed -i /CONFIG_RUST=/d $(realpath $KDIR)/.config", r"configured without support for Rust"),
    "a source that ends early": (
        f"truncate --size=50M /usr/src/{SOURCE}.tar.xz",
        r"no kernel tree could be made for it\n +The log named below has the reason",
    ),
}


@pytest.mark.parametrize("flaw", FLAWS)
def test_what_keeps_the_module_from_being_built_is_said(system: DebianRoot, flaw: str) -> None:
    """And the kernel is installed all the same."""
    how, what = FLAWS[flaw]
    hook = '/etc/kernel/postinst.d/dkms "$RELEASE"'
    script = f'{FORGET}; KDIR="/lib/modules/$RELEASE/build"; rm -r {TREES}/*; {how}; echo ==; {hook}'
    said = system.out(script).partition("\n==\n")[2]
    release = system.variables["release"]
    assert re.search(rf"{NAME}: the module is not built for kernel {re.escape(release)}: .*{what}", said), (
        said
    )
    assert KEEPS_C in said
    assert f"Autoinstall on {release} was skipped for module(s) virtio-scsi-rs." in said
    assert "installed" not in system.out(STATUS)
    # Nothing half done stays.
    assert system.out(f"ls {TREES}") in ("lock", "")


@pytest.mark.parametrize(
    ("other", "what"),
    [
        ("6.12.9+deb13-cloud-amd64", "this package knows only the series 7.3 and 7.2"),
        ("7.9.1+deb14-amd64", "this package knows only the series 7.3 and 7.2"),
        ("7.3.9-mine", "there is no package linux-headers-7.3.9-mine, so it is not one of Debian's"),
    ],
)
def test_a_kernel_that_is_not_known_is_left_alone(system: DebianRoot, other: str, what: str) -> None:
    build = f"/usr/lib/modules/{other}/build"
    system.run(f'mkdir -p {build}; cp -r "/lib/modules/$RELEASE/build/"{{.config,Makefile,include}} {build}/')
    said = system.out(f"/etc/kernel/postinst.d/dkms {other}")
    assert f"{NAME}: the module is not built for kernel {other}: {what}" in said
    assert KEEPS_C in said
    assert other not in system.out(STATUS)
    # The other kernel is not concerned.
    assert system.out(STATUS).endswith(": installed")


def test_the_package_is_installed_even_if_nothing_can_be_built(fresh: DebianRoot, scratch: Path) -> None:
    system = fresh.branch(scratch / "system")
    system.run(f"dpkg --purge {SOURCE}")
    said = system.run(INSTALL).stdout
    assert f"apt install {SOURCE}={system.variables['version']}\n" in said
    assert system.out(f"dpkg-query -W -f '${{db:Status-Status}}' {NAME}") == "installed"
    refused = system.run(f"{SELECT} rust", check=False)
    assert refused.returncode == 1
    assert "no kernel that is installed has the module" in refused.stdout


def test_it_does_not_go_together_with_a_package_of_the_built_module(system: DebianRoot) -> None:
    result = system.run('dpkg --install "/mnt/virtio-scsi-rs-modules-$RELEASE"_*.deb', check=False)
    assert result.returncode != 0
    assert f"{NAME} conflicts with virtio-scsi-rs-modules" in result.stdout
    assert system.out(STATUS).endswith(": installed")


def files(system: DebianRoot) -> set[str]:
    """All that is there, but for dpkg's own notes, logs, and the key that DKMS has made for this machine."""
    leave_out = (
        r"^/(mnt|proc|sys|dev|run|tmp)/|^/var/(log|lib/dpkg|lib/dkms/mok\.(key|pub))|^/etc/modprobe.d$"
    )
    names = system.out("find / -xdev")
    return {name for name in names.splitlines() if not re.search(leave_out, name)}


def test_nothing_is_left_after_a_purge(fresh: DebianRoot, system: DebianRoot) -> None:
    system.run(f"{SELECT} rust")
    assert in_initramfs(system)
    system.run(f"dpkg --remove {NAME}")
    assert system.out(STATUS) == ""
    assert not in_initramfs(system)
    assert system.out(f"ls {TREES}") != ""
    system.run(f"dpkg --purge {NAME} virtio-scsi-rs-tools")
    assert files(system) - files(fresh) == set()

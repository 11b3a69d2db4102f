# SPDX-License-Identifier: GPL-2.0
"""A Debian system that packages are installed in: the toolbox, with a stock kernel and layers that take the
changes. Nothing boots in it; `guest` is for that."""

import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

from guest import paths


def make_packages(folder: Path, **environment: str) -> list[Path]:
    """Makes the packages for the kernel under test; returns that of the module, and that of the tools. Beside
    them is that for DKMS."""
    subprocess.run(
        ["make", "-s", "-C", paths.REPO, "deb", f"KERNELS={paths.SERIES}"],
        check=True,
        env={**os.environ, "DEB_OUT": str(folder), **environment},
    )
    return sorted(each for each in folder.glob("*.deb") if each != dkms_package(folder))


def dkms_package(folder: Path) -> Path:
    """That for DKMS, of those in a folder."""
    (package,) = folder.glob("virtio-scsi-rs-dkms_*.deb")
    return package


# Layers over what the toolbox and the kernel have, in a mount namespace of each command's own.
LAYERS = r"""
set -eu
layer() {
	mkdir -p "$TOP/$3/up" "$TOP/$3/work" "$2"
	mount -t overlay layer -o "lowerdir=$1,upperdir=$TOP/$3/up,workdir=$TOP/$3/work" "$2"
}
for top in usr etc var; do layer "/$top" "/$top" "$top"; done
layer "$MODULES" "/usr/lib/modules/$RELEASE" modules
mkdir -p "$TOP/boot"
mount --bind "$TOP/boot" /boot
export PATH=/usr/sbin:/usr/bin DEBIAN_FRONTEND=noninteractive
exec bash -eu -c "$1"
"""
# As few modules as possible, so that what is in an initramfs is there for the sake of the packages' hooks.
CONFIGURATION = r"""
printf 'MODULES=list\nCOMPRESS=lz4\n' >/etc/initramfs-tools/conf.d/small
printf 'dracutmodules=" virtio-scsi-rs "\nhostonly=no\ncompress=cat\n' >/etc/dracut.conf.d/small.conf
cp "/usr/lib/modules/$RELEASE/config" "/boot/config-$RELEASE"
touch "/boot/initrd.img-$RELEASE"
"""


class Installed:
    """The system; its files stay from one command to the next."""

    def __init__(self, folder: Path, kernel: paths.Kernel) -> None:
        self.folder = folder
        self.kernel = kernel
        self.run(f"mkdir -p /etc/dracut.conf.d\n{CONFIGURATION}")

    def run(self, script: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Runs a bash script as the system's root."""
        environment = {
            "TOP": str(self.folder),
            "RELEASE": self.kernel.release,
            "MODULES": str(self.kernel.modules),
        }
        result = subprocess.run(
            ["unshare", "--mount", "bash", "-c", LAYERS, "layers", script],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
        )
        assert not check or result.returncode == 0, f"{script}\n{result.stdout}\n{result.stderr}"
        return result

    def out(self, script: str) -> str:
        return self.run(script).stdout.strip()

    def install(self, packages: Iterable[Path]) -> subprocess.CompletedProcess[str]:
        """Installs packages; the stock kernel is there without a package of its own."""
        ignored = f"--ignore-depends=linux-image-{self.kernel.release}"
        return self.run(f"dpkg {ignored} --install {' '.join(map(str, packages))} 2>&1")

    def initramfs(self) -> str:
        """The names of the files in the kernel's initramfs."""
        return self.out('lsinitramfs "/boot/initrd.img-$RELEASE"')

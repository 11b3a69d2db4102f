# SPDX-License-Identifier: GPL-2.0
"""A whole Debian system in a folder, to install packages in as an administrator would. mmdebstrap makes it
for the cache; what a test changes goes to a layer over it. Nothing boots in it."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from guest import paths

FOLDER = paths.CACHE / "roots"
# The toolbox's own, which are those of the machine.
SOURCES = Path("/etc/apt/sources.list")
APT_OPTIONS = Path("/etc/apt/apt.conf.d/99mmdebstrap")
# Kernels, and the package that they share, come from backports.
PREFERENCES = "Package: linux-*\nPin: release n=trixie-backports\nPin-Priority: 900\n"
# How long a system is kept after its last use.
KEEP_SECONDS = 86400

# Device files in the cache can be used only while its mount allows for it.
MAKE = r"""
set -eu
mount -o remount,bind,dev "$CACHE"
exec mmdebstrap --mode=root --variant=apt --include="$PACKAGES" --aptopt="$OPTIONS" \
	--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
	--dpkgopt='path-exclude=/usr/share/locale/*' \
	--setup-hook='mkdir -p "$1/etc/apt/preferences.d"' \
	--setup-hook='printf "%s" "$PREFERENCES" >"$1/etc/apt/preferences.d/kernels"' trixie "$NEW" "$SOURCES"
"""
# Layers over the system, in a mount namespace of each command's own.
ENTER = r"""
set -eu
mkdir -p "$TOP/up" "$TOP/work" "$TOP/root"
mount -t overlay layers -o "lowerdir=$LOWER,upperdir=$TOP/up,workdir=$TOP/work" "$TOP/root"
mount --rbind /dev "$TOP/root/dev"
mount -t proc proc "$TOP/root/proc"
mount --rbind /sys "$TOP/root/sys"
mount --bind "$PACKAGES" "$TOP/root/mnt"
exec chroot "$TOP/root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin LC_ALL=C.UTF-8 TERM=dumb \
	DEBIAN_FRONTEND=noninteractive "$@"
"""


def may_mount() -> bool:
    """Whether this toolbox can have mounts of its own."""
    return subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode == 0


def made_root(packages: Sequence[str]) -> Path:
    """A system with these packages (name or name=version) and what they depend on, made if need be."""
    text = [MAKE, PREFERENCES, SOURCES.read_text(), APT_OPTIONS.read_text(), *sorted(packages)]
    key = hashlib.sha256("\n".join(text).encode()).hexdigest()[:12]
    root, complete = FOLDER / f"trixie-{key}", FOLDER / f"trixie-{key}.complete"
    FOLDER.mkdir(exist_ok=True)
    with open(FOLDER / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not complete.exists():
            _remove_old()
            _make(root, packages)
        complete.touch()
    return root


def _make(root: Path, packages: Sequence[str]) -> None:
    shutil.rmtree(root, ignore_errors=True)
    environment = {
        "CACHE": str(paths.CACHE),
        "PACKAGES": ",".join(packages),
        "OPTIONS": str(APT_OPTIONS),
        "PREFERENCES": PREFERENCES,
        "SOURCES": str(SOURCES),
        "NEW": str(root),
    }
    log = paths.CACHE / "logs/roots.log"
    with open(log, "wb") as out:
        command = ["unshare", "--mount", "sh", "-c", MAKE]
        result = subprocess.run(command, env={**os.environ, **environment}, stdout=out, stderr=out)
    assert result.returncode == 0, f"mmdebstrap made no system; its log is {log}:\n{log.read_text()[-3000:]}"


def _remove_old() -> None:
    """Other clones use the same folder, so a system stays for as long as somebody may want it again."""
    for old in FOLDER.glob("*.complete"):
        if old.stat().st_mtime < time.time() - KEEP_SECONDS:
            old.unlink()
            shutil.rmtree(old.with_suffix(""))


class DebianRoot:
    """The system; its files stay from one command to the next. /mnt has the packages that are to be tried."""

    def __init__(self, folder: Path, lowers: Sequence[Path], packages: Path, **variables: str) -> None:
        # What a run that failed has left.
        shutil.rmtree(folder, ignore_errors=True)
        self.folder = folder
        self.lowers = list(lowers)
        self.packages = packages
        # For scripts, by their names in capitals.
        self.variables = variables
        folder.mkdir(parents=True, exist_ok=True)

    def branch(self, folder: Path) -> "DebianRoot":
        """Another one that begins as this one is now. This one must not change any more."""
        return DebianRoot(folder, [self.folder / "up", *self.lowers], self.packages, **self.variables)

    def run(self, script: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Runs a bash script as the system's root; stdout has what it said, errors too."""
        environment = {
            "TOP": str(self.folder),
            "LOWER": ":".join(map(str, self.lowers)),
            "PACKAGES": str(self.packages),
        }
        variables = [f"{name.upper()}={value}" for name, value in self.variables.items()]
        result = subprocess.run(
            ["unshare", "--mount", "sh", "-c", ENTER, "enter", *variables, "bash", "-eu", "-c", script],
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert not check or result.returncode == 0, f"{script}\n{result.stdout}"
        return result

    def out(self, script: str) -> str:
        return self.run(script).stdout.strip()

    def read(self, name: str) -> bytes:
        """A file that was written here, or in what this one began with."""
        for layer in (self.folder / "up", *self.lowers):
            if (layer / name.lstrip("/")).exists():
                return (layer / name.lstrip("/")).read_bytes()
        raise FileNotFoundError(name)

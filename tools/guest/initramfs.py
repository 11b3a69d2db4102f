# SPDX-License-Identifier: GPL-2.0
"""The guest's userland: an initramfs made of files of the toolbox and of the stock kernel's modules. For a
guest with another processor, programs and libraries come from a tree of such.

The large part changes only with the toolbox and the kernel, so it is kept in the cache. What changes
from run to run (our module, a test's files) goes into a second, small archive: the kernel unpacks
archives that follow one another.
"""

import fcntl
import hashlib
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from . import elf, paths

# Programs as the toolbox has them, found on PATH, with the libraries they need.
PROGRAMS = """
bash kmod insmod rmmod lsmod modprobe modinfo lsscsi fio iscsi-test-cu qemu-ga
mount umount udevadm lsblk findmnt blockdev blkdiscard wipefs partx dmesg taskset timeout flock
fallocate setpriv fsfreeze blkid
dd cat cp sync stat truncate sha256sum od head tail seq shuf cmp grep sed find xargs sort
mkfs.ext4 mke2fs e2fsck fsck.ext4 debugfs dumpe2fs tune2fs resize2fs badblocks filefrag chattr
ip pr
dmsetup multipath multipathd
""".split()
# What multipathd loads, and udev, which it learns of paths from. Nobody starts them if no test does.
MULTIPATH = [
    "usr/lib/multipath/libchecktur.so",
    "usr/lib/multipath/libprioconst.so",
    "usr/lib/systemd/systemd-udevd",
    "usr/lib/udev/scsi_id",
]
UDEV_RULES = "55-dm 56-dm-mpath 60-multipath 60-persistent-storage 95-dm-notify".split()

# Modules of the stock kernel, with what they depend on; loaded in this order by init.
MODULES = ["scsi_mod", "sd_mod", "sr_mod", "sg", "isofs", "virtio_mmio"]
# Modules that are there for who asks.
MORE_MODULES = [
    "virtio_blk",
    "loop",
    "dm_mod",
    "dm_crypt",
    "dm_multipath",
    "dm_round_robin",
    "mq_deadline",
    "nls_utf8",
    "nls_ascii",
    "udf",
    "ext4",
    "xfs",
    "btrfs",
    "scsi_debug",
]
# The kernel's own driver for the device is kept where nothing loads it by itself.
C_DRIVER = "virtio_scsi"
C_DRIVER_PATH = "/lib/c-driver/virtio_scsi.ko"

# The tree that the toolbox's own files are in.
TOOLBOX = Path("/")
# How long an image is kept after its last use.
KEEP_SECONDS = 86400

LIBRARIES = ["libnss_files.so.2"]
FILES = ["/etc/mke2fs.conf", "/etc/passwd", "/etc/group", "/etc/nsswitch.conf", "/usr/share/misc/magic.mgc"]


def base_image(kernel: paths.Kernel) -> Path:
    """The cached image for a kernel, made if need be."""
    inputs = hashlib.sha256(Path(__file__).read_bytes())
    inputs.update((Path(__file__).parent / "init").read_bytes())
    inputs.update(Path("/usr/bin/busybox").read_bytes())
    inputs.update(paths.toolbox_key().encode() + kernel.directory.name.encode())
    folder = paths.CACHE / "initramfs"
    image = folder / f"{kernel.series}-{inputs.hexdigest()[:12]}.cpio"
    size = image.with_suffix(".size")
    folder.mkdir(exist_ok=True)
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (image.exists() and size.exists() and size.read_text() == str(image.stat().st_size)):
            _remove_old(folder)
            with tempfile.TemporaryDirectory(dir=folder) as staging:
                _stage(Path(staging), kernel)
                pack(Path(staging), image)
            size.write_text(str(image.stat().st_size))
        else:
            image.touch()
    return image


def _remove_old(folder: Path) -> None:
    """Other clones use the same folder, so an image stays for as long as somebody may want it again."""
    for old in folder.glob("*.cpio"):
        if old.stat().st_mtime < time.time() - KEEP_SECONDS:
            old.with_suffix(".size").unlink(missing_ok=True)
            old.unlink()


def pack(tree: Path, image: Path) -> None:
    """Writes a folder as an archive that the kernel can unpack; all files become root's."""
    new = image.with_suffix(".new")
    with open(new, "wb") as out:
        names = subprocess.run(["find", ".", "-print0"], cwd=tree, check=True, capture_output=True).stdout
        subprocess.run(
            ["cpio", "--null", "--quiet", "-o", "-H", "newc", "-R", "0:0", "--reproducible"],
            cwd=tree,
            input=names,
            stdout=out,
            check=True,
        )
    new.rename(image)


def pack_extra(files: Mapping[str, bytes | Path], image: Path) -> None:
    """The second archive: path in the guest -> contents or a file of the host."""
    with tempfile.TemporaryDirectory(dir=image.parent) as staging:
        for name, source in files.items():
            # A folder here would replace the link that the base image has of that name.
            name = re.sub("^/(bin|sbin|lib|lib64)/", r"/usr/\1/", name)
            target = Path(staging) / name.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            data = source if isinstance(source, bytes) else source.read_bytes()
            target.write_bytes(data)
            target.chmod(0o755 if data.startswith((b"#!", b"\x7fELF")) else 0o644)
        pack(Path(staging), image)


def _stage(root: Path, kernel: paths.Kernel) -> None:
    for name in ("usr/bin", "usr/sbin", "usr/lib", "usr/lib64", "etc", "proc", "sys", "dev", "tmp", "run"):
        (root / name).mkdir(parents=True)
    for name in ("root", "mnt", "var"):
        (root / name).mkdir()
    for name in ("bin", "sbin", "lib", "lib64"):
        (root / name).symlink_to(f"usr/{name}")
    (root / "etc/mtab").symlink_to("/proc/self/mounts")

    top = kernel.programs
    folders = f"{top / 'usr/bin'}:{top / 'usr/sbin'}"
    wanted = [shutil.which(name, path=folders) or name for name in PROGRAMS]
    if missing := [name for name in wanted if not name.startswith("/")]:
        raise RuntimeError(f"{top} has no {' '.join(missing)}")
    wanted += [str(path) for path in (top / "usr/bin").glob("s*") if path.name.startswith(("sg", "scsi_"))]
    wanted += [str(top / name) for name in ("usr/bin/rescan-scsi-bus.sh", "usr/bin/busybox", *MULTIPATH)]
    needed: set[str] = set()
    for path in wanted:
        _copy(root, Path(path), top)
        needed |= libraries(path) if top == TOOLBOX else elf.libraries(path, top)
    for path in needed:
        _copy(root, Path(path), top)
    for name in (*FILES, *(f"/usr/lib/udev/rules.d/{rules}.rules" for rules in UDEV_RULES)):
        if Path(name).exists():
            _copy(root, Path(name), TOOLBOX)
    _busybox(root)

    modules = _modules(root, kernel)
    (root / "etc/modules").write_text("".join(f"{name}\n" for name in modules))
    init = Path(__file__).parent / "init"
    shutil.copy(init, root / "init")


def _copy(root: Path, path: Path, top: Path) -> None:
    """Copies a file of the tree `top` to its place, and what it links to."""
    path = path.parent.resolve() / path.name
    target = root / path.relative_to(top)
    if target.is_symlink() or target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink():
        link = path.readlink()
        target.symlink_to(link)
        _copy(root, top / str(link).lstrip("/") if link.is_absolute() else path.parent / link, top)
    else:
        shutil.copy2(path, target)


def libraries(path: str) -> set[str]:
    """The libraries of a program; none for a script or a static one."""
    out = subprocess.run(["ldd", path], capture_output=True, text=True).stdout
    words = [line.split() for line in out.splitlines()]
    if any("not found" in line for line in out.splitlines()):
        raise RuntimeError(f"{path} lacks a library:\n{out}")
    found = {w[2] for w in words if len(w) > 2 and w[1] == "=>"}
    return found | {w[0] for w in words if w and w[0].startswith("/")}


def _busybox(root: Path) -> None:
    """Busybox is whatever no real program is."""
    out = subprocess.run(["busybox", "--list"], capture_output=True, text=True, check=True).stdout
    real = {path.name for folder in ("usr/bin", "usr/sbin") for path in (root / folder).iterdir()}
    for applet in set(out.split()) - real:
        (root / "usr/bin" / applet).symlink_to("busybox")


def _modules(root: Path, kernel: paths.Kernel) -> list[str]:
    """Unpacks the stock modules with what they depend on; returns the names of those init loads."""
    stock = kernel.modules
    depends: dict[str, list[str]] = {}
    for line in (stock / "modules.dep").read_text().splitlines():
        name, needs = line.split(":")
        depends[name] = needs.split()
    by_name = {Path(path).name.split(".")[0].replace("-", "_"): path for path in depends}
    there = root / "usr/lib/modules" / kernel.release
    for name in ("modules.order", "modules.builtin", "modules.builtin.modinfo"):
        there.mkdir(parents=True, exist_ok=True)
        shutil.copy(stock / name, there / name)
    chosen = [by_name[name] for name in (*MODULES, *MORE_MODULES, C_DRIVER) if name in by_name]
    for path in {needed for name in chosen for needed in (name, *depends[name])}:
        target = there / path.removesuffix(".xz")
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.endswith(".xz"):
            with open(target, "wb") as out:
                subprocess.run(["xz", "-dc", stock / path], stdout=out, check=True)
        else:
            shutil.copy(stock / path, target)
    apart = root / "usr" / C_DRIVER_PATH.lstrip("/")
    apart.parent.mkdir(parents=True)
    (there / by_name[C_DRIVER].removesuffix(".xz")).rename(apart)
    subprocess.run(["depmod", "-b", root, kernel.release], check=True)
    builtin = (stock / "modules.builtin").read_text()
    for name in MODULES:
        if name not in by_name and f"/{name}.ko" not in builtin:
            raise RuntimeError(f"the stock kernel {kernel.release} has no module {name}")
    return [name for name in MODULES if name in by_name]

# SPDX-License-Identifier: GPL-2.0
"""The Debian packages: what is in them, and what they do to a system that they are installed in."""

import gzip
import os
import re
import subprocess
from pathlib import Path

import pytest

from guest import paths
from support.installed import Installed, dkms_package, make_packages

pytestmark = [pytest.mark.main, pytest.mark.ours("about packages of our module")]

MODULE = "updates/virtio_scsi_rs.ko"
SELECT = "virtio-scsi-rs-select"
DKMS = "virtio-scsi-rs-dkms"
MAN_PAGE = "usr/share/man/man1/virtio-scsi-test-device.1.gz"
LICENCES = "usr/share/doc/virtio-scsi-rs-tools/crates.licences.gz"
C_DRIVER = "kernel/drivers/scsi/virtio_scsi.ko"


@pytest.fixture(scope="module")
def stock() -> paths.Kernel:
    return paths.Kernel.prepared()


@pytest.fixture
def system(tmp_path: Path, stock: paths.Kernel) -> Installed:
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode:
        pytest.skip("a user's own toolbox has no mounts of its own")
    return Installed(tmp_path, stock)


def field(package: Path, name: str) -> str:
    command = ["dpkg-deb", "--field", package, name]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def unpacked(package: Path, folder: Path) -> dict[str, Path]:
    subprocess.run(["dpkg-deb", "--extract", package, folder], check=True)
    files = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    return {name: path for name, path in files.items() if not name.startswith("usr/share/doc/")}


def test_the_package_of_the_module(packages: list[Path], stock: paths.Kernel, tmp_path: Path) -> None:
    package, tools = packages
    assert field(package, "Package") == f"virtio-scsi-rs-modules-{stock.release}"
    assert field(package, "Architecture") == "amd64"
    assert field(package, "Provides") == "virtio-scsi-rs-modules"
    assert field(package, "Depends").split(", ") == [
        f"linux-image-{stock.release}",
        f"virtio-scsi-rs-tools (>= {field(tools, 'Version')})",
    ]
    files = unpacked(package, tmp_path)
    # The reasons for what lintian says are the only other file.
    assert {name for name in files if not name.startswith("usr/share/lintian/")} == {
        f"usr/lib/modules/{stock.release}/{MODULE}"
    }
    module = files[f"usr/lib/modules/{stock.release}/{MODULE}"]
    assert 100_000 < module.stat().st_size < 900_000
    assert package.stat().st_size < 300_000
    # Headers of the kernel are named by their place in its source, and not by where that was.
    text = module.read_bytes()
    assert re.findall(rb"[ -~]*\bvirtio_config\.h\0", text) == [b"include/linux/virtio_config.h\0"]
    assert str(paths.REPO).encode() not in text
    said = subprocess.run(["modinfo", module], check=True, capture_output=True, text=True).stdout
    assert f"vermagic:       {stock.release} " in said
    assert "alias:          virtio:d00000008v*" in said


def test_the_package_of_the_tools(packages: list[Path], tmp_path: Path) -> None:
    tools = packages[1]
    assert field(tools, "Package") == "virtio-scsi-rs-tools"
    assert field(tools, "Architecture") == "amd64"
    # What the programs are linked with, and nothing that a minimal system does not have.
    needed = {each.split()[0] for each in field(tools, "Depends").split(", ")}
    assert needed == {"kmod", "libc6", "libgcc-s1"}
    files = unpacked(tools, tmp_path)
    # As above.
    assert {name for name in files if not name.startswith("usr/share/lintian/")} == {
        "usr/sbin/virtio-scsi-rs-select",
        "usr/sbin/vscsi-top",
        "usr/bin/virtio-scsi-test-device",
        "usr/lib/modprobe.d/virtio-scsi-rs.conf",
        "usr/share/initramfs-tools/hooks/virtio-scsi-rs",
        "usr/lib/dracut/modules.d/90virtio-scsi-rs/module-setup.sh",
        "usr/share/man/man4/virtio_scsi_rs.4.gz",
        "usr/share/man/man5/virtio_scsi_rs.5.gz",
        "usr/share/man/man8/virtio-scsi-rs-select.8.gz",
        "usr/share/man/man8/vscsi-top.8.gz",
        MAN_PAGE,
    }
    for name, path in files.items():
        runs = name.endswith(("select", "vscsi-top", "test-device", "hooks/virtio-scsi-rs", "setup.sh"))
        assert path.stat().st_mode & 0o777 == (0o755 if runs else 0o644), name


def test_the_manual_pages_tell_of_each_option(packages: list[Path], tmp_path: Path) -> None:
    files = unpacked(packages[1], tmp_path)
    for command in ("vscsi-top", "virtio-scsi-rs-select"):
        said = subprocess.run([files[f"usr/sbin/{command}"], "--help"], capture_output=True, text=True)
        options = set(re.findall(r"--[a-z]+", said.stdout + said.stderr)) - {"--help", "--version"}
        page = gzip.decompress(files[f"usr/share/man/man8/{command}.8.gz"].read_bytes()).decode()
        assert "--root" in options
        assert {option for option in options if option not in page} == set()
        # What comes from the documents is there, and no mark of theirs.
        assert "module_blacklist=virtio_scsi_rs" in page or "the device has it: waiting" in page
        assert not re.search(r"^@|\]\(|^\|", page, re.M)


def test_the_package_for_dkms(packages: list[Path], tmp_path: Path) -> None:
    package = dkms_package(packages[0].parent)
    assert field(package, "Architecture") == "all"
    # Both kinds would have a module for the same kernel.
    assert field(package, "Conflicts") == "virtio-scsi-rs-modules"
    needed = {each.split()[0] for each in field(package, "Depends").split(", ")}
    assert needed >= {"dkms", "rustc", "rust-src", "bindgen", "virtio-scsi-rs-tools"}
    files = unpacked(package, tmp_path)
    version = field(package, "Version")
    folder = f"usr/src/virtio-scsi-rs-{version}/"
    assert {name for name in files if not name.startswith(folder)} <= {f"usr/share/lintian/overrides/{DKMS}"}

    inside = {name.removeprefix(folder): path for name, path in files.items() if name.startswith(folder)}
    scripts = {f"dkms/{name}" for name in ("prepare", "make-tree", "build", "installed")}
    assert inside.keys() - sources() == {*scripts, "dkms.conf"}
    assert sources() - inside.keys() == set()
    for name, path in inside.items():
        assert path.stat().st_mode & 0o777 == (0o755 if name in scripts else 0o644), name

    # As dkms reads it.
    wanted = "PACKAGE_NAME PACKAGE_VERSION BUILT_MODULE_NAME DEST_MODULE_LOCATION"
    wanted += " PRE_BUILD MAKE POST_INSTALL AUTOINSTALL"
    script = f'kernelver=1.2; . "$1"; for name in {wanted}; do echo "${{!name}}"; done'
    command = ["bash", "-euc", script, "read", inside["dkms.conf"]]
    read = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    runs = ["dkms/prepare 1.2", "dkms/build 1.2", "dkms/installed 1.2"]
    assert read == ["virtio-scsi-rs", version, "virtio_scsi_rs", "/updates", *runs, "yes"]

    # The kernels that it knows are those whose source it recommends.
    known = re.findall(r"^known='(.*)'$", inside["dkms/prepare"].read_text(), re.M)
    series = [
        line for line in (paths.TOOLS / "packaging/kernels").read_text().split("\n") if line[:1].isdigit()
    ]
    assert known == [" ".join(series)]
    assert field(package, "Recommends") == " | ".join(f"linux-source-{each}" for each in series) + ", openssl"


def sources() -> set[str]:
    """What the module is built from, as git has it."""
    patterns = ["Kbuild", "*.kbuild", "*.rs", "*.c", "*.h", ":!tools", ":!examples"]
    command = [
        "git",
        "-C",
        paths.REPO,
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
        "--",
        *patterns,
    ]
    return set(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())


def test_the_viewer_of_the_package_runs(packages: list[Path], tmp_path: Path) -> None:
    viewer = unpacked(packages[1], tmp_path)["usr/sbin/vscsi-top"]
    assert viewer.stat().st_size < 2_000_000
    # The toolbox has no such driver.
    result = subprocess.run([viewer, "--once", "--root", tmp_path], capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith("error: there is no ")
    # Nor does the package know where it was made.
    assert str(paths.REPO).encode() not in viewer.read_bytes()
    assert str(paths.CACHE).encode() not in viewer.read_bytes()


def test_the_device_of_the_package_runs(packages: list[Path], tmp_path: Path) -> None:
    """With its scenarios and documents, whose links lead to files."""
    device = unpacked(packages[1], tmp_path)["usr/bin/virtio-scsi-test-device"]
    assert device.stat().st_size < 3_000_000
    beside = tmp_path / "usr/share/doc/virtio-scsi-rs-tools/device"
    scenarios = sorted(beside.glob("scenarios/*.toml"))
    assert len(scenarios) > 30
    for scenario in scenarios:
        command = [device, "--check", "--scenario", scenario]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    for document in [beside / "README.md", *beside.glob("doc/*.md")]:
        for target in re.findall(r"\]\(([^)#]+)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name}: {target}"
    said = subprocess.run(["man", "--local-file", MAN_PAGE], cwd=tmp_path, check=True, capture_output=True)
    assert b"a virtio-scsi device that behaves by script" in said.stdout
    assert b"--scenario" in said.stdout and said.stderr == b""
    assert str(paths.REPO).encode() not in device.read_bytes()
    assert str(paths.CACHE).encode() not in device.read_bytes()


def test_the_package_has_the_licences_of_what_its_programs_are_linked_with(
    packages: list[Path], tmp_path: Path
) -> None:
    """Those of the viewer go together with version 2 of the GPL, which Apache's alone does not: it goes
    together with version 3, which the device may have."""
    unpacked(packages[1], tmp_path)
    text = gzip.decompress((tmp_path / LICENCES).read_bytes()).decode()
    crates = dict(re.findall(r"^==== (\S+) \S+: (.*)$", text, re.M))
    wanted = {"clap", "ratatui", "crossterm", "serde_json", "vhost", "virtio-queue"}
    assert wanted <= set(crates) <= locked("top") | locked("device"), crates
    licences = r"\b(MIT|Zlib|BSL-1.0|Unlicense|BSD-3-Clause|Unicode-3.0)\b"
    for name, licence in crates.items():
        fitting = licences if name in locked("top") else rf"{licences}|\bApache-2.0\b"
        assert all(re.search(fitting, part) for part in licence.split(" AND ")), f"{name}: {licence}"
    assert "GPL-2.0-or-later" in (paths.TOOLS / "device/Cargo.toml").read_text()
    assert text.count("Permission is hereby granted, free of charge") > 30


def locked(program: str) -> set[str]:
    """The crates of a program's lock file."""
    return set(re.findall(r'^name = "(.*)"$', (paths.TOOLS / program / "Cargo.lock").read_text(), re.M))


def test_lintian_has_nothing_to_say(packages: list[Path]) -> None:
    """What is allowed is in debian/*.lintian-overrides, each with its reason."""
    changes = next(packages[0].parent.glob("*.changes"))
    # The version of a release is so short that there is nothing to override.
    command = ["lintian", "--allow-root", "--display-info", "--pedantic", "--suppress-tags=unused-override"]
    command += ["--fail-on=warning,info,pedantic", changes]
    result = subprocess.run(command, capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (0, ""), result.stdout + result.stderr


def test_the_same_commit_gives_the_same_packages(packages: list[Path], tmp_path: Path) -> None:
    umask = os.umask(0o077)
    try:
        others = make_packages(tmp_path / "elsewhere", TZ="Asia/Tokyo", LC_ALL="C")
    finally:
        os.umask(umask)
    assert [each.name for each in others] == [each.name for each in packages]
    of_dkms = tuple(dkms_package(each[0].parent) for each in (packages, others))
    for one, other in [*zip(packages, others, strict=True), of_dkms]:
        assert one.read_bytes() == other.read_bytes(), one.name


def test_nothing_changes_until_something_is_chosen(packages: list[Path], system: Installed) -> None:
    said = system.install(packages).stdout
    assert f"{SELECT} rust" in said
    assert system.out(f"{SELECT} chosen") == "none"
    assert system.out("modinfo -k $RELEASE -F filename virtio_scsi_rs").endswith(MODULE)
    # By the alias, as udev does it, the C driver alone is found.
    loaded = "modprobe --use-blacklist --show-depends -S $RELEASE virtio:d00000008v00001AF4"
    assert C_DRIVER in system.out(loaded)
    assert MODULE not in system.out(loaded)


def test_the_choice_is_in_an_initramfs_of_initramfs_tools(packages: list[Path], system: Installed) -> None:
    system.install(packages)
    for choice in ("rust", "c", "rust"):
        said = system.out(f"{SELECT} {choice} 2>&1")
        assert "update-initramfs: Generating" in said
        assert ("module_blacklist=virtio_scsi_rs" in said) == (choice == "rust")
        listed = system.initramfs()
        # Both, so that the other one is there for the way back.
        assert MODULE in listed
        assert C_DRIVER in listed
        assert "etc/modprobe.d/virtio-scsi-rs.conf" in listed
        assert f"usr/lib/virtio-scsi-rs/chosen-{choice}" in listed
        state = "has the module, " + ("virtio_scsi_rs" if choice == "rust" else "the C driver, virtio_scsi")
        assert f"module installed; initramfs: {state}\n" in system.out(f"{SELECT} status") + "\n"


def test_a_choice_has_the_initramfs_of_the_crash_kernel_made_again(
    packages: list[Path], system: Installed
) -> None:
    """kdump-tools makes it when it is missing, and never else."""
    system.install(packages)
    for choice in ("rust", "c"):
        system.run("mkdir -p /var/lib/kdump; touch /var/lib/kdump/initrd.img-$RELEASE")
        system.run(f"{SELECT} {choice}")
        assert system.out("ls /var/lib/kdump") == ""


def test_the_choice_is_in_an_initramfs_of_dracut(packages: list[Path], system: Installed) -> None:
    system.install(packages)
    system.run("rm /usr/sbin/update-initramfs")
    for choice in ("rust", "c"):
        assert "dracut: making" in system.out(f"{SELECT} {choice}")
        listed = system.out("lsinitrd /boot/initrd.img-$RELEASE")
        assert MODULE in listed
        assert C_DRIVER in listed
        assert f"usr/lib/virtio-scsi-rs/chosen-{choice}" in listed
        rule = system.out("lsinitrd -f etc/modprobe.d/virtio-scsi-rs.conf /boot/initrd.img-$RELEASE")
        assert ("softdep virtio_scsi pre: virtio_scsi_rs" in rule) == (choice == "rust")


def test_a_kernel_without_the_module_is_told_of_and_keeps_the_c_driver(
    packages: list[Path], system: Installed
) -> None:
    system.install(packages[1:])
    refused = system.run(f"{SELECT} rust", check=False)
    assert refused.returncode == 1
    assert "error: no kernel that is installed has the module" in refused.stderr
    assert "virtio-scsi-rs-modules-" in refused.stderr
    assert system.out(f"{SELECT} chosen") == "none"

    # As after an upgrade of the kernel: the choice is there, and this kernel has no module.
    system.install(packages)
    system.run(f"{SELECT} rust")
    removed = system.out(f"dpkg --remove {field(packages[0], 'Package')} 2>&1")
    assert "has no module virtio_scsi_rs and boots with the C driver" in removed
    listed = system.initramfs()
    assert C_DRIVER in listed
    assert MODULE not in listed
    loaded = "modprobe --use-blacklist --show-depends -S $RELEASE virtio:d00000008v00001AF4"
    assert C_DRIVER in system.out(loaded)


def test_an_initramfs_that_could_not_be_made_is_told_of(packages: list[Path], system: Installed) -> None:
    system.install(packages)
    system.run("mv /usr/sbin/mkinitramfs /usr/sbin/away; ln -s /bin/false /usr/sbin/mkinitramfs")
    failed = system.run(f"{SELECT} rust", check=False)
    assert failed.returncode == 1
    assert f"not in the initramfs of: {system.kernel.release}" in failed.stderr
    assert f"{SELECT} update" in failed.stderr
    system.run("mv /usr/sbin/away /usr/sbin/mkinitramfs")
    system.run(f"{SELECT} update")
    assert "chosen-rust" in system.initramfs()


def test_another_kernel_is_refused(packages: list[Path], system: Installed) -> None:
    system.install(packages[1:])
    ignored = f"--ignore-depends=linux-image-{system.kernel.release}"
    result = system.run(
        f"umount /usr/lib/modules/$RELEASE; dpkg {ignored} --install {packages[0]} 2>&1", check=False
    )
    assert result.returncode != 0
    assert (
        f"this module is for Debian's kernel {system.kernel.release}, which is not installed" in result.stdout
    )
    assert "The running kernel is" in result.stdout


def test_nothing_is_left_after_a_purge(packages: list[Path], system: Installed) -> None:
    system.install(packages)
    system.run(f"{SELECT} rust")
    names = " ".join(field(package, "Package") for package in packages)
    system.run(f"dpkg --purge {names}")
    assert system.out("ls /etc/modprobe.d /usr/lib/modprobe.d | grep virtio-scsi-rs || :") == ""
    assert system.out("modinfo -k $RELEASE virtio_scsi_rs 2>&1 || :").endswith("not found.")
    system.run("update-initramfs -u -k $RELEASE")
    assert "virtio-scsi-rs" not in system.initramfs()

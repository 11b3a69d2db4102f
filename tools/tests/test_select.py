# SPDX-License-Identifier: GPL-2.0
"""virtio-scsi-rs-select on a tree of files: what it writes, prints and refuses. Nothing is booted here,
and no initramfs made; test_packages and test_select_boots do that."""

import os
import subprocess
import threading
from pathlib import Path

import pytest

from guest import paths

pytestmark = pytest.mark.main

SELECT = paths.TOOLS / "packaging/select/virtio-scsi-rs-select"
CHOICE = "etc/modprobe.d/virtio-scsi-rs.conf"
WITH, WITHOUT = "7.3.4+with", "6.12.1+without"
RULES = {"rust": "softdep virtio_scsi pre: virtio_scsi_rs", "c": "blacklist virtio_scsi_rs"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A system with two kernels, of which one has the module, and with two controllers."""
    for release in (WITH, WITHOUT):
        modules = tmp_path / "usr/lib/modules" / release
        (modules / "kernel").mkdir(parents=True)
        ours = "updates/virtio_scsi_rs.ko:\n" if release == WITH else ""
        (modules / "modules.dep").write_text(f"{ours}kernel/drivers/scsi/virtio_scsi.ko.xz:\n")
    drivers = tmp_path / "sys/bus/virtio/drivers"
    for number, kind in enumerate((8, 8, 2)):
        device = tmp_path / f"sys/bus/virtio/devices/virtio{number}"
        device.mkdir(parents=True)
        (device / "modalias").write_text(f"virtio:d{kind:08X}v00001AF4\n")
    (drivers / "virtio_scsi").mkdir(parents=True)
    (tmp_path / "sys/bus/virtio/devices/virtio0/driver").symlink_to(drivers / "virtio_scsi")
    (tmp_path / "sys/bus/virtio/devices/virtio0/host5").mkdir()
    (tmp_path / "sys/module/virtio_scsi").mkdir(parents=True)
    return tmp_path


def select(root: Path, *words: str, path: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PATH": f"{path}:{os.environ['PATH']}" if path else os.environ["PATH"]}
    return subprocess.run([SELECT, "--root", root, *words], capture_output=True, text=True, env=environment)


def files(root: Path) -> list[str]:
    return [path.name for path in (root / "etc/modprobe.d").iterdir()]


@pytest.mark.parametrize("choice", ["rust", "c"])
def test_a_choice_is_one_file_that_replaces_the_former(root: Path, choice: str) -> None:
    assert select(root, "chosen").stdout == "none\n"
    other = "c" if choice == "rust" else "rust"
    for each in (other, choice, choice):
        result = select(root, each)
        assert result.returncode == 0, result.stderr
        assert f"note: kernel {WITHOUT} has no module" in result.stderr or each == "c"
        assert WITH not in result.stderr
    assert files(root) == ["virtio-scsi-rs.conf"]
    lines = (root / CHOICE).read_text().splitlines()
    assert [line for line in lines if not line.startswith("#")] == [RULES[choice]]
    assert (root / CHOICE).stat().st_mode & 0o777 == 0o644
    assert select(root, "chosen").stdout == f"{choice}\n"


def test_the_status(root: Path) -> None:
    lines = select(root, "status").stdout.splitlines()
    assert lines == [
        "chosen: nothing is chosen, which means the C driver, virtio_scsi",
        "loaded: virtio_scsi",
        "virtio0: host5 served by virtio_scsi",
        "virtio1: no host served by no driver",
        f"kernel {WITHOUT}: no module; initramfs: none",
        f"kernel {WITH}: module installed; initramfs: none",
    ]
    select(root, "rust")
    assert select(root, "status").stdout.splitlines()[0] == "chosen: virtio_scsi_rs"
    (root / CHOICE).write_text("# nothing\n")
    assert select(root, "chosen").stdout == "other\n"
    assert select(root, "status").stdout.splitlines()[0] == f"chosen: unknown: /{CHOICE} was edited"


def test_a_module_that_dkms_has_built_counts(root: Path) -> None:
    (root / "usr/lib/modules" / WITHOUT / "modules.dep").write_text("updates/dkms/virtio_scsi_rs.ko.xz:\n")
    assert f"kernel {WITHOUT}: module installed; initramfs: none" in select(root, "status").stdout
    assert "note: " not in select(root, "rust").stderr


@pytest.mark.parametrize("words", [[], ["C"], ["rust", "c"], ["status", "now"], ["--root"]])
def test_words_that_it_does_not_know_are_refused(root: Path, words: list[str]) -> None:
    result = subprocess.run([SELECT, "--root", root, *words], capture_output=True, text=True)
    assert result.returncode == 2
    assert "error: " in result.stderr
    assert "usage: " in result.stderr
    assert not (root / CHOICE).exists()


def test_only_root_can_choose() -> None:
    command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "bash", "-s", "rust"]
    # The script comes in by its text: the clone may be out of that user's reach.
    result = subprocess.run(command, input=SELECT.read_text(), capture_output=True, text=True, cwd="/")
    if "setresuid" in result.stderr or "setresgid" in result.stderr:
        pytest.skip("there is only one user in this namespace")
    assert result.returncode == 1
    assert "error: only root can choose" in result.stderr


def test_the_module_has_to_be_there(root: Path) -> None:
    (root / "usr/lib/modules" / WITH / "modules.dep").write_text("")
    result = select(root, "rust")
    assert result.returncode == 1
    assert "error: no kernel that is installed has the module virtio_scsi_rs" in result.stderr
    assert f"virtio-scsi-rs-modules-{os.uname().release}" in result.stderr
    assert not (root / CHOICE).exists()
    # The way back needs nothing.
    assert select(root, "c").returncode == 0


@pytest.mark.parametrize("where", ["etc", "run", "usr/lib"])
@pytest.mark.parametrize(
    ("line", "refused"),
    [
        ("blacklist virtio_scsi", True),
        ("  blacklist virtio-scsi-rs", True),
        ("install virtio_scsi /bin/true", True),
        ("softdep virtio_scsi_rs post: x", True),
        ("options virtio_scsi_rs queue_depth=64", False),
        ("# blacklist virtio_scsi", False),
        ("blacklist virtio_scsi_other", False),
    ],
)
def test_a_rule_in_another_file_is_not_overlooked(root: Path, where: str, line: str, refused: bool) -> None:
    file = root / where / "modprobe.d/own.conf"
    file.parent.mkdir(parents=True)
    file.write_text(f"options loop max_loop=8\n{line}\n")
    for choice in ("c", "rust"):
        result = select(root, choice)
        assert result.returncode == int(refused)
        assert (f"{file}:2:{line}" in result.stderr) == refused
        assert (root / CHOICE).exists() != refused


@pytest.mark.parametrize(
    "name", ["etc/modules", "etc/modules-load.d/own.conf", "etc/initramfs-tools/modules"]
)
def test_a_module_that_is_loaded_by_its_name_is_not_overlooked(root: Path, name: str) -> None:
    """No rule for its alias keeps it from being the first."""
    file = root / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("loop\n virtio-scsi-rs\n")
    result = select(root, "c")
    assert result.returncode == 1
    assert f"{file}:2: virtio-scsi-rs" in result.stderr
    assert not (root / CHOICE).exists()
    assert select(root, "rust").returncode == 0
    file.write_text("virtio_scsi\n# virtio_scsi_rs\n")
    assert select(root, "c").returncode == 0


@pytest.mark.parametrize("command", ["sync", "mv"])
def test_a_run_that_is_killed_leaves_the_former_choice(root: Path, tmp_path: Path, command: str) -> None:
    select(root, "rust")
    before = (root / CHOICE).read_bytes()
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / command).write_text("#!/bin/sh\nkill -9 $PPID\n")
    (programs / command).chmod(0o755)
    assert select(root, "c", path=str(programs)).returncode == -9
    assert (root / CHOICE).read_bytes() == before
    # What it left is nothing that modprobe reads, and goes with the next run.
    assert [name for name in files(root) if name.endswith(".conf")] == ["virtio-scsi-rs.conf"]
    assert len(files(root)) == 2
    assert select(root, "c").returncode == 0
    assert files(root) == ["virtio-scsi-rs.conf"]
    assert select(root, "chosen").stdout == "c\n"


def test_two_runs_do_not_mix(root: Path, tmp_path: Path) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    os.mkfifo(tmp_path / "go")
    os.mkfifo(tmp_path / "there")
    (programs / "mv").write_text(f'#!/bin/sh\n: >{tmp_path}/there\n: <{tmp_path}/go\nexec /usr/bin/mv "$@"\n')
    (programs / "mv").chmod(0o755)
    first: list[subprocess.CompletedProcess[str]] = []
    thread = threading.Thread(target=lambda: first.append(select(root, "rust", path=str(programs))))
    thread.start()
    (tmp_path / "there").read_bytes()
    second = select(root, "c")
    (tmp_path / "go").write_bytes(b"")
    thread.join(30)
    assert second.returncode == 1
    assert "another virtio-scsi-rs-select is running" in second.stderr
    assert first[0].returncode == 0, first[0].stderr
    assert select(root, "chosen").stdout == "rust\n"

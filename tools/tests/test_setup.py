# SPDX-License-Identifier: GPL-2.0
"""What the commands say to somebody whose machine, kernel tree or sources are not as they should be."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from guest import paths

RUSTC = subprocess.run(["rustc", "--version"], capture_output=True, text=True, check=True).stdout.strip()
# What is missing of a usable kernel tree -> what is said about it, and what there is to do.
FLAWS = {
    "nothing there": ("is not a directory", "make modules KERNEL="),
    "no Makefile": ("is not a kernel's build tree", "make modules KERNEL="),
    "not prepared": ("not prepared", "make olddefconfig modules_prepare"),
    "no Rust": ("without CONFIG_RUST", "make rustavailable"),
    "no modules": ("no loadable modules", "CONFIG_MODULES"),
    "no metadata": ("no Rust metadata", "make modules_prepare"),
    "another rustc": ("not the one the kernel was built with", "RUSTC=/path/to/rustc"),
    "no rustc": ("rustc is missing", "RUSTC=/path/to/rustc"),
    "no bindgen": ("bindgen is missing", "BINDGEN=/path/to/bindgen"),
}


def tree(folder: Path, flaw: str = "") -> Path:
    """A kernel tree as far as the check looks at it."""
    kdir = folder / "kdir"
    if flaw == "nothing there":
        return kdir
    version = "rustc 1.0.0 (long ago)" if flaw == "another rustc" else RUSTC
    options = {
        "CONFIG_RUST": "n" if flaw == "no Rust" else "y",
        "CONFIG_MODULES": "n" if flaw == "no modules" else "y",
        "CONFIG_RUSTC_VERSION_TEXT": f'"{version}"',
    }
    files = {
        "Makefile": "no Makefile",
        "include/config/auto.conf": "not prepared",
        "rust/libkernel.rmeta": "no metadata",
    }
    for name, without in files.items():
        if flaw != without:
            path = kdir / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(f"{key}={value}\n" for key, value in options.items()))
    kdir.mkdir(exist_ok=True)
    return kdir


def check(kdir: Path, flaw: str = "") -> subprocess.CompletedProcess[str]:
    programs = {f"no {name}": {name.upper(): f"/nowhere/{name}"} for name in ("rustc", "bindgen")}
    environment = {**os.environ, **programs.get(flaw, {})}
    command = ["make", "--no-print-directory", "-C", paths.REPO, "modules", f"KDIR={kdir}"]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


@pytest.mark.parametrize("flaw", FLAWS)
def test_a_kernel_tree_that_does_not_serve(tmp_path: Path, flaw: str) -> None:
    result = check(tree(tmp_path, flaw), flaw)
    what, remedy = FLAWS[flaw]
    assert result.returncode != 0
    assert "error: " in result.stderr
    assert what in result.stderr
    assert remedy in result.stderr
    # Nothing was tried with it.
    assert len(result.stderr.splitlines()) <= 6, result.stderr


def test_a_kernel_tree_that_passes_the_check(tmp_path: Path) -> None:
    """The flaws above are what the check finds, and not that it never passes."""
    result = subprocess.run([paths.TOOLS / "check-kdir", tree(tmp_path)], capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["modules", "KERNEL=nonsense"], "is not a kernel series"),
        (["modules_install"], "modules_install needs KDIR="),
    ],
)
def test_mistaken_commands(arguments: list[str], said: str) -> None:
    command = ["make", "--no-print-directory", "-C", str(paths.REPO), *arguments]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode != 0
    assert said in result.stderr


BREAKS = {
    "unsafe in the glue only": (
        "queues/limits.rs",
        "\nfn f() { unsafe { core::hint::unreachable_unchecked() } }\n",
    ),
    "unsafe denied by the compiler": ("virtio_scsi_rs.rs", None),
    "Rust format": ("queues/limits.rs", "\nfn  f( ) { }\n"),
    "licence lines": ("events/new.rs", "//! No licence.\n"),
    "file sizes": ("events/new.rs", "// SPDX-License-Identifier: GPL-2.0\n" + "//\n" * 500),
    "shellcheck": ("tools/new.sh", '#!/bin/bash\n# SPDX-License-Identifier: GPL-2.0\necho $1 "$UNSET"\n'),
    "ruff": ("tools/new.py", "# SPDX-License-Identifier: GPL-2.0\nimport os\n"),
}


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sources as they are now, in a repository of their own."""
    folder = tmp_path_factory.mktemp("clone")
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=paths.REPO,
        check=True,
        capture_output=True,
    ).stdout
    for name in names.decode().split("\0"):
        if name and (paths.REPO / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(paths.REPO / name, folder / name)
    subprocess.run(["git", "init", "-q", folder], check=True)
    return folder


def lint(clone: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([clone / "tools/lint"], cwd=clone, capture_output=True, text=True)


@pytest.mark.parametrize("rule", BREAKS)
def test_a_rule_of_the_sources_that_is_broken(clone: Path, rule: str) -> None:
    name, text = BREAKS[rule]
    file = clone / name
    before = file.read_text() if file.exists() else None
    if text is None:
        file.write_text((before or "").replace("#[deny(unsafe_code)]\npub mod queues", "pub mod queues"))
    else:
        file.write_text((before or "") + text)
    try:
        result = lint(clone)
    finally:
        if before is None:
            file.unlink()
        else:
            file.write_text(before)
    assert result.returncode != 0
    assert f"lint: {rule}: FAILED" in result.stderr


def test_no_rule_is_broken_otherwise(clone: Path) -> None:
    result = lint(clone)
    assert result.returncode == 0, result.stderr

# SPDX-License-Identifier: GPL-2.0
"""The messages of the commands for a machine, a kernel tree or sources that are not as they should be."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from guest import paths

pytestmark = pytest.mark.main


RUSTC = subprocess.run(["rustc", "--version"], capture_output=True, text=True, check=True).stdout.strip()
# What is missing of a usable kernel tree -> what is said about it, and what there is to do.
FLAWS = {
    "nothing there": ("is not a directory", "make modules KERNEL="),
    "no Makefile": ("is not a kernel's build tree", "make modules KERNEL="),
    "not prepared": ("not prepared", "make olddefconfig modules_prepare"),
    "no Rust": ("without CONFIG_RUST", "make rustavailable"),
    "too old": ("and the module needs 7.2", "make modules KERNEL="),
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
    if flaw != "not prepared":
        release = "7.1.12" if flaw == "too old" else "7.2.0"
        (kdir / "include/config/kernel.release").write_text(f"{release}\n")
    kdir.mkdir(exist_ok=True)
    return kdir


def check(kdir: Path, flaw: str = "") -> subprocess.CompletedProcess[str]:
    programs = {f"no {name}": {name.upper(): f"/nowhere/{name}"} for name in ("rustc", "bindgen")}
    environment = {**os.environ, **programs.get(flaw, {})}
    command = ["make", "--no-print-directory", "-C", paths.REPO, "modules", f"KDIR={kdir}"]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


@pytest.mark.parametrize("flaw", FLAWS)
def test_a_kernel_tree_that_does_not_serve_is_refused(tmp_path: Path, flaw: str) -> None:
    result = check(tree(tmp_path, flaw), flaw)
    what, remedy = FLAWS[flaw]
    assert result.returncode != 0
    assert "error: " in result.stderr
    assert what in result.stderr
    assert remedy in result.stderr
    # Nothing was tried with it.
    assert len(result.stderr.splitlines()) <= 6, result.stderr


def test_a_kernel_tree_that_serves_passes(tmp_path: Path) -> None:
    """The flaws above are what the check finds, and not that it never passes."""
    result = subprocess.run([paths.TOOLS / "check-kdir", tree(tmp_path)], capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize(
    ("flaw", "chosen", "reason"),
    [
        ("", False, "building for the running kernel: "),
        ("no metadata", False, "in the toolbox, not for the running one: KDIR="),
        ("", True, "in the toolbox, as KERNEL= says"),
    ],
)
def test_the_running_kernel_is_built_for_if_its_tree_serves(
    tmp_path: Path, flaw: str, chosen: bool, reason: str
) -> None:
    kdir = tree(tmp_path, flaw)
    command = [paths.TOOLS / "choose-kdir", kdir, *(["chosen"] if chosen else [])]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout == ("" if flaw or chosen else f"{kdir}\n")
    assert reason in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["modules", "KERNEL=nonsense"], "is not a kernel series"),
        (["modules_install"], "modules_install needs KDIR="),
    ],
)
def test_mistaken_commands_are_refused(arguments: list[str], said: str) -> None:
    command = ["make", "--no-print-directory", "-C", str(paths.REPO), *arguments]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode != 0
    assert said in result.stderr


# What is appended to a file, or what is replaced in it by what.
BREAKS: dict[str, tuple[str, str | tuple[str, str]]] = {
    "unsafe in the glue only": (
        "protocol/limits.rs",
        "\nfn f() { unsafe { core::hint::unreachable_unchecked() } }\n",
    ),
    "unsafe denied by the compiler": (
        "virtio_scsi_rs.rs",
        ("#[deny(unsafe_code)]\npub mod queues", "pub mod queues"),
    ),
    "unsafe listed, a new item": (
        "scsi_glue/status.rs",
        "\nfn f() { unsafe { core::hint::unreachable_unchecked() } }\n",
    ),
    "unsafe listed, an invariant whose place is gone": (
        "docs/unsafe/invariants.toml",
        ("::RateLimit::of", "::RateLimit::off"),
    ),
    "circles": ("protocol/adjustments.rs", "\nuse super::command::Layout;\n"),
    "Rust format": ("protocol/limits.rs", "\nfn  f( ) { }\n"),
    "licence lines": ("events/new.rs", "//! No licence.\n"),
    "file sizes": ("events/new.rs", "// SPDX-License-Identifier: GPL-2.0\n" + "//\n" * 500),
    "shellcheck": ("tools/new.sh", '#!/bin/bash\n# SPDX-License-Identifier: GPL-2.0\necho $1 "$UNSET"\n'),
    "ruff": ("tools/new.py", "# SPDX-License-Identifier: GPL-2.0\nimport os\n"),
    "ruff, in a script without the ending": ("tools/guest/fail-nth", "import re\n"),
    "ruff, in a script that it does not know": (
        "tools/new",
        "#!/usr/bin/python3\n# SPDX-License-Identifier: GPL-2.0\n",
    ),
    "Python format": ("tools/compare", "x = {  }\n"),
    "C format": ("virtio_glue/helpers.h", "int  f(int  a);\n"),
    "messages in one piece": ("protocol/limits.rs", '\nconst A: &str = "one \\\n    message";\n'),
    "line lengths": ("protocol/limits.rs", f"\n/// {'word ' * 20}\nconst A: u8 = 1;\n"),
    "version": ("CHANGELOG.md", ("## [0", "## [99")),
    "pictures": ("docs/house.dot", "// Something else.\n"),
    "documents, a parameter": ("docs/operations.md", ("| `queue_depth` |", "| `depth` |")),
    "documents, a parameter of the README": ("README.md", ("| `queue_depth` |", "| `depth` |")),
    "documents, a counter": ("docs/seeing-inside.md", ("| `waiting` |", "| `waits` |")),
    "documents, a message": ("docs/operations.md", "| `nobody logs this` | nothing |\n"),
    "documents, a test of the threat model": (
        "docs/untrusted-host.md",
        ("::test_used_length_decides_nothing", "::test_used_length_decides_all"),
    ),
    "documents, an item of the threat model": (
        "docs/untrusted-host.md",
        ("::Healing`", "::Healer`"),
    ),
    "documents, a link": ("docs/glossary.md", "[nothing](nowhere.md)\n"),
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


def lint(clone: Path, *names: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([clone / "tools/lint", *names], cwd=clone, capture_output=True, text=True)


@pytest.mark.parametrize("rule", BREAKS)
def test_lint_finds_a_broken_rule(clone: Path, rule: str) -> None:
    name, text = BREAKS[rule]
    file = clone / name
    before = file.read_text() if file.exists() else None
    if isinstance(text, tuple):
        assert before
        assert text[0] in before
        file.write_text(before.replace(*text))
    else:
        file.write_text((before or "") + text)
    try:
        result = lint(clone, rule.partition(",")[0])
    finally:
        if before is None:
            file.unlink()
        else:
            file.write_text(before)
    assert result.returncode != 0
    assert f"lint: {rule.partition(',')[0]}: FAILED" in result.stderr


def test_a_link_that_leads_nowhere_is_an_error_of_the_documentation(clone: Path) -> None:
    """`make test` shows that there is none otherwise."""
    file = clone / "queues/mod.rs"
    before = file.read_text()
    file.write_text(before.replace("//! ", "//! [`Nowhere`]\n//! ", 1))
    try:
        result = subprocess.run([clone / "tools/doc"], cwd=clone, capture_output=True, text=True)
    finally:
        file.write_text(before)
    assert result.returncode != 0
    assert "error: unresolved link to `Nowhere`" in result.stdout


def test_lint_knows_the_names_of_its_checks(clone: Path) -> None:
    result = lint(clone, "version", "circels")
    assert result.returncode != 0
    assert "there are no such checks: version circels" in result.stderr


def test_lint_passes_otherwise(clone: Path) -> None:
    result = lint(clone)
    assert result.returncode == 0, result.stderr


# Of these the second one fails the first time that it is run, and the third one each time.
UNSTEADY = """
from pathlib import Path

import pytest

pytestmark = pytest.mark.device


def test_steady():
    pass


@pytest.mark.parametrize("what", ["two words"])
def test_unsteady(what):
    file = Path(__file__).with_name("was-run")
    before = file.exists()
    file.touch()
    assert before


def test_broken():
    assert {works}
"""


@pytest.fixture
def planted(clone: Path, tmp_path: Path) -> Callable[[bool], subprocess.CompletedProcess[str]]:
    """Runs a suite whose only tests are those of UNSTEADY."""
    folder = tmp_path / "clone"
    shutil.copytree(clone, folder)
    for file in folder.glob("tools/tests/test_*.py"):
        file.unlink()

    def run(works: bool) -> subprocess.CompletedProcess[str]:
        (folder / "tools/tests/test_planted.py").write_text(UNSTEADY.format(works=works))
        return subprocess.run(
            [folder / "tools/guest-tests"],
            cwd=folder,
            env={**os.environ, "SUITE": "device"},
            capture_output=True,
            text=True,
        )

    return run


def judge(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([folder / "tools/unsteady"], capture_output=True, text=True)


def test_a_second_try_is_counted_and_judged(
    planted: Callable[[bool], subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    """A test that needs one passes, is named, and is an error as long as its reason is not known."""
    folder = tmp_path / "clone"
    name = "tools/tests/test_planted.py::test_unsteady[two words]"
    result = planted(True)
    assert result.returncode == 0, result.stdout
    assert " 3 passed, 0 failed, 1 only at the second try in " in result.stdout.splitlines()[-1]
    log = folder / "build/second-try.log"
    assert log.read_text() == f"device {name}\n"

    known = folder / "tools/tests/known-unsteady"
    for text in ("", f"{name}\n", f"{name}  \n", f"{name[:-1]}, too]  for a reason\n"):
        known.write_text(text)
        assert judge(folder).returncode != 0, text
    assert name in judge(folder).stderr
    known.write_text(f"{name}  for a reason\n")
    assert judge(folder).returncode == 0

    log.write_text(f"main another test\n{log.read_text()}")
    assert " 3 passed, 0 failed, 0 only " in planted(True).stdout.splitlines()[-1]
    assert log.read_text() == "main another test\n"


def test_a_test_that_fails_at_the_second_try_too_fails(
    planted: Callable[[bool], subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    result = planted(False)
    assert result.returncode != 0
    assert " 2 passed, 1 failed, 1 only at the second try in " in result.stdout.splitlines()[-1]
    assert "test_unsteady" in (tmp_path / "clone/build/second-try.log").read_text()


def test_a_test_of_no_suite_is_an_error(
    planted: Callable[[bool], subprocess.CompletedProcess[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(globals(), "UNSTEADY", "def test_lost():\n    pass\n")
    result = planted(True)
    assert result.returncode != 0
    assert "test_lost: its markers name 0 suites" in result.stdout + result.stderr

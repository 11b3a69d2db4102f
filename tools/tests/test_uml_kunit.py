# SPDX-License-Identifier: GPL-2.0
"""The driver's KUnit tests, which a kernel that has KUnit runs when it loads the module.

They are the `#[kunit_tests(...)]` modules of the driver's sources. Each test that is declared there has to
have run and passed: one that is no longer built, or that is skipped, is missed here.
"""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from guest import paths
from guest import uml as bench
from guest.uml import VARIANTS, UmlGuest

pytestmark = [pytest.mark.device, pytest.mark.uml]

Uml = Callable[..., UmlGuest]

# Without the filter the kernel runs tests of its own at boot.
ENABLED = "kunit.enable=1 kunit.filter_glob=virtio_scsi_rs_*"
# The virtio core logs this of a device that uses a buffer twice, as the tests of the controlq have it do.
TWICE = r" fake: control:id \d+ is not a head!$"
# A module with tests has these in the names of a section and of symbols.
TRACES = ("kunit_test_suites", "kunit_rust_wrapper", "virtio_helper_fake")
PLANTED = "virtio_scsi_rs_planted"

DECLARATION = re.compile(r"#\[kunit_tests\((?P<suite>\w+)\)\]|#\[test\]|\bfn (?P<function>\w+)")
# A test's result is indented, that of its suite is not. A test that was skipped is "ok", with a remark.
RESULT = re.compile(
    r"^<\d+>\[ *[0-9.]+\] (?P<test>    )?(?P<result>(not )?ok) \d+ (?P<name>\w+)(?P<skip> # SKIP)?"
)


def declared(*files: Path) -> dict[str, list[str]]:
    """The tests of each suite, as the sources declare them, in their order."""
    suites: dict[str, list[str]] = {}
    for file in files:
        suite, test = None, False
        for found in DECLARATION.finditer(file.read_text()):
            if found["suite"]:
                assert found["suite"] not in suites, f"{file}: {found['suite']} is declared twice"
                suite = suites.setdefault(found["suite"], [])
            elif found["function"]:
                if test:
                    assert suite is not None, f"{file}: {found['function']} is of no suite"
                    suite.append(found["function"])
                test = False
            else:
                test = True
    return suites


def traces(module: Path) -> set[str]:
    """The traces of tests in a module's sections and symbols."""
    command = ["objdump", "-ht", module.name]
    names = subprocess.run(command, cwd=module.parent, check=True, capture_output=True, text=True).stdout
    return {trace for trace in TRACES if trace in names}


def driver_sources() -> list[Path]:
    """All Rust files of the clone but those of tools/ and what was built."""
    files = paths.REPO.rglob("*.rs")
    return [file for file in files if file.relative_to(paths.REPO).parts[0] not in ("build", "tools")]


def reported(log: str) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
    """The results in a kernel log in KTAP: of each suite, and of each test of each suite."""
    suites: dict[str, str] = {}
    tests: dict[str, dict[str, str]] = {}
    current: dict[str, str] = {}
    for line in log.splitlines():
        if not (found := RESULT.match(line)):
            continue
        result = "skipped" if found["skip"] else found["result"]
        if found["test"]:
            current[found["name"]] = result
        else:
            suites[found["name"]] = result
            tests[found["name"]], current = current, {}
    return suites, tests


@pytest.mark.parametrize("variant", VARIANTS)
def test_each_declared_test_passes(uml: Uml, variant: str) -> None:
    expected = declared(*driver_sources())
    guest = uml(variant, append=ENABLED, allow=[TWICE])
    assert traces(bench.module_file(variant)) == set(TRACES)
    suites, tests = reported(guest.dmesg())
    assert suites == dict.fromkeys(expected, "ok")
    for suite, names in expected.items():
        assert names, f"{suite} has no tests"
        assert tests[suite] == dict.fromkeys(names, "ok"), suite
    guest.unload()


@pytest.mark.parametrize("variant", VARIANTS)
def test_planted_tests_that_fail_are_caught(uml: Uml, variant: str) -> None:
    """A test fails by what it asserts, what it compares, or what it returns."""
    guest = uml(variant, module=None, append=ENABLED)
    with guest.misbehaving():
        guest.run(f"insmod {guest.fault_module('planted_kunit')}", check=True)
        suites, tests = reported(guest.dmesg())
    assert suites == {PLANTED: "not ok"}
    assert tests[PLANTED] == {
        "passes": "ok",
        "asserts_what_is_false": "not ok",
        "compares_what_differs": "not ok",
        "returns_an_error": "not ok",
        "is_skipped": "skipped",
    }
    assert list(tests[PLANTED]) == declared(paths.TOOLS / "faults/planted_kunit.rs")[PLANTED]


def test_the_tests_leak_nothing(uml: Uml) -> None:
    """The results, which KUnit keeps, go with the module."""
    guest = uml("kasan", append=f"{ENABLED} kmemleak=on", allow=[TWICE])
    assert reported(guest.dmesg())[0]
    guest.unload()
    found = guest.leaks()
    assert found == ""


def test_no_test_runs_unless_it_is_asked_for(uml: Uml) -> None:
    guest = uml("lockdep")
    log = guest.dmesg()
    assert reported(log) == ({}, {})
    assert "kunit: disabled" in log


def test_module_for_a_kernel_without_kunit_has_no_tests(module: Path) -> None:
    assert traces(module) == set()

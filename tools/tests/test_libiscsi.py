# SPDX-License-Identifier: GPL-2.0
"""The libiscsi conformance suite over our module, and over the kernel's own driver on the same machine.

A good part of it fails on QEMU's disk, whichever driver is between. What counts is that each of its tests
ends in the same way over both, and that the same assertions fail with the same status and sense.
"""

import re
import xml.etree.ElementTree as xml
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from guest import Controller, Disk, Guest, Result

MEGABYTE = 1 << 20
FOLDER = "/tmp/libiscsi"
# The family of tests that is for a local device; the one for iSCSI crashes on it.
SUITE = f"mkdir {FOLDER} && cd {FOLDER} && iscsi-test-cu --dataloss --xml --test=LINUX"


@dataclass(frozen=True)
class Verdicts:
    """Test -> the assertions that failed, each with how often; none is a pass. What was printed: status and
    sense of each command that did not do what it should, and what was skipped and why."""

    failures: dict[str, Counter[str]]
    printed: list[str]

    @property
    def passed(self) -> set[str]:
        return {test for test, failed in self.failures.items() if not failed}


def verdicts(report: bytes, printed: bytes) -> Verdicts:
    """From CUnit's XML, which has a record for each test that passed and for each assertion that failed."""
    failures: dict[str, Counter[str]] = {}
    # CUnit does not escape what is in a condition.
    text = re.sub(
        r"(<CONDITION>)(.*?)(</CONDITION>)",
        lambda m: m[1] + re.sub("[<>&]", "?", m[2]) + m[3],
        report.decode(errors="replace"),
        flags=re.DOTALL,
    )
    for suite in xml.fromstring(text).iter("CUNIT_RUN_SUITE_SUCCESS"):
        name = suite.findtext("SUITE_NAME", "").strip()
        for record in suite.iter("CUNIT_RUN_TEST_RECORD"):
            for outcome in record:
                test = f"{name}.{outcome.findtext('TEST_NAME', '').strip()}"
                failed = failures.setdefault(test, Counter())
                if outcome.tag == "CUNIT_RUN_TEST_FAILURE":
                    words = (
                        outcome.findtext(tag, "").strip() for tag in ("FILE_NAME", "LINE_NUMBER", "CONDITION")
                    )
                    failed[" ".join(words)] += 1
    lines = [line.strip() for line in printed.decode(errors="replace").splitlines()]
    return Verdicts(failures, [line for line in lines if line])


def run_suite(guest: Guest, node: str) -> tuple[Result, Verdicts]:
    result = guest.run(f"{SUITE} {node} >printed 2>&1", timeout=180)
    report, printed = (guest.pull(f"{FOLDER}/{n}") for n in ("CUnitAutomated-Results.xml", "printed"))
    return result, verdicts(report, printed.replace(node.encode(), b"DISK"))


def run(boot: Callable[..., Guest], folder: Path, module: str) -> tuple[Result, Verdicts]:
    folder.mkdir()
    props = {"serial": "LIBISCSI", "wwn": 0x5000C50015EA71AC}
    disk = Disk(0, 0, 64 * MEGABYTE, folder / "disk.img", props=props)
    with_one = boot([Controller([disk], {"num_queues": 2})], module=module)
    said = run_suite(with_one, with_one.node(disk))
    with_one.poweroff()
    return said


def assert_same(ours: Verdicts, theirs: Verdicts) -> None:
    """The same verdict for each test of the suite, most of which ran, and the same sense."""
    assert len(theirs.failures) > 150
    assert len(theirs.passed) > 100
    assert set(ours.failures) == set(theirs.failures)
    different = {
        test: {"over ours": dict(failed), "over the C driver": dict(theirs.failures[test])}
        for test, failed in ours.failures.items()
        if failed != theirs.failures[test]
    }
    assert different == {}
    assert ours.printed == theirs.printed


def test_same_verdicts_as_over_the_c_driver(boot: Callable[..., Guest], scratch: Path) -> None:
    result, ours = run(boot, scratch / "ours", "ours")
    reference, theirs = run(boot, scratch / "c", "c")
    assert_same(ours, theirs)
    assert result.rc == reference.rc


REPORT = b"""<?xml version="1.0" ?>
<CUNIT_TEST_RUN_REPORT><CUNIT_RESULT_LISTING><CUNIT_RUN_SUITE><CUNIT_RUN_SUITE_SUCCESS>
<SUITE_NAME> Read10 </SUITE_NAME>
<CUNIT_RUN_TEST_RECORD><CUNIT_RUN_TEST_SUCCESS> <TEST_NAME> Simple </TEST_NAME>
</CUNIT_RUN_TEST_SUCCESS></CUNIT_RUN_TEST_RECORD>
<CUNIT_RUN_TEST_RECORD><CUNIT_RUN_TEST_FAILURE> <TEST_NAME> Residuals </TEST_NAME>
<FILE_NAME> a.c </FILE_NAME> <LINE_NUMBER> 7 </LINE_NUMBER> <CONDITION> n < 2 && x </CONDITION>
</CUNIT_RUN_TEST_FAILURE></CUNIT_RUN_TEST_RECORD>
</CUNIT_RUN_SUITE_SUCCESS></CUNIT_RUN_SUITE></CUNIT_RESULT_LISTING></CUNIT_TEST_RUN_REPORT>
"""


def test_verdicts_are_read_right() -> None:
    read = verdicts(REPORT, b"  [FAILED] x\n\n")
    assert read.passed == {"Read10.Simple"}
    assert list(read.failures["Read10.Residuals"]) == ["a.c 7 n ? 2 ?? x"]
    assert read.printed == ["[FAILED] x"]

# SPDX-License-Identifier: GPL-2.0
"""The libiscsi conformance suite over a disk, and what it says."""

import re
import xml.etree.ElementTree as xml
from collections import Counter
from dataclasses import dataclass

from guest import Guest, Result

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

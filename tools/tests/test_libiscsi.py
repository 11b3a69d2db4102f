# SPDX-License-Identifier: GPL-2.0
"""The libiscsi conformance suite over our module, and over the kernel's own driver on the same machine.

A good part of it fails on QEMU's disk, whichever driver is between. What counts is that each of its tests
ends in the same way over both, and that the same assertions fail with the same status and sense.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from guest import MEGABYTE, Controller, Disk, QemuGuest, Result
from support.libiscsi import Verdicts, assert_same, run_suite, verdicts

pytestmark = [pytest.mark.main, pytest.mark.ours("runs both drivers by itself")]


def run(boot: Callable[..., QemuGuest], folder: Path, module: str) -> tuple[Result, Verdicts]:
    folder.mkdir()
    props = {"serial": "LIBISCSI", "wwn": 0x5000C50015EA71AC}
    disk = Disk(0, 0, 64 * MEGABYTE, folder / "disk.img", props=props)
    with_one = boot([Controller([disk], {"num_queues": 2})], module=module)
    said = run_suite(with_one, with_one.node(disk))
    with_one.poweroff()
    return said


def test_same_verdicts_as_over_the_c_driver(boot: Callable[..., QemuGuest], scratch: Path) -> None:
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

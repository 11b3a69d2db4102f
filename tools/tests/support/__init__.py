# SPDX-License-Identifier: GPL-2.0
"""Code that several test files share, as they do not import one another.

boots.py         the folders of logs, and the guests that a test boots
known_lines.py   lines that the kernel may log because of a test
machines.py      parts of QEMU's command line
workloads.py     jobs of fio, and tasks that must not be stuck
misbehaviour.py  actions of a scripted device upon commands and functions
uml_bench.py     a device and its guest under User-Mode Linux
terminal.py      a terminal for a program that draws on one
scsi_units.py    the logical units of the tests with sg3_utils
data.py, sg3.py, events.py, inquiry.py, transport.py, libiscsi.py
                 tests that are run with more than one kind of device or kernel
"""

from pathlib import Path

import pytest

# Their asserts say what they saw, as those of test files do.
pytest.register_assert_rewrite(
    *(f"{__name__}.{file.stem}" for file in Path(__file__).parent.glob("*.py") if file.stem != "__init__")
)

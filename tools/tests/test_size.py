# SPDX-License-Identifier: GPL-2.0
"""The size of the module's code; no guest is booted."""

from pathlib import Path

import pytest

from bench import bench

pytestmark = [pytest.mark.main, pytest.mark.ours("measures our module")]

# The bytes of the sections .text, built for Debian's stock kernel: 11 for each line of code, where the C of
# virtio_scsi has 10 and that of virtio_net 12. A commit that changes the record says what the bytes are for.
SERIES = "7.3"
RECORD = 150_474
# What a commit may change without saying so. Less counts as well: else the next one could grow unseen.
LEEWAY = 0.02


def test_the_code_has_the_size_on_record(kernel: str, module: Path) -> None:
    if kernel != SERIES:
        pytest.skip(f"the record is for the kernel {SERIES}")
    size = bench.sizes(module)["text"]
    assert abs(size - RECORD) <= LEEWAY * RECORD, f"{size} bytes of code are not within 2 % of {RECORD}"

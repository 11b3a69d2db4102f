# SPDX-License-Identifier: GPL-2.0
"""Parts of QEMU's command line that several test files need."""

from typing import Any

import pytest

from guest import paths

# For a guest that is to be suspended to memory, and says on its console what it sees after that.
S3: dict[str, Any] = {"args": ["-global", "ICH9-LPC.disable_s3=0"], "append": "no_console_suspend"}

# For tests that suspend the guest to memory.
suspends = pytest.mark.skipif(paths.ARM64, reason="QEMU's machine for arm64 cannot be suspended to memory")


def root_port(number: int = 0) -> dict[str, Any]:
    """A slot of PCI Express, the bus "portNUMBER": a function in it can be reset, and be pulled out."""
    return {"driver": "pcie-root-port", "id": f"port{number}", "chassis": number + 1}

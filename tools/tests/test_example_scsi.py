# SPDX-License-Identifier: GPL-2.0
"""examples/scsi_null: a second driver over scsi_glue, and uses of scsi_glue that the compiler refuses."""

import re
from collections.abc import Callable

import pytest

from guest import Guest, paths
from support import examples

# 7.2's faux device cannot be the parent of a host.
pytestmark = [
    pytest.mark.main,
    pytest.mark.skipif(paths.SERIES != "7.3", reason="the example is for 7.3"),
]


@pytest.mark.waits(300)
@pytest.mark.parametrize("kind", ["types", "privacy", "borrows"])
def test_misuses_do_not_compile(kind: str) -> None:
    examples.assert_refused("scsi_null", kind)


@pytest.mark.waits(300)
def test_private_data_that_would_leak_do_not_compile() -> None:
    result = examples.build("scsi_null", "misuse_constants")
    assert result.returncode != 0, result.stdout
    assert re.search(r"^error\[E0080\].*\n( .*\n)*? +--> \S*scsi_glue/pdu\.rs", result.stdout, re.MULTILINE)
    assert "needs_drop::<D::Private>()" in result.stdout


@pytest.mark.waits(300)
def test_the_example_reads_zeroes(boot: Callable[..., Guest]) -> None:
    module = examples.built("scsi_null")

    guest = boot(module=None)
    guest.push("/tmp/scsi_null.ko", module.read_bytes())
    for _ in range(2):
        guest.run("insmod /tmp/scsi_null.ko", check=True)
        guest.wait_until("test -b /dev/sda", 20)
        assert guest.out("cat /sys/class/scsi_host/host*/proc_name") == "scsi_null"
        assert guest.out("cat /sys/block/sda/size /sys/block/sda/ro").split() == ["131072", "1"]
        guest.run("dd if=/dev/sda bs=1M iflag=direct | cmp -n 67108864 - /dev/zero", check=True)
        # The ioctl has a command of its own, on no queue. The driver offers no reset.
        assert guest.run("sg_reset --host --no-escalate /dev/sda").rc != 0
        guest.run("sg_turs /dev/sda", check=True)
        guest.run("rmmod scsi_null", check=True)
        assert guest.out("lsscsi | wc -l") == "0"

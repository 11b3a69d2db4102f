# SPDX-License-Identifier: GPL-2.0
"""What is written is what is there: verified by fio, through a file system, and on the images."""

from collections.abc import Callable
from pathlib import Path

import pytest

from guest import Controller, QemuGuest
from support import data
from support.data import Disks, each_gets_its_own, many, seen

pytestmark = [pytest.mark.main, pytest.mark.arm64]


@pytest.fixture(scope="module")
def disks(boot_shared: Callable[..., QemuGuest], scratch_shared: Path) -> Disks:
    disks = Disks(scratch_shared)
    disks.guest = boot_shared([Controller(disks.all, {"num_queues": 2})])
    return disks


test_cdrom_reads_as_its_image = data.test_cdrom_reads_as_its_image
test_fio_verifies_what_it_wrote = data.test_fio_verifies_what_it_wrote
test_several_jobs_of_fio_verify_what_they_wrote = data.test_several_jobs_of_fio_verify_what_they_wrote
test_fio_finds_what_is_damaged = data.test_fio_finds_what_is_damaged
test_ext4_holds_what_was_written = data.test_ext4_holds_what_was_written


def test_a_synchronous_write_is_flushed(disks: Disks) -> None:
    """A synchronous write is on the host's disk when it returns: the flush, or the FUA bit, gets there."""
    guest, node = disks.guest, disks.guest.node(disks.fio)

    def flushes() -> int:
        stats = guest.qmp("query-blockstats")
        return next(s["stats"]["flush_operations"] for s in stats if s.get("node-name") == disks.fio.node)

    before = flushes()
    guest.run(f"dd if=/dev/zero of={node} bs=4k count=20 oflag=direct,sync", check=True)
    assert flushes() - before >= 20
    before = flushes()
    guest.run(f"dd if=/dev/zero of={node} bs=4k count=20 oflag=direct", check=True)
    assert flushes() == before


def test_each_of_many_disks_has_its_own_data(boot: Callable[..., QemuGuest], scratch: Path) -> None:
    """Each of 64 disks gets its own data, and has the name that the kernel's own driver gives it."""
    disks = many(scratch)
    assert len(disks) == 64
    ours = boot([Controller(disks, {"num_queues": 2})])
    found = seen(ours)
    each_gets_its_own(ours, disks, found)
    ours.poweroff()

    theirs = seen(boot([Controller(many(scratch), {"num_queues": 2})], module="c"))
    assert {serial: each.address for serial, each in theirs.items()} == {
        serial: each.address for serial, each in found.items()
    }

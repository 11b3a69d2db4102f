# SPDX-License-Identifier: GPL-2.0
"""The kernel of a PC with KASAN and lockdep: that both are at work. What they watch over is the other tests.

Run with KERNEL=x86-sanitized, as `make test-x86` does.
"""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from guest import Controller, Disk, QemuGuest, fio
from guest.logcheck import LogNotClean
from support.boots import Boots

pytestmark = [pytest.mark.main, pytest.mark.x86, pytest.mark.sanitized]


CAUGHT = {
    "use_after_free": r"BUG: KASAN: slab-use-after-free",
    "out_of_bounds": r"BUG: KASAN: slab-out-of-bounds",
    "sleep": r"BUG: sleeping function called from invalid context",
    "order": r"WARNING: possible circular locking dependency detected",
}


def lockdep_works(guest: QemuGuest) -> bool:
    return bool(re.search(r"debug_locks: +1$", guest.out("cat /proc/lockdep_stats"), flags=re.MULTILINE))


@pytest.mark.parametrize("fault", CAUGHT)
def test_planted_faults_are_caught(boot: Boots, fault: str) -> None:
    guest = boot(module=None)
    assert lockdep_works(guest)
    guest.run(f"insmod {guest.fault_module('planted')} fault={fault}", check=True)
    with pytest.raises(LogNotClean, match=CAUGHT[fault]):
        guest.assert_clean_log()
    # It does not go on after a report of its own or of KASAN's.
    assert lockdep_works(guest) == (fault == "sleep")
    guest.agent_may_be_lost()


def test_lockdep_stays_on(boot: Callable[..., QemuGuest], scratch: Path) -> None:
    """It gives up for good when it has run out of room or found something: so it was neither."""
    disks = [Disk(0, lun, 16 << 20, scratch / f"{lun}.img") for lun in (0, 1)]
    guest = boot([Controller(disks)])
    fio.write_verified(guest, guest.node(disks[0]), size="4M")
    guest.run(f"sg_reset -H {guest.node(disks[0], 'scsi_generic')}", check=True)
    guest.add_disk(Disk(3, 0, 16 << 20, scratch / "3.img"))
    guest.settle()
    guest.unload()
    guest.load()
    assert lockdep_works(guest)

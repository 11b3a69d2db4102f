# SPDX-License-Identifier: GPL-2.0
"""A Debian system whose memory goes to its root disk: hibernation, and a dump after a crash."""

import re

import pytest

from support.root_disk import OURS, SELECT, BootSystem, C, assert_root_is_served_by, choose_ours

pytestmark = [pytest.mark.install, pytest.mark.ours("is about packages of our module")]

BOOT_ID = "cat /proc/sys/kernel/random/boot_id"
# kdump-tools is installed and does nothing until it is told to.
USE_KDUMP = """
sed -i s/USE_KDUMP=0/USE_KDUMP=1/ /etc/default/kdump-tools
sed -i s/crashkernel=[^\\"]*/crashkernel=256M/ /etc/default/grub.d/kdump-tools.cfg
update-grub
"""
READY = "kdump-config status | grep -q 'ready to kdump'"


def test_a_system_goes_on_after_hibernation(boot_system: BootSystem) -> None:
    guest = boot_system()
    choose_ours(guest)
    boot_id = guest.out(BOOT_ID)
    guest.run("head -c 1M /dev/urandom >/root/data && sha256sum /root/data >/run/sum", check=True)
    guest.hibernate()
    # The memory is the same, and the disk is what it was.
    assert guest.out(BOOT_ID) == boot_id
    assert "PM: hibernation: hibernation exit" in guest.dmesg()
    assert_root_is_served_by(guest, OURS)
    guest.run("echo 3 >/proc/sys/vm/drop_caches && sha256sum -c /run/sum", check=True)
    guest.reboot()
    assert guest.out(BOOT_ID) != boot_id
    assert_root_is_served_by(guest, OURS)


def test_a_crash_is_dumped_to_the_root_disk(boot_system: BootSystem) -> None:
    """By the driver that was chosen, whichever that was when the crash kernel's initramfs was first made."""
    guest = boot_system()
    guest.run(USE_KDUMP, timeout=120, check=True)
    guest.reboot()
    guest.wait_until(READY, 600)
    choose_ours(guest)
    for word, driver in ((None, OURS), ("c", C)):
        if word:
            guest.run(f"{SELECT} {word}", timeout=900, check=True)
            guest.reboot()
        guest.wait_until(READY, 600)
        guest.run("rm -rf /var/crash/2*", check=True)
        with guest.boots_again():
            guest.console.type("echo c >/proc/sysrq-trigger\n")
            assert (
                guest.wait_for(r"(virtio_scsi\w*) virtio\d+: \d+/\d+/\d+ default", 300).split()[0] == driver
            )
        dump = guest.out("ls /var/crash/2*/dump.*")
        assert int(guest.out(f"stat -c %s {dump}")) > 1 << 20
        said = guest.out("cat /var/crash/2*/dmesg.*")
        assert re.search("sysrq: Trigger a crash", said)

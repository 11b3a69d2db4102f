# SPDX-License-Identifier: GPL-2.0
"""The driver on the disk that a Debian system boots from, installed and chosen as the README has it."""

import pytest

from guest.system import BIOS, UEFI, Firmware
from support.root_disk import OURS, BootSystem, C, assert_root_is_served_by, choose_ours

pytestmark = [pytest.mark.install, pytest.mark.ours("is about packages of our module")]

WAY_BACK = "module_blacklist=virtio_scsi_rs"


@pytest.mark.parametrize("firmware", [BIOS, UEFI], ids=lambda firmware: firmware.name)
def test_the_root_disk_is_on_our_driver_once_it_is_chosen(
    boot_system: BootSystem, firmware: Firmware
) -> None:
    guest = boot_system(firmware)
    assert guest.run("test -d /sys/firmware/efi").rc == (0 if firmware is UEFI else 1)
    choose_ours(guest)


def test_it_stays_so_but_for_a_boot_without_the_module(boot_system: BootSystem) -> None:
    """With BIOS only: a key that was typed at GRUB on the serial console did not reach it with UEFI."""
    guest = boot_system(BIOS)
    choose_ours(guest)
    # Nor does an initramfs that is made later lose it.
    guest.run("update-initramfs -u -k all", timeout=900, check=True)
    for _ in range(2):
        guest.reboot()
        assert_root_is_served_by(guest, OURS)

    with guest.allowing("Module virtio_scsi_rs is blacklisted"):
        guest.reboot(guest.edits_entry(WAY_BACK))
        assert WAY_BACK in guest.out("cat /proc/cmdline")
        assert_root_is_served_by(guest, C)
    guest.reboot()
    assert_root_is_served_by(guest, OURS)

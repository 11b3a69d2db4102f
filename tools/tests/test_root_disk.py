# SPDX-License-Identifier: GPL-2.0
"""The driver on the disk that a Debian system boots from, installed and chosen as the README has it."""

import re
from pathlib import Path

import pytest

from guest.system import BIOS, SECURE_BOOT, UEFI, Firmware
from support.root_disk import (
    OURS,
    SELECT,
    BootSystem,
    C,
    assert_root_is_served_by,
    choose_ours,
    commands,
    readme,
)

pytestmark = [pytest.mark.install, pytest.mark.ours("is about packages of our module")]

WAY_BACK = "module_blacklist=virtio_scsi_rs"
BOOT_ID = "cat /proc/sys/kernel/random/boot_id"

# kdump-tools is installed and does nothing until it is told to. This makes the crash kernel's initramfs at
# once, and the file by which kdump-tools knows later that it need not be made again.
USE_KDUMP = """
sed -i s/USE_KDUMP=0/USE_KDUMP=1/ /etc/default/kdump-tools
sed -i 's/crashkernel=[^"]*/crashkernel=256M/' /etc/default/grub.d/kdump-tools.cfg
update-grub
kdump-config symlinks $(uname -r)
cp /etc/kdump/sysctl.conf /var/lib/kdump/latest_sysctls-$(uname -r)
"""
CRASH_INITRAMFS = "/var/lib/kdump/initrd.img-$(uname -r)"
READY = "kdump-config status | grep 'ready to kdump' | grep -v Not"
# What the driver says of its queues.
SERVES = r"(virtio_scsi\w*) virtio\d+: \d+/\d+/\d+ default"


@pytest.mark.parametrize("firmware", [BIOS, UEFI], ids=lambda firmware: firmware.name)
def test_the_root_disk_is_on_our_driver_once_it_is_chosen(
    boot_system: BootSystem, firmware: Firmware
) -> None:
    guest = boot_system(firmware)
    assert guest.run("test -d /sys/firmware/efi").rc == (0 if firmware is UEFI else 1)
    choose_ours(guest)


def test_it_stays_so_but_for_a_boot_without_the_module(boot_chosen: BootSystem) -> None:
    """With BIOS only: a key that was typed at GRUB on the serial console did not reach it with UEFI."""
    guest = boot_chosen(BIOS)
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


def test_the_choice_can_be_taken_back_and_made_again(boot_chosen: BootSystem) -> None:
    """Each takes effect with the next boot, and not before."""
    guest = boot_chosen()
    assert_root_is_served_by(guest, OURS)
    choices = ((readme("Back to the C driver"), C), (f"{SELECT} rust", OURS))
    for before, (choice, driver) in zip((OURS, C), choices, strict=True):
        guest.run(choice, timeout=900, check=True)
        assert_root_is_served_by(guest, before)
        guest.reboot()
        assert_root_is_served_by(guest, driver)


def test_a_system_goes_on_after_hibernation(boot_chosen: BootSystem) -> None:
    """Its memory goes to the same disk, by the driver, which is itself a part of it."""
    guest = boot_chosen()
    disk = guest.out("lsblk -no PKNAME $(findmnt -no SOURCE /)")
    swap = guest.out("swapon --show=NAME --noheadings --raw")
    assert swap.startswith(f"/dev/{disk}")
    boot_id = guest.out(BOOT_ID)
    guest.run("head -c 4M /dev/urandom >/root/data && sha256sum /root/data >/run/sum", check=True)
    guest.hibernate()
    assert guest.out(BOOT_ID) == boot_id
    assert "PM: hibernation: hibernation exit" in guest.dmesg()
    assert_root_is_served_by(guest, OURS)
    guest.run("echo 3 >/proc/sys/vm/drop_caches && sha256sum -c /run/sum", check=True)
    guest.run("dd if=/dev/zero of=/root/more bs=1M count=4 conv=fsync", check=True)
    assert guest.out("swapon --show=NAME --noheadings --raw") == swap


def test_a_crash_is_dumped_to_the_root_disk(boot_system: BootSystem) -> None:
    """By the chosen driver, although the crash kernel's initramfs was made with the other one first."""
    guest = boot_system()
    guest.run(USE_KDUMP, timeout=900, check=True)
    guest.run(f"lsinitramfs {CRASH_INITRAMFS} | grep virtio_scsi.ko", timeout=120, check=True)
    choose_ours(guest)
    guest.wait_until(READY, 600)
    with guest.boots_again():
        guest.console.type("echo c >/proc/sysrq-trigger\n")
        # The crash kernel's.
        assert guest.wait_for(SERVES, 300).split()[0] == OURS
    assert_root_is_served_by(guest, OURS)
    # As kdump-tools has it written, in the order in which it can be sent through a pipe.
    dump = guest.out("ls /var/crash/2*/dump.*")
    assert guest.out(f"head -c 12 {dump}") == "makedumpfile"
    guest.run(f"makedumpfile -R /root/dump <{dump}", timeout=300, check=True)
    assert guest.out("head -c 5 /root/dump") == "KDUMP"
    guest.run("makedumpfile --dump-dmesg /root/dump /root/said", timeout=300, check=True)
    said = guest.out("cat /root/said")
    assert re.search(SERVES, said)
    assert "sysrq: Trigger a crash" in said


def test_under_secure_boot_a_module_serves_that_its_owner_has_signed(
    boot_chosen: BootSystem, scratch: Path
) -> None:
    """Signed as docs/operations.md has it; unsigned, or before the firmware knows the key, it is refused, and
    the C driver serves. The certificate gets into the firmware from outside, and not through MokManager."""
    guest = boot_chosen(SECURE_BOOT)
    assert "[integrity]" in guest.out("cat /sys/kernel/security/lockdown")
    assert_root_is_served_by(guest, C)
    assert "Loading of unsigned module is rejected" in guest.dmesg()

    make_key, _, sign = commands("docs/operations.md", "Secure Boot")
    guest.run(f"{make_key}\n{sign}", timeout=900, check=True)
    module = guest.out("modinfo -n virtio_scsi_rs")
    assert guest.run(f"insmod {module}").rc != 0
    assert "Loading of module with unavailable key is rejected" in guest.dmesg()
    certificate = scratch / "certificate.pem"
    certificate.write_text(guest.out("openssl x509 -inform DER -in /var/lib/shim-signed/mok/MOK.der"))

    guest.power_cycle(lambda: guest.enrol(certificate))
    assert "[integrity]" in guest.out("cat /sys/kernel/security/lockdown")
    assert_root_is_served_by(guest, OURS)

# SPDX-License-Identifier: GPL-2.0
"""Boots firmware from the scripted device: virtio-scsi drivers that are neither ours nor Linux's.

disks.py        disks to boot from, whose program says by QEMU's exit code whether it read what was written
boot.py         QEMU with SeaBIOS or OVMF in front of the device, and what came of it
bios.S, efi.S   the programs

docs/other-drivers.md says what was found.
"""

# SPDX-License-Identifier: GPL-2.0
"""A virtual machine with Debian's stock kernel, for tests and for `make run` and `make shell`.

disks.py       what the machine's SCSI controller serves
initramfs.py   the guest's userland, made of the toolbox's files
channel.py     QMP and the guest agent, as plain calls
machine.py     QEMU's command line and process
guest.py       the guest as a test sees it: run, push, pull, device_add, power off
faults.py      faults of a virtio transport, caused by a module in the guest
numbered.py    blocks of a disk that say their numbers
pauses.py      a disk that is read again and again, for others' trouble to be seen
logcheck.py    what a clean kernel log is
"""

from .channel import ChannelError
from .disks import Controller, Disk, make_iso
from .guest import CommandFailed, Guest, GuestError, GuestTimeout, Result
from .logcheck import LogNotClean

__all__ = [
    "ChannelError",
    "CommandFailed",
    "Controller",
    "Disk",
    "Guest",
    "GuestError",
    "GuestTimeout",
    "LogNotClean",
    "Result",
    "make_iso",
]

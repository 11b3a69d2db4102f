# SPDX-License-Identifier: GPL-2.0
"""A virtual machine as a Python object, for tests and for `make run` and `make shell`.

disks.py       what the machine's SCSI controller serves
initramfs.py   the guest's userland, made of the toolbox's files
elf.py         the libraries of programs for another processor
channel.py     QMP and the guest agent, as plain calls
guest.py       what every guest can do: boot, run, push, pull, have its log checked, power off
qemu.py        a guest in QEMU, with Debian's stock kernel: plug disks, stop, trace
machine.py     QEMU's command line and process
system.py      a whole Debian system, from the firmware on, with its boot menu
system_disk.py installs one on a disk, for tools/root-system
console.py     a serial console to type at
uml.py         a guest under User-Mode Linux, with a kernel with sanitizers
device.py      the scripted device of tools/device, and marks in its log
top.py         the viewer of tools/top, for a guest to run
images.py      images of disks, seen from the host
fio.py         data that is written and verified
sysfs.py       features, interrupts, queues, limits and counters, as the guest's kernel shows them
faults.py      faults of a virtio transport, caused by a module in the guest
numbered.py    blocks of a disk that say their numbers
pauses.py      a disk that is read again and again, for others' trouble to be seen
logcheck.py    what a clean kernel log is
paths.py       the clone, the cache, a prepared kernel
run.py         the guest's part of `make run`
shell.py       `make shell`
"""

from .channel import ChannelError
from .disks import MEGABYTE, Controller, Disk, make_iso
from .guest import CommandFailed, Guest, GuestError, GuestTimeout, Result
from .logcheck import LogNotClean
from .qemu import QemuGuest

__all__ = [
    "MEGABYTE",
    "ChannelError",
    "CommandFailed",
    "Controller",
    "Disk",
    "Guest",
    "GuestError",
    "GuestTimeout",
    "LogNotClean",
    "QemuGuest",
    "Result",
    "make_iso",
]

# SPDX-License-Identifier: GPL-2.0
"""A controller and its disks as the guest's kernel shows them: features, interrupts, queues, limits."""

import re
from dataclasses import dataclass

from .disks import Disk, shown_lun
from .guest import Guest

# Bits of virtio 1.3, sections 5.6.3 and 6.
HOTPLUG, CHANGE = 1, 2
INDIRECT_DESC, EVENT_IDX, VERSION_1, ACCESS_PLATFORM, RING_PACKED, IN_ORDER = 28, 29, 32, 33, 34, 35


@dataclass(frozen=True)
class Interrupt:
    """A line of /proc/interrupts."""

    number: str
    chip: str
    name: str
    counts: tuple[int, ...]

    @property
    def count(self) -> int:
        return sum(self.counts)


def units(guest: Guest) -> set[tuple[int, int]]:
    """Target and LUN of all logical units that the guest has, LUNs as the device numbers them."""
    names = guest.out("ls /sys/bus/scsi/devices | grep -E '^[0-9]+:' || :").split()
    pairs = [tuple(map(int, name.split(":")[2:])) for name in names]
    return {(target, lun & 0x3FFF) for target, lun in pairs}


def wait_for_units(guest: Guest, count: int) -> None:
    """Waits until so many logical units have nodes, and no more."""
    guest.wait_until(f"test $(ls -d /sys/bus/scsi/devices/*:0:*/block/* | wc -l) -eq {count}")


def unit_node(guest: Guest, target: int, lun: int, kind: str = "block") -> str:
    """The node of a unit of the only host; kind "scsi_generic" is its /dev/sg."""
    return "/dev/" + guest.out(f"ls /sys/bus/scsi/devices/*:0:{target}:{shown_lun(lun)}/{kind}")


def virtio_name(guest: Guest, controller: str = "scsi0") -> str:
    """The device on the virtio bus: virtio1."""
    return guest.out(f"basename $(dirname /sys/bus/virtio/devices/virtio*/host{guest.host(controller)})")


def counters(guest: Guest, device: str = "*") -> dict[str, int]:
    """What our driver has counted of a device on the virtio bus, or of the only one (queues/counters.rs)."""
    said = guest.out(f"cat /sys/kernel/debug/virtio_scsi_rs/{device}/counters")
    return {name: int(count) for name, count in (line.split() for line in said.splitlines())}


def pairs(line: str) -> dict[str, str]:
    """The pairs of a name and a value in a line of a report, or of the log."""
    words = line.split()
    return dict(zip(words[::2], words[1::2], strict=True))


def report(guest: Guest, file: str, device: str = "*") -> list[dict[str, str]]:
    """The lines of one of our driver's files in debugfs, each of which has pairs of a name and a value."""
    said = guest.out(f"cat /sys/kernel/debug/virtio_scsi_rs/{device}/{file}")
    return [pairs(line) for line in said.splitlines()]


def features(guest: Guest, controller: str = "scsi0") -> set[int]:
    """The numbers of the features that driver and device agreed on."""
    bits = guest.out(f"cat /sys/bus/virtio/devices/{virtio_name(guest, controller)}/features")
    return {number for number, bit in enumerate(bits) if bit == "1"}


def interrupts(guest: Guest, controller: str = "scsi0") -> list[Interrupt]:
    """The interrupts of a controller, in the order of its queues."""
    name = virtio_name(guest, controller)
    cpus = len(re.findall(r"CPU\d+", guest.out("head -n 1 /proc/interrupts")))
    found = []
    for line in guest.out(f"grep -E '\\<{name}\\>' /proc/interrupts || true").splitlines():
        number, *rest = line.split()
        counts = tuple(int(word) for word in rest[:cpus])
        # An interrupt line may have handlers of others, too.
        (own,) = [word for word in (word.rstrip(",") for word in rest[cpus:]) if word.split("-")[0] == name]
        found.append(Interrupt(number.rstrip(":"), " ".join(rest[cpus:-1]), own, counts))
    return found


def host_limit(guest: Guest, name: str, controller: str = "scsi0") -> int:
    """An attribute of the SCSI host: can_queue, cmd_per_lun, sg_tablesize, nr_hw_queues."""
    return int(guest.out(f"cat /sys/class/scsi_host/host{guest.host(controller)}/{name}"))


def queue_limit(guest: Guest, disk: Disk, name: str) -> int:
    """An attribute of the disk's block queue: max_hw_sectors_kb, max_segments, io_poll."""
    return int(guest.out(f"cat /sys/block/{guest.node(disk).removeprefix('/dev/')}/queue/{name}"))


def device_attribute(guest: Guest, disk: Disk, name: str) -> str:
    """An attribute of the SCSI device: queue_depth, state."""
    return guest.out(f"cat /sys/bus/scsi/devices/{guest.address(disk)}/{name}")


def hardware_queues(guest: Guest, disk: Disk) -> list[tuple[str, set[int]]]:
    """Kind ("default", "poll") and CPUs of each hardware queue of a disk."""
    name = guest.node(disk).removeprefix("/dev/")
    found = []
    for number in sorted(map(int, guest.out(f"ls /sys/block/{name}/mq").split())):
        kind = guest.out(f"cat /sys/kernel/debug/block/{name}/hctx{number}/type")
        cpus = guest.out(f"cat /sys/block/{name}/mq/{number}/cpu_list")
        found.append((kind, {int(cpu) for cpu in cpus.replace(",", " ").split()}))
    return found

# SPDX-License-Identifier: GPL-2.0
"""The ways in which a controller can be offered: bus, ring formats, features, interrupts, queue sizes.

Each gets data that is verified by fio and on the image, and what was asked for has to be what was
negotiated. One guest carries many controllers.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from guest import MEGABYTE, Controller, Disk, QemuGuest, fio, images, sysfs
from guest.sysfs import (
    ACCESS_PLATFORM,
    CHANGE,
    EVENT_IDX,
    HOTPLUG,
    IN_ORDER,
    INDIRECT_DESC,
    RING_PACKED,
    VERSION_1,
)

pytestmark = pytest.mark.main


PATTERN = images.pattern("matrix", MEGABYTE)
USUAL = {HOTPLUG, CHANGE, INDIRECT_DESC, EVENT_IDX, VERSION_1}
OPTIONAL = USUAL | {ACCESS_PLATFORM, RING_PACKED, IN_ORDER}


@dataclass(frozen=True)
class Offer:
    """A controller as QEMU is told to make it, and what has to come of it."""

    name: str
    props: dict[str, Any]
    more: set[int] = field(default_factory=set)
    less: set[int] = field(default_factory=set)
    limits: dict[str, int] = field(default_factory=dict)
    interrupts: str = "per queue"

    @property
    def features(self) -> set[int]:
        return (USUAL | self.more) - self.less


OFFERS = [
    Offer("transitional", {}),
    Offer("modern", {"disable-legacy": "on"}),
    Offer("legacy", {"disable-modern": True}, less={VERSION_1}),
    Offer("packed", {"packed": True}, more={RING_PACKED}),
    Offer("in_order", {"in_order": True}, more={IN_ORDER}),
    Offer("packed-in_order", {"packed": True, "in_order": True}, more={RING_PACKED, IN_ORDER}),
    Offer("no-event_idx", {"event_idx": False}, less={EVENT_IDX}),
    Offer("no-indirect", {"indirect_desc": False}, less={INDIRECT_DESC}),
    Offer(
        "packed-plain",
        {"packed": True, "indirect_desc": False, "event_idx": False},
        more={RING_PACKED},
        less={INDIRECT_DESC, EVENT_IDX},
    ),
    Offer("no-hotplug-no-change", {"hotplug": False, "param_change": False}, less={HOTPLUG, CHANGE}),
    Offer("vectors-0", {"vectors": 0}, interrupts="one line"),
    Offer("vectors-2", {"vectors": 2}, interrupts="shared"),
    Offer("size-4", {"virtqueue_size": 4}, limits={"can_queue": 4, "sg_tablesize": 2}),
    Offer(
        "size-8-no-indirect",
        {"virtqueue_size": 8, "indirect_desc": False},
        less={INDIRECT_DESC},
        limits={"can_queue": 8 // 3, "sg_tablesize": 6},  # a command takes three descriptors at least
    ),
    Offer("size-1024", {"virtqueue_size": 1024}, limits={"can_queue": 1024, "sg_tablesize": 1022}),
]


def disk_of(controller: str, folder: Path) -> Disk:
    return Disk(0, 0, 32 * MEGABYTE, folder / f"{controller}.img", bus=controller)


def check_data(guest: QemuGuest, disk: Disk, **options: Any) -> None:
    """fio verifies in the guest, and a pattern has to come out on the image of just this disk."""
    node = guest.node(disk)
    fio.write_verified(guest, node, **{"size": "8M", **options})
    guest.push("/tmp/pattern", PATTERN)
    guest.run(f"dd if=/tmp/pattern of={node} bs=1M seek=20 oflag=direct", check=True)
    assert disk.file
    assert images.part(disk.file, 20 * 2048, 2048) == PATTERN
    guest.run(f"dd if={node} bs=1M skip=20 count=1 iflag=direct | cmp - /tmp/pattern", check=True)
    images.put(disk.file, 20 * 2048, bytes(MEGABYTE))


def check_interrupts(guest: QemuGuest, controller: str, kind: str, queues: int) -> None:
    lines = sysfs.interrupts(guest, controller)
    name = sysfs.virtio_name(guest, controller)
    names = [line.name for line in lines]
    if kind == "per queue":
        assert names == [f"{name}-{each}" for each in ["config", "control", "event"] + ["request"] * queues]
        assert sum(line.count for line in lines[3:]) > 100
    elif kind == "shared":
        assert names == [f"{name}-config", f"{name}-virtqueues"]
        assert lines[1].count > 100
    else:
        assert names == [name]
        assert "IO-APIC" in lines[0].chip
        assert lines[0].count > 100


@pytest.fixture(scope="module")
def guest(boot_shared: Callable[..., QemuGuest], scratch_shared: Path) -> QemuGuest:
    controllers = [
        Controller([disk_of(offer.name, scratch_shared)], {"num_queues": 2, **offer.props}, id=offer.name)
        for offer in OFFERS
    ]
    return boot_shared(controllers, smp=2)


@pytest.mark.parametrize("offer", OFFERS, ids=lambda offer: offer.name)
def test_each_offer_is_negotiated_and_works(guest: QemuGuest, offer: Offer) -> None:
    disk = next(disk for disk in guest.disks if disk.bus == offer.name)
    check_data(guest, disk)
    assert sysfs.features(guest, offer.name) & OPTIONAL == offer.features
    check_interrupts(guest, offer.name, offer.interrupts, queues=2)
    for name, value in offer.limits.items():
        assert sysfs.host_limit(guest, name, offer.name) == value, name


def test_all_controllers_work_at_once(guest: QemuGuest) -> None:
    """Work on every controller at the same time, as much as each takes."""
    jobs = [
        fio.start(guest, guest.node(disk), **fio.write_options(size="4M", bsrange="4k-64k"))
        for disk in guest.disks
    ]
    for disk, job in zip(guest.disks, jobs, strict=True):
        done = fio.Job.of(job.wait(120))
        assert (done.error, done.result.rc) == (0, 0), f"{disk.bus}: {done.said}"
        assert done.read >= done.written == 4 * MEGABYTE


def test_every_buffer_goes_through_the_dma_api(boot: Callable[..., QemuGuest], scratch: Path) -> None:
    """ACCESS_PLATFORM, and a kernel that copies all that is mapped for a device: what is not mapped, or not
    given back, does not get through. A guest that keeps its memory from the host is like this."""
    props = {"num_queues": 2, "iommu_platform": True, "disable-legacy": "on"}
    kinds = {"split": {}, "packed": {"packed": True}, "direct": {"indirect_desc": False}}
    guest = boot(
        [Controller([disk_of(name, scratch)], {**props, **kind}, id=name) for name, kind in kinds.items()],
        append="swiotlb=force",
        module=None,
    )
    before = guest.out("cat /sys/kernel/debug/swiotlb/io_tlb_used")
    guest.load()
    guest.run("echo 1 >/sys/kernel/tracing/events/swiotlb/swiotlb_bounced/enable", check=True)
    for disk in guest.disks:
        assert ACCESS_PLATFORM in sysfs.features(guest, disk.bus)
        guest.run("echo >/sys/kernel/tracing/trace", check=True)
        check_data(guest, disk)
        device = guest.out(
            f"basename $(realpath /sys/class/scsi_host/host{guest.host(disk.bus)}/../../../..)"
        )
        assert int(guest.out(f"grep -c 'dev_name: {device} .* FORCE' /sys/kernel/tracing/trace")) > 100
    # Nothing stays mapped.
    guest.unload()
    assert guest.out("cat /sys/kernel/debug/swiotlb/io_tlb_used") == before


def test_works_behind_an_iommu(boot: Callable[..., QemuGuest], scratch: Path) -> None:
    """The device reaches what is mapped for it, and only as long as it is: anything else is a fault in the
    kernel's log."""
    props = {"num_queues": 2, "iommu_platform": True, "disable-legacy": "on"}
    guest = boot(
        [Controller([disk_of("scsi0", scratch)], props)],
        devices=[{"driver": "intel-iommu", "intremap": "off"}],
        append="intel_iommu=on iommu.strict=1",
    )
    assert ACCESS_PLATFORM in sysfs.features(guest)
    device = guest.out("realpath /sys/bus/virtio/devices/virtio*/host*/../..").splitlines()[0]
    assert guest.out(f"cat {device}/iommu_group/type").startswith("DMA")
    check_data(guest, guest.disks[0])
    guest.unload()
    guest.load()
    check_data(guest, guest.disks[0], size="4M")


@pytest.mark.parametrize("version", ["legacy", "modern"])
def test_works_over_virtio_mmio(boot: Callable[..., QemuGuest], scratch: Path, version: str) -> None:
    legacy = version == "legacy"
    guest = boot(
        [Controller([disk_of("scsi0", scratch)], {"num_queues": 2})],
        machine="microvm",
        args=["-global", f"virtio-mmio.force-legacy={'on' if legacy else 'off'}"],
    )
    bus = guest.out("basename $(realpath /sys/bus/virtio/devices/virtio*/host*/../../subsystem)")
    assert bus == "platform"
    assert sysfs.features(guest) & OPTIONAL == (USUAL - {VERSION_1} if legacy else USUAL)
    check_data(guest, guest.disks[0])
    lines = sysfs.interrupts(guest)
    assert [line.name for line in lines] == [sysfs.virtio_name(guest)]
    assert lines[0].count > 100

# SPDX-License-Identifier: GPL-2.0
"""Events that QEMU's own device sends: units that come, go and change, and events that got lost."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from guest import MEGABYTE, Controller, Disk, QemuGuest, fio
from support.known_lines import GOING

pytestmark = [pytest.mark.main, pytest.mark.compare, pytest.mark.arm64]


def units(guest: QemuGuest) -> set[str]:
    """The addresses of all logical units that the guest has."""
    return set(guest.out("ls /sys/bus/scsi/devices | grep -E '^[0-9]+:' || :").split())


def expect(guest: QemuGuest, disks: list[Disk], timeout: float = 60) -> None:
    """Waits until the guest has these logical units and no others."""
    wanted = {guest.address(disk) for disk in disks}
    deadline = time.monotonic() + timeout
    while (seen := units(guest)) != wanted:
        if time.monotonic() > deadline:
            raise AssertionError(f"missing {wanted - seen}, too many {seen - wanted}")
        time.sleep(0.2)


@pytest.fixture(scope="module")
def shared(boot_shared: Callable[..., QemuGuest]) -> Iterator[QemuGuest]:
    yield boot_shared([Controller([Disk(0, 0), Disk(0, 1)])])


def test_units_come_and_go(shared: QemuGuest) -> None:
    before = list(shared.disks)
    added = [shared.add_disk(Disk(target, lun)) for target, lun in ((0, 5), (0, 300), (7, 0), (7, 16383))]
    expect(shared, before + added)
    for disk in added:
        shared.remove_disk(disk)
    expect(shared, before)


def test_a_target_goes_with_its_last_unit(shared: QemuGuest) -> None:
    """QEMU reports only LUN 0 as removed; the driver has to look at the others of the target."""
    before = list(shared.disks)
    added = [shared.add_disk(Disk(9, lun)) for lun in (0, 1, 2)]
    expect(shared, before + added)
    shared.remove_disk(added[0])
    expect(shared, before + added[1:])
    for disk in added[1:]:
        shared.remove_disk(disk)
    expect(shared, before)


@pytest.mark.parametrize("lun", [0, 4])
def test_a_swap_while_the_guest_stands_still_is_a_new_disk(
    shared: QemuGuest, lun: int, tmp_path: Path
) -> None:
    """Both events come at once, and what they are about answers already. The next disk has nothing of the
    former one, neither its node nor its data in the page cache."""
    before = list(shared.disks)
    old = shared.add_disk(Disk(3, lun, 8 * MEGABYTE, tmp_path / "old"))
    expect(shared, [*before, old])
    node = shared.node(old)
    shared.run(f"dd if=/dev/zero bs=64k count=4 | tr '\\0' A | dd of={node} oflag=direct", check=True)
    assert shared.out(f"dd if={node} bs=4k count=16 2>/dev/null | tr -d A | wc -c") == "0"
    sequence = f"cat /sys/bus/scsi/devices/{shared.address(old)}/block/*/diskseq"
    former = int(shared.out(sequence))

    shared.qmp("stop")
    shared.remove_disk(old)
    new = shared.add_disk(Disk(3, lun, 8 * MEGABYTE))
    shared.qmp("cont")
    shared.wait_until(f"test $({sequence} || echo 0) -gt {former}", 20)
    expect(shared, [*before, new])
    node = shared.node(new)
    assert shared.out(f"dd if={node} bs=4k count=16 2>/dev/null | tr -d '\\0' | wc -c") == "0"
    shared.remove_disk(new)
    expect(shared, before)


def test_a_unit_that_is_replaced_is_seen_as_it_is(shared: QemuGuest) -> None:
    before = list(shared.disks)
    old = shared.add_disk(Disk(3, 4, 8 * MEGABYTE))
    expect(shared, [*before, old])
    shared.remove_disk(old)
    new = shared.add_disk(Disk(3, 4, 24 * MEGABYTE))
    expect(shared, [*before, new])
    shared.wait_until(f"test $(blockdev --getsize64 {shared.node(new)}) = {24 * MEGABYTE}")
    shared.remove_disk(new)
    expect(shared, before)


def test_a_new_capacity_is_seen(shared: QemuGuest, scratch_shared: Path) -> None:
    disk = shared.add_disk(Disk(4, 1, 16 * MEGABYTE, scratch_shared / "grows.img"))
    expect(shared, shared.disks)
    node = shared.node(disk)
    for size in (48 * MEGABYTE, 32 * MEGABYTE):
        shared.qmp("block_resize", {"node-name": disk.node, "size": size})
        shared.wait_until(f"test $(lsblk -bdno SIZE {node}) = {size}", 20)
    shared.remove_disk(disk)


@pytest.mark.parametrize("count", [20, 60])
def test_missed_events_are_made_up_for(shared: QemuGuest, count: int) -> None:
    """While the guest is stopped the device runs out of event buffers, and says so later."""
    before = list(shared.disks)
    shared.qmp("stop")
    added = [shared.add_disk(Disk(20 + i, i % 3)) for i in range(count)]
    shared.qmp("cont")
    expect(shared, before + added, 120)
    shared.wait_until("dmesg | grep -q 'events may have been missed'")
    shared.qmp("stop")
    for disk in added:
        shared.remove_disk(disk)
    shared.qmp("cont")
    expect(shared, before, 120)


def test_removal_under_io_leaves_others_alone(shared: QemuGuest, scratch_shared: Path) -> None:
    kept = shared.add_disk(Disk(12, 0, 32 * MEGABYTE, scratch_shared / "kept.img"))
    gone = [shared.add_disk(Disk(13, lun, 32 * MEGABYTE)) for lun in (1, 2, 3)]
    expect(shared, shared.disks)
    options = {"rw": "randrw", "bs": "4k", "iodepth": 16, "ioengine": "libaio", "direct": 1}
    verify = {"verify": "crc32c", "verify_fatal": 1, "size": "8m"}
    # A unit that goes away under I/O is an I/O error, and the block layer says so.
    with shared.allowing(*GOING):
        good = shared.spawn(fio.command(shared.node(kept), **options, **verify))
        doomed = [
            shared.spawn(fio.command(shared.node(disk), time_based=True, runtime=60, **options))
            for disk in gone
        ]
        shared.wait_until(
            f"test $(awk '{{ print $1 }}' /sys/block/{Path(shared.node(gone[0])).name}/stat) -gt 50"
        )
        for disk in gone:
            shared.remove_disk(disk)
        for handle in doomed:
            assert handle.wait(60).rc != 0
        assert fio.Job.of(good.wait(120, check=True)).error == 0
        expect(shared, shared.disks)
    shared.remove_disk(kept)
    expect(shared, shared.disks)


def test_the_bus_follows_wild_hotplug(shared: QemuGuest) -> None:
    """Three units come and go as fast as QEMU can do it, while the guest lists units and reads."""
    before = list(shared.disks)
    busy = shared.spawn(
        "while ! test -e /tmp/enough; do sg_luns /dev/sg0 >/dev/null; dd if=/dev/sda of=/dev/null bs=64k "
        "count=20 iflag=direct 2>/dev/null || exit 1; done; rm /tmp/enough"
    )
    # A unit may go while it is being looked at.
    with shared.allowing(*GOING):
        wild = [Disk(30, lun, props={"share-rw": True}) for lun in (0, 1, 2)]
        for disk in wild:
            disk.bus = "scsi0"
            shared.qmp("blockdev-add", disk.blockdev_options())

        def plug(cycle: int) -> None:
            for disk in wild:
                shared.qmp("device_add", {**disk.device_options(), "id": f"{disk.id}-{cycle}"})

        def pull(cycle: int) -> None:
            for disk in wild:
                shared.qmp("device_del", {"id": f"{disk.id}-{cycle}"})

        for cycle in range(1000):
            plug(cycle)
            pull(cycle)
        expect(shared, before, 180)
        plug(1000)
        expect(shared, before + wild, 180)
        pull(1000)
        expect(shared, before, 60)
    shared.run("touch /tmp/enough", check=True)
    assert busy.wait(60).rc == 0


@pytest.mark.ours("loads our module by its name")
def test_the_driver_leaves_and_comes_back_while_events_come(shared: QemuGuest) -> None:
    before = list(shared.disks)
    extra = [Disk(40 + i, 1, props={"share-rw": True}) for i in range(12)]
    for disk in extra:
        disk.bus = "scsi0"
        shared.qmp("blockdev-add", disk.blockdev_options())
    device = shared.out("basename $(readlink -f /sys/class/scsi_host/host*/device/..)")
    driver = "/sys/bus/virtio/drivers/virtio_scsi_rs"
    with shared.allowing(*GOING):
        for how in (
            # While a unit is looked at, the module is in use.
            "until rmmod virtio_scsi_rs; do sleep 0.1; done; insmod /lib/ours/virtio_scsi_rs.ko",
            f"echo {device} >{driver}/unbind; echo {device} >{driver}/bind",
        ):
            for cycle in range(3):
                leave = shared.spawn(how)
                for disk in extra:
                    options = {**disk.device_options(), "id": f"{disk.id}-{len(how)}-{cycle}"}
                    shared.qmp("device_add", options)
                    shared.qmp("device_del", {"id": options["id"]})
                result = leave.wait(120)
                assert result.rc == 0, result.stderr
                expect(shared, before, 60)


@pytest.mark.ours("is about our module's messages")
@pytest.mark.parametrize(
    ("prop", "said"),
    [
        ("hotplug", "does not report logical units that come or go"),
        ("param_change", "does not report changes of logical units"),
    ],
)
def test_a_feature_that_is_missing_is_logged(boot: Callable[..., QemuGuest], prop: str, said: str) -> None:
    guest = boot([Controller([Disk(0, 0)], {prop: False})])
    guest.run("dd if=/dev/sda of=/dev/null bs=64k count=20 iflag=direct", check=True)
    assert guest.out(f"dmesg | grep -c '{said}'") == "1"

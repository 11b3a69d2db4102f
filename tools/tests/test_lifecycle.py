# SPDX-License-Identifier: GPL-2.0
"""The module comes and goes, and so do its devices, at rest and under I/O.

Afterwards nothing is left behind: no host, disk, interrupt or memory. The kernel's allocator is told to note
who allocated what, so that a leak is seen exactly.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from guest import MEGABYTE, Controller, Disk, QemuGuest, fio, images, sysfs
from guest.guest import OUR_MODULE
from support.boots import Boots

pytestmark = [pytest.mark.main, pytest.mark.ours("is about loading and binding our module")]


CYCLES = 20
DRIVER = "/sys/bus/virtio/drivers/virtio_scsi_rs"
PATTERN = images.pattern("lifecycle", MEGABYTE)

# What a disk that is taken away from under its users has the kernel say.
TAKEN_AWAY = (
    r"(I/O|device offline) error, dev sd",
    r"Buffer I/O error on dev",
    r"\[sd\w+\] Synchronize Cache\(10\) failed",
    # The block layer has made the disk one of no sectors, and sd gets a command that was on the way.
    r"\[sd\w+\] tag#\d+ access beyond end of device",
    r"EXT4-fs|JBD2|Aborting journal|lost (async|sync) page write",
)


class Bus:
    """Two controllers with their disks, bound and unbound by their names on the virtio bus."""

    def __init__(self, guest: QemuGuest) -> None:
        self.guest = guest
        self.names = {each.id: sysfs.virtio_name(guest, each.id) for each in guest.controllers}

    def unbind(self, controller: str = "scsi0") -> None:
        self.guest.run(f"echo {self.names[controller]} >{DRIVER}/unbind", timeout=60, check=True)

    def bind(self, controller: str = "scsi0") -> None:
        name = self.names[controller]
        self.guest.run(f"echo {name} >{DRIVER}/bind", timeout=60, check=True)
        wanted = sum(disk.bus == controller for disk in self.guest.disks)
        seen = f"ls -d /sys/bus/virtio/devices/{name}/host*/target*/*/block/*"
        self.guest.wait_until(f'test "$({seen} 2>/dev/null | wc -l)" -eq {wanted}')

    def restore(self) -> None:
        """Brings the driver and both devices back after a test that failed on the way."""
        self.guest.run(
            "killall -q -9 fio; umount -q -l /mnt; grep -q ^virtio_scsi_rs /proc/modules || insmod "
            + OUR_MODULE
        )
        for name in self.names.values():
            self.guest.run(f"test -e {DRIVER}/{name} || echo {name} >{DRIVER}/bind")
        self.guest.settle()

    def left(self, *controllers: str) -> str:
        """What can still be seen of these, and hosts that belong to nobody."""
        script = ""
        for each in controllers:
            name = self.names[each]
            script += f"ls -d /sys/bus/virtio/devices/{name}/host*; grep '\\<{name}-' /proc/interrupts; "
        others = len(self.names) - len(controllers)
        script += f"ls -d /sys/class/scsi_host/host* | tail -n +{others + 1}"
        return self.guest.run(f"{{ {script}; }} 2>/dev/null").stdout


@pytest.fixture(scope="module")
def bus(boot_shared: Callable[..., QemuGuest], scratch_shared: Path) -> Bus:
    first = [Disk(0, 0, 64 * MEGABYTE, scratch_shared / "a.img"), Disk(1, 300, 32 * MEGABYTE, None)]
    second = [Disk(0, 0, 32 * MEGABYTE, scratch_shared / "b.img")]
    controllers = [Controller(first, {"num_queues": 2}), Controller(second, {"num_queues": 2}, id="scsi1")]
    return Bus(boot_shared(controllers, append="slab_debug=U"))


@pytest.fixture(autouse=True)
def whole(bus: Bus) -> Iterator[None]:
    """Whatever a test did: at its end all disks are there and hold what is written to them."""
    bus.restore()
    yield
    guest = bus.guest
    guest.push("/tmp/pattern", PATTERN)
    for disk in guest.disks:
        if disk.file:
            node = guest.node(disk)
            guest.run(f"dd if=/tmp/pattern of={node} bs=256k oflag=direct conv=notrunc", check=True)
            assert images.part(disk.file, 0, 2048) == PATTERN
            images.put(disk.file, 0, bytes(MEGABYTE))


def allocations(guest: QemuGuest) -> Counter[str]:
    """Objects that are in use and were allocated by the driver or the SCSI layers, by call path."""
    found: Counter[str] = Counter()
    # A record is a line with the number of objects, and a line for each caller.
    text = guest.out("cd /sys/kernel/debug/slab && cat */alloc_traces", timeout=60)
    for record in re.split(r"^ *(?=\d+ \S.* age=)", text, flags=re.MULTILINE):
        head, *callers = record.strip().splitlines() or [""]
        # Address ranges are given back in bulk, some time later. The nodes of the kernel's own tree of
        # interrupts count as those of the one who has changed it last, by giving an interrupt back.
        others = "alloc_vmap_area" in head or "irq_free_descs" in record
        if re.search(r"\[(virtio_scsi_rs|scsi_mod|sd_mod|sg)\]", record) and not others:
            path = " < ".join(caller.strip().partition("+")[0] for caller in callers)
            found[path] += int(head.split()[0])
    return found


def grown(now: Counter[str], before: Counter[str], by: int) -> dict[str, int]:
    return {path: now[path] - before[path] for path in now if now[path] - before[path] >= by}


def test_reload_leaves_nothing_behind(bus: Bus) -> None:
    guest = bus.guest
    for cycle in range(CYCLES):
        guest.unload()
        assert bus.left("scsi0", "scsi1") == "", f"cycle {cycle}"
        assert guest.out("lsscsi") == ""
        guest.load()
        assert len(guest.out("lsscsi").splitlines()) == 3
        if cycle % 5 == 0:
            fio.write_verified(guest, guest.node(guest.disks[0]), size="1M")


def test_unload_while_scanning_leaves_nothing_behind(bus: Bus) -> None:
    """The driver goes while the disks are being looked for. insmod itself comes back only after the scan, so
    that it is the scan of a device which is bound again."""
    guest, name = bus.guest, bus.names["scsi0"]
    trace = "/sys/kernel/tracing"
    guest.run(f"echo 1 >{trace}/events/scsi/scsi_dispatch_cmd_start/enable", check=True)
    asked = f"$(grep -c 'cmnd=(INQUIRY' {trace}/trace)"
    counts = []
    for pause in (0, 0.02, 0.05, 0.1, 0.2):
        bus.unbind()
        # While a unit is looked at, the module is in use.
        said = guest.out(
            f"echo >{trace}/trace; echo {name} >{DRIVER}/bind; sleep {pause}; echo {asked}; "
            f"until rmmod virtio_scsi_rs 2>/dev/null; do :; done; echo {asked}"
        )
        counts.append(tuple(map(int, said.split())))
        assert guest.out("lsscsi") == ""
        assert bus.left("scsi0", "scsi1") == ""
        guest.load()
        assert len(guest.out("lsscsi").splitlines()) == 3
    guest.run(f"echo 0 >{trace}/events/scsi/scsi_dispatch_cmd_start/enable", check=True)
    assert any(0 < before < after for before, after in counts), f"no scan was under way: {counts}"


def test_unload_while_in_use_is_refused(bus: Bus) -> None:
    """An open disk holds the module; its I/O does not notice the attempt."""
    guest = bus.guest
    job = fio.start(guest, guest.node(guest.disks[0]), **fio.write_options(size="16M", loops=2))
    guest.wait_until("grep -q '^virtio_scsi_rs .* [1-9][0-9]* ' /proc/modules", timeout=20)
    tries = 0
    while not job.done():
        result = guest.run("rmmod virtio_scsi_rs")
        if result.rc == 0:
            assert job.done(), "unloaded under an open disk"
            guest.load()
            break
        assert "is in use" in result.stderr
        tries += 1
    done = fio.Job.of(job.wait())
    assert (done.error, done.result.rc) == (0, 0), done.said
    assert tries >= 1


def test_unbind_leaves_the_other_controller_alone(bus: Bus) -> None:
    """One controller comes and goes, while the other is at work."""
    guest = bus.guest
    steady = {"time_based": 1, "runtime": 600, "iodepth": 4, "rate_iops": 100}
    other = fio.start(guest, guest.node(guest.disks[2]), **fio.write_options(size="8M", **steady))
    for cycle in range(CYCLES):
        bus.unbind()
        assert bus.left("scsi0") == "", f"cycle {cycle}"
        assert len(guest.out("lsscsi").splitlines()) == 1
        bus.bind()
        assert len(guest.out("lsscsi").splitlines()) == 3
    assert not other.done()
    guest.run("killall -INT fio", check=True)
    done = fio.Job.of(other.wait(60))
    assert done.error == 0, done.said
    assert done.written > 0


@pytest.mark.parametrize("engine", ["io_uring", "psync", "sg"])
def test_unbind_ends_io_soon(bus: Bus, engine: str) -> None:
    """What is in flight ends with an error, and soon; nothing waits for ever, and the disks come back."""
    guest, disk = bus.guest, bus.guest.disks[0]
    with guest.allowing(*TAKEN_AWAY):
        for _ in range(3):
            node = guest.node(disk, "scsi_generic" if engine == "sg" else "block")
            options = fio.write_options(engine=engine, size="32M", time_based=1, runtime=600, numjobs=2)
            job = fio.start(guest, node, **options)
            counter = f"/sys/bus/scsi/devices/{guest.address(disk)}/iorequest_cnt"
            busy = int(guest.out(f"cat {counter}"), 16) + 100
            guest.wait_until(f"test $(($(cat {counter}))) -gt {busy}", timeout=30)
            bus.unbind()
            result = job.wait(30)
            assert result.rc != 0, "fio ended well on a disk that is gone"
            assert bus.left("scsi0") == ""
            bus.bind()
    fio.write_verified(guest, guest.node(disk), size="4M")


def test_unbind_of_a_mounted_disk_keeps_what_was_flushed(bus: Bus) -> None:
    """The file system is lost, and says so; it can be unmounted, and what it had flushed is there again."""
    guest, disk = bus.guest, bus.guest.disks[2]
    node = guest.node(disk)
    guest.run(f"mkfs.ext4 -q {node} && mount {node} /mnt && cp /usr/bin/fio /mnt/kept && sync", check=True)
    with guest.allowing(*TAKEN_AWAY):
        writer = guest.spawn("while head -c 3000000 /dev/urandom >/mnt/lost; do :; done; sync")
        guest.wait_until("test -s /mnt/lost", timeout=20)
        bus.unbind("scsi1")
        writer.wait(60)
        assert bus.left("scsi1") == ""
        guest.run("umount /mnt", timeout=60, check=True)
    bus.bind("scsi1")
    node = guest.node(disk)
    guest.run(
        f"fsck.ext4 -p {node}; mount {node} /mnt && cmp /usr/bin/fio /mnt/kept && umount /mnt", check=True
    )


def test_what_changed_while_nobody_looked_is_seen(bus: Bus, scratch_shared: Path) -> None:
    """Plugged, unplugged and resized while no driver is bound: the next one sees the state as it is."""
    guest, resized = bus.guest, bus.guest.disks[2]
    bus.unbind("scsi1")
    plugged = guest.add_disk(Disk(4, 2, 8 * MEGABYTE, scratch_shared / "plugged.img", bus="scsi1"))
    guest.qmp("block_resize", {"node-name": resized.node, "size": 48 * MEGABYTE})
    bus.bind("scsi1")
    assert guest.out(f"blockdev --getsize64 {guest.node(resized)}") == str(48 * MEGABYTE)
    assert guest.out(f"blockdev --getsize64 {guest.node(plugged)}") == str(8 * MEGABYTE)
    bus.unbind("scsi1")
    guest.remove_disk(plugged)
    bus.bind("scsi1")
    assert len(guest.out("lsscsi").splitlines()) == 3


def test_nothing_is_leaked(bus: Bus) -> None:
    """Nothing that the driver, or the SCSI layers for it, allocated stays from one cycle to the next."""
    guest = bus.guest

    def cycle() -> None:
        for controller in ("scsi0", "scsi1"):
            bus.bind(controller)
        guest.run(f"dd if={guest.node(guest.disks[0])} of=/dev/null bs=4k count=50 iflag=direct", check=True)
        guest.run(f"sg_reset -d {guest.node(guest.disks[0], 'scsi_generic')}", check=True)
        with_more = guest.add_disk(Disk(7, 1, bus="scsi1"))
        guest.settle()
        # It may go while its partition table is being read.
        guest.remove_disk(with_more)
        address = guest.address(with_more)
        guest.wait_until(f"! test -e /sys/bus/scsi/devices/{address}", timeout=30)
        for controller in ("scsi0", "scsi1"):
            bus.unbind(controller)

    assert sum(allocations(guest).values()) > 100  # the books are kept
    for controller in ("scsi0", "scsi1"):
        bus.unbind(controller)
    with guest.allowing(*TAKEN_AWAY):
        cycle()
    before = allocations(guest)
    times = 4
    with guest.allowing(*TAKEN_AWAY):
        for _ in range(times):
            cycle()
    leaks = grown(allocations(guest), before, by=times)
    for controller in ("scsi0", "scsi1"):
        bus.bind(controller)
    assert leaks == {}


def test_a_file_that_is_open_keeps_the_module_and_no_device(boot: Boots) -> None:
    """Whoever reads the driver's files keeps rmmod from unloading the module; an unbinding does not wait."""
    guest = boot([Controller([Disk(0, 0)])])
    name = guest.out(f"basename {guest.driver.sysfs}/virtio*")
    folder = f"/sys/kernel/debug/virtio_scsi_rs/{name}"
    files = guest.out(f"ls {folder}").split()
    assert files == ["counters", "in_flight", "latency", "queues", "recovery", "state"]
    for file in files:
        path = f"{folder}/{file}"
        held = f"exec 3<{path}; head -1 <&3"
        result = guest.run(f"{held}; rmmod virtio_scsi_rs; echo rc $?; exec 3<&-")
        assert result.stdout.endswith("rc 1\n"), result
        assert "is in use" in result.stderr
        unbound = f"{held}; echo {name} >{guest.driver.sysfs}/unbind; cat <&3; echo rc $?"
        result = guest.run(f"{unbound}; exec 3<&-; test ! -e {path}; echo gone $?")
        assert result.stdout.endswith("rc 1\ngone 0\n"), result
        guest.run(f"echo {name} >{guest.driver.sysfs}/bind; cat {path}", check=True)
        # A disk that goes before its partitions were looked for gets errors in the log.
        sysfs.wait_for_units(guest, 1)
        guest.run("for disk in /dev/sd?; do : <$disk; done", check=True)
    guest.unload()
    guest.run("test ! -e /sys/kernel/debug/virtio_scsi_rs", check=True)

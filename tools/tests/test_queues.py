# SPDX-License-Identifier: GPL-2.0
"""Request queues: how many there are, which CPU's commands go to which, and those that are polled."""

from collections.abc import Callable
from pathlib import Path

import pytest

from guest import MEGABYTE, Controller, Disk, QemuGuest, fio, sysfs
from support.workloads import VERIFIED

pytestmark = pytest.mark.main


READS = 200


def request_counts(guest: QemuGuest, controller: str = "scsi0") -> list[int]:
    return [each.count for each in sysfs.interrupts(guest, controller) if each.name.endswith("-request")]


def read_on(guest: QemuGuest, cpu: int, node: str, reads: int = READS) -> None:
    """Reads one after the other from one CPU: as many interrupts of the queue of that CPU."""
    read = f"dd if={node} of=/dev/null bs=4k count={reads} iflag=direct status=none"
    guest.run(f"taskset -c {cpu} {read}", check=True)


def difference(after: list[int], before: list[int]) -> list[int]:
    return [b - a for a, b in zip(before, after, strict=True)]


@pytest.mark.parametrize("cpus", [1, 2, 4])
def test_commands_are_answered_on_their_cpu(boot: Callable[..., QemuGuest], scratch: Path, cpus: int) -> None:
    """One queue for each CPU, up to what the device has; a command is answered where it was sent from."""
    offered = (1, 2, 8)
    controllers = [
        Controller(
            [Disk(0, 0, 16 * MEGABYTE, scratch / f"q{n}.img", bus=f"q{n}")], {"num_queues": n}, f"q{n}"
        )
        for n in offered
    ]
    guest = boot(controllers, smp=cpus)
    for disk, number in zip(guest.disks, offered, strict=True):
        wanted = min(number, cpus)
        assert sysfs.host_limit(guest, "nr_hw_queues", disk.bus) == wanted
        queues = sysfs.hardware_queues(guest, disk)
        assert [kind for kind, _ in queues] == ["default"] * wanted
        assert sorted(cpu for _, on in queues for cpu in on) == list(range(cpus))
        node = guest.node(disk)
        fio.write_verified(guest, node, size="8M", numjobs=1)
        for cpu in range(cpus):
            before = request_counts(guest, disk.bus)
            read_on(guest, cpu, node)
            counts = difference(request_counts(guest, disk.bus), before)
            mine = next(index for index, (_, on) in enumerate(queues) if cpu in on)
            assert counts[mine] >= READS, f"{disk.bus}, CPU {cpu}: {counts}"
            assert sum(counts) - counts[mine] <= READS // 10, f"{disk.bus}, CPU {cpu}: {counts}"
        if wanted == cpus:
            # Each queue's interrupt is delivered to its own CPU and to no other.
            for index, line in enumerate(sysfs.interrupts(guest, disk.bus)[3:]):
                at = [cpu for cpu, count in enumerate(line.counts) if count]
                assert at == sorted(queues[index][1]), f"{disk.bus}, queue {index}: {line}"


def test_polled_queues_need_no_interrupt(boot: Callable[..., QemuGuest], scratch: Path) -> None:
    """Polled queues have no interrupt, and what is asked to be polled for needs none."""
    disk = Disk(0, 0, 64 * MEGABYTE, scratch / "polled.img")
    single = Disk(0, 0, 16 * MEGABYTE, scratch / "single.img", bus="scsi1")
    controllers = [Controller([disk], {"num_queues": 4}), Controller([single], {"num_queues": 1}, "scsi1")]
    guest = boot(controllers, smp=4, parameters="poll_queues=2")
    node = guest.node(disk)
    assert [kind for kind, _ in sysfs.hardware_queues(guest, disk)] == ["default", "default", "poll", "poll"]
    assert sysfs.queue_limit(guest, disk, "io_poll") == 1
    assert len(request_counts(guest)) == 2

    # Polled: thousands of commands, no interrupt at all.
    before = request_counts(guest)
    read = {"ioengine": "io_uring", "direct": 1, "rw": "randread", "bs": "4k", "size": "32M"}
    assert fio.run(guest, node, hipri=True, number_ios=2000, **read).reads == 2000
    many = {"hipri": True, "iodepth": 32, "iodepth_batch_submit": 8, "number_ios": 4000}
    assert fio.run(guest, node, **many, **read).reads == 4000
    job = fio.write_verified(guest, node, size="24M", hipri=True)
    assert job.written == 24 * MEGABYTE
    split = {"numjobs": 4, "cpus_allowed": "0-3", "cpus_allowed_policy": "split", "group_reporting": True}
    options = fio.write_options(size="4M", offset_increment="4M", hipri=True, **split)
    assert fio.run(guest, node, **options).written == 16 * MEGABYTE
    assert sum(difference(request_counts(guest), before)) <= 20

    # Not polled, on the same disk: an interrupt for each.
    before = request_counts(guest)
    assert fio.run(guest, node, number_ios=1000, **read).reads == 1000
    assert sum(difference(request_counts(guest), before)) >= 1000

    # Both at once.
    polled = fio.start(guest, node, **fio.write_options(size="8M", hipri=True, loops=3))
    other = fio.start(guest, node, **fio.write_options(size="8M", offset="16M", loops=3))
    for handle in (polled, other):
        done = fio.Job.of(handle.wait(120))
        assert (done.error, done.result.rc) == (0, 0), done.said

    # At least one queue is left to interrupt; of a single one none is polled, and who asks is served as ever.
    assert [kind for kind, _ in sysfs.hardware_queues(guest, single)] == ["default"]
    fio.write_verified(guest, guest.node(single), size="4M")


def test_data_stays_when_the_scheduler_changes(boot: Callable[..., QemuGuest], scratch: Path) -> None:
    """A scheduler has commands of its own, which are made while the disk is in use."""
    guest = boot([Controller([Disk(0, 0, 64 * MEGABYTE, scratch / "disk.img")])], smp=2)
    node = guest.node(guest.disks[0])
    scheduler = f"/sys/block/{Path(node).name}/queue/scheduler"
    guest.run("modprobe mq-deadline", check=True)
    names = guest.out(f"cat {scheduler}").replace("[", "").replace("]", "").split()
    assert {"none", "mq-deadline"} <= set(names)
    job = guest.spawn(fio.command(node, **VERIFIED))
    for name in [*names, *names]:
        guest.run(f"echo {name} >{scheduler}", check=True)
        before = guest.out(f"cat /sys/block/{Path(node).name}/stat").split()[4]
        guest.wait_until(f"test $(awk '{{ print $5 }}' /sys/block/{Path(node).name}/stat) -gt {before}")
    done = fio.Job.of(job.wait(300))
    assert done.error == 0, done.said


def test_a_kernel_that_writes_a_dump_uses_one_queue(boot: Callable[..., QemuGuest], scratch: Path) -> None:
    """Its memory is small, and its interrupts may be few. A parameter of the kernel makes it one, and names a
    dump that is not there."""
    disk = Disk(0, 0, 64 * MEGABYTE, scratch / "disk.img")
    guest = boot(
        [Controller([disk], {"num_queues": 4})], smp=4, parameters="poll_queues=1", append="elfcorehdr=64G"
    )
    assert sysfs.host_limit(guest, "nr_hw_queues") == 1
    assert [kind for kind, _ in sysfs.hardware_queues(guest, disk)] == ["default"]
    assert len(request_counts(guest)) == 1
    fio.write_verified(guest, guest.node(disk), size="8M", numjobs=1)

# SPDX-License-Identifier: GPL-2.0
"""The life of a device, in kernels with sanitizers: every way out of a reset ends with a device that works or
with one that is given up, and nobody waits for either without bound."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from zlib import crc32

import pytest

from guest import fio, sysfs
from guest.faults import TransportFaults
from support import uml_bench
from support.uml_bench import Bench, only_in
from support.workloads import RANDOM_READS

pytestmark = [pytest.mark.device, pytest.mark.uml]


variant, bench_shared, bench = uml_bench.FIXTURES

SCENARIO = {
    "device": {"request_queues": 1, "config": {"max_target": 1}},
    "unit": [{"lun": lun, "size": "16M", "write_cache": True} for lun in (0, 1)],
}


@pytest.fixture(autouse=True)
def _each_in_one_kernel(variant: str, request: pytest.FixtureRequest) -> None:
    """Each takes seconds, so that UML=ci does it in one of the kernels."""
    only_in(variant, crc32(request.node.name.replace(variant, "").encode()))


# Seconds. A step of recovery is one.
SOON = 8
SYNC = "SYNCHRONIZE_CACHE_10"


def faults(bench: Bench, **knobs: Any) -> TransportFaults:
    return TransportFaults(bench.guest, bench.name, **knobs)


def counters(bench: Bench) -> dict[str, int]:
    return sysfs.counters(bench.guest)


def read(bench: Bench, lun: int = 0) -> str:
    return f"dd if={bench.node(0, lun)} of=/dev/null bs=4k count=1 iflag=direct"


@contextmanager
def bound_again(bench: Bench) -> Iterator[None]:
    """After the block the device is bound, and works."""
    yield
    bench.nobody_is_stuck()
    bench.behave()
    bench.bind()
    bench.works()


@pytest.mark.parametrize("knob", ["refuse_features", "fail_finalize", "fail_find_vqs"])
@pytest.mark.parametrize("first", ["the user", "the driver"])
def test_a_device_that_does_not_come_back_from_a_reset_is_given_up(
    bench: Bench, knob: str, first: str
) -> None:
    """It is given up: commands end with an error, and it can be unbound and bound again. (H2)"""
    with bench.guest.misbehaving(), bound_again(bench), faults(bench) as transport:
        transport.set(knob, 1)
        if first == "the user":
            bench.guest.run(f"sg_reset -H -N {bench.node(kind='scsi_generic')}", SOON)
        else:
            transport.set("needs_reset", 1)
            bench.guest.wait_until(f"test $(cat /sys/module/transport/parameters/{knob}) = 0")
        assert transport.get(knob) == 0, "nothing has failed"
        assert bench.guest.run(read(bench), SOON).rc != 0
        assert bench.guest.run(read(bench, 1), SOON).rc != 0
        assert counters(bench)["failed_device_resets"] <= 1
        assert bench.unbind() < SOON


def test_commands_are_the_devices_until_it_was_reset(bench: Bench) -> None:
    """It is unbound while a command of it is being recovered, and takes its time for the last reset. The
    command ends after that, and not before. (H4)"""
    with bench.guest.misbehaving(), bound_again(bench), faults(bench) as transport:
        mark = bench.device.mark()
        bench.device.rule("held", {"lun": 0}, drop=True)
        bench.device.rule("functions", {"on": "tmf"}, drop=True)
        job = bench.guest.spawn(read(bench))
        bench.device.wait_for(lambda: "logical_unit_reset" in bench.functions(mark), why="no recovery")
        transport.set("slow_reset_ms", 4000)
        began = time.monotonic()
        unbind = bench.guest.spawn(f"echo {bench.name} >{uml_bench.DRIVER}/unbind")
        while not job.done():
            time.sleep(0.02)
        # The time before the reset comes on top of it.
        assert time.monotonic() - began > 4, "the command ended while the device had it"
        assert unbind.wait(20).rc == 0


def test_unbinding_resets_a_device_whose_ring_breaks(bench: Bench) -> None:
    """What is still to be sent is sent once the device was reset for it. (H3)"""
    with bench.guest.misbehaving(), bound_again(bench):
        mark = bench.device.mark()
        bench.guest.run(f"dd if=/dev/zero of={bench.node(0, 0)} bs=4k count=1", check=True)
        bench.device.rule("twice", {"opcode": SYNC, "times": 1}, repeat=2)
        assert bench.unbind() < SOON
        assert bench.device.since(mark, "answer", rule="twice"), "the ring did not break"


def test_unbinding_is_not_kept_by_a_unit_because_another_is_busy(bench: Bench) -> None:
    """The oldest command counts, not the progress of others. (L16)"""
    with bench.guest.misbehaving(), bound_again(bench):
        bench.device.rule("held", {"lun": 0}, drop=True)
        bench.device.rule("functions", {"on": "tmf"}, drop=True)
        busy = fio.command(bench.node(0, 1), iodepth=4, **RANDOM_READS)
        bench.guest.spawn(busy)
        bench.guest.spawn(read(bench))
        bench.device.wait_for(lambda: bench.device("waiting")["waiting"], why="nothing is held")
        assert bench.unbind() < SOON


def test_a_ring_that_breaks_under_load_is_reset_once(bench: Bench) -> None:
    """Whoever finds it broken after the reset has begun asks for no second one. (M10)"""
    with bench.guest.misbehaving():
        with bench.io((0, 0), (0, 1), threads=8):
            before = counters(bench)
            bench.device.rule("wrong", {"opcode": ["READ_10", "WRITE_10"], "times": 1}, id="not_head")
            bench.device.wait_for(
                lambda: counters(bench)["device_resets"] > before["device_resets"], why="no reset"
            )
            time.sleep(3)
            now = counters(bench)
            assert now["device_resets"] - before["device_resets"] == 1
            assert now["failures"] - before["failures"] == 1
        bench.works()


def test_a_reset_that_is_under_way_is_the_one_that_is_wanted(bench: Bench) -> None:
    """Several want the device to be reset at the same time: it is reset once for all who saw the same."""
    with bench.guest.misbehaving():
        before = counters(bench)
        with faults(bench, slow_reset_ms=1500) as transport:
            resets = transport.get("resets")
            jobs = [
                bench.guest.spawn(f"sg_reset -H -N {bench.node(0, lun, 'scsi_generic')}") for lun in (0, 1, 0)
            ]
            # The midlayer has one reset at a time of a host, and refuses the others.
            assert [job.wait(30).rc for job in jobs].count(0) >= 1
            assert transport.get("resets") - resets <= 4
        assert counters(bench)["device_resets"] - before["device_resets"] <= 2
        bench.works()


def test_unbinding_ends_resets_by_the_user(bench: Bench) -> None:
    """A reset that waits for an answer uses nothing that the unbinding takes away. (M8, a race)"""
    for _ in range(3):
        with bench.guest.misbehaving(), bound_again(bench):
            bench.device.rule("functions", {"on": "tmf"}, drop=True)
            generic = bench.node(kind="scsi_generic")
            jobs = [bench.guest.spawn(f"sg_reset -{option} -N {generic}") for option in "ddt"]
            bench.device.wait_for(lambda: bench.device("waiting")["waiting"], why="no function is sent")
            assert bench.unbind() < SOON
            for job in jobs:
                job.wait(SOON)


def test_events_without_end_do_not_keep_the_driver(bench: Bench) -> None:
    """The device reports something for each event that is handled. (M5)"""
    with bench.guest.misbehaving(), bound_again(bench):
        before = counters(bench)["events"]
        event = {"event": "transport_reset", "reason": "rescan", "target": 0, "lun": 1, "wait": True}
        bench.device("event", times=15_000, interval_ms=1, **event)
        bench.device.wait_for(lambda: counters(bench)["events"] > before + 20, why="no events")
        assert bench.unbind() < SOON


def test_its_files_are_read_and_written_at_any_time(bench: Bench) -> None:
    """While there is I/O, while the device is reset, and while it is unbound and bound. So are its attributes
    and tracepoints; a kernel without tracepoints does not take the latter."""
    folder, tracing = "/sys/kernel/debug/virtio_scsi_rs", "/sys/kernel/tracing/events/virtio_scsi_rs/enable"
    host = "/sys/class/scsi_host/host*"
    reading = f"cat {folder}/*/* {host}/recovery_* >/tmp/said 2>&1"
    # Of the names that the shell finds, some may be gone by then.
    writing = "; ".join(
        f"for f in {names}; do {{ echo 1 >$f; echo {after} >$f; }} 2>/dev/null; done"
        for names, after in ((f"{host}/recovery_patience", "default"), (f"{host}/latency", 0), (tracing, 0))
    )
    with bench.guest.misbehaving(), bound_again(bench):
        bench.guest.run("mkdir -p /sys/kernel/tracing; mount -t tracefs none /sys/kernel/tracing")
        readers = [
            bench.guest.spawn(f"while ! test -e /tmp/enough; do {command}; done")
            for command in (reading, reading, writing)
        ]
        with bench.io((0, 0), (0, 1), threads=8):
            for _ in range(3):
                bench.guest.run(f"sg_reset -H -N {bench.node(kind='scsi_generic')}", SOON)
        bench.guest.spawn(fio.command(bench.node(0, 1), iodepth=16, **RANDOM_READS))
        assert bench.unbind() < SOON
        bench.guest.run("touch /tmp/enough", check=True)
        for reader in readers:
            reader.wait(SOON)
        bench.guest.run("rm /tmp/enough /tmp/said", check=True)


def test_the_driver_kept_to_the_rules(bench: Bench) -> None:
    assert [line for line in bench.device.lines("violation") if line["rule"] != "ring"] == []

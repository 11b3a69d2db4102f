# SPDX-License-Identifier: GPL-2.0
"""The driver's tracepoints, as an operator reads them in tracefs, beside what the device has seen."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from guest import QemuGuest, fio, sysfs
from guest.device import TestDevice
from support.boots import Boots
from support.events import REMOVED, RESCAN, TRANSPORT_RESET, all_handled
from support.known_lines import MISBEHAVING

pytestmark = [
    pytest.mark.device,
    pytest.mark.ours("it is about tracepoints of our driver"),
]


TIMEOUT, STEP = 2, 1
TRACEFS = "/sys/kernel/tracing"
LINE = re.compile(r"^.*: virtio_scsi_(\w+): (device=.*)$", re.M)
EVENTS = {
    *("queue_command", "requeue_command", "time_out_command", "complete_command"),
    *("send_function", "answer_function", "receive_event", "handle_event", "change_state", "violate"),
}
# A read of one block at this address.
BLOCK = 5
READ = f"2800{BLOCK * 8:08x}00000800"


@dataclass
class Line:
    """What a tracepoint has told."""

    point: str
    fields: dict[str, str]

    def has(self, **fields: object) -> bool:
        return all(self.fields.get(name) == str(value) for name, value in fields.items())


@dataclass
class Bench:
    device: TestDevice
    guest: QemuGuest
    name: str

    @contextmanager
    def traced(self, *events: str) -> Iterator[list[Line]]:
        """Fills the list with what these tracepoints have told meanwhile, or all."""
        which = " ".join(f"{TRACEFS}/events/virtio_scsi_rs/virtio_scsi_{event}/enable" for event in events)
        which = which or f"{TRACEFS}/events/virtio_scsi_rs/enable"
        lines: list[Line] = []
        self.guest.run(f"echo >{TRACEFS}/trace; for e in {which}; do echo 1 >$e; done", check=True)
        try:
            yield lines
        finally:
            self.guest.run(f"echo 0 >{TRACEFS}/events/virtio_scsi_rs/enable", check=True)
            for point, text in LINE.findall(self.guest.out(f"cat {TRACEFS}/trace")):
                lines.append(Line(point, dict(pair.split("=", 1) for pair in text.split(" "))))

    def node(self, lun: int) -> str:
        return sysfs.unit_node(self.guest, 0, lun)

    def read(self, lun: int = 1) -> str:
        return f"dd if={self.node(lun)} of=/dev/null bs=4k count=1 skip={BLOCK} iflag=direct"


def of(lines: list[Line], point: str, **fields: object) -> list[Line]:
    return [line for line in lines if line.point == point and line.has(**fields)]


@pytest.fixture(scope="module")
def shared(serve_shared: Callable[..., TestDevice], boot_shared: Boots) -> Bench:
    device = serve_shared({"unit": [{"lun": lun, "size": "8M"} for lun in range(2)]})
    guest = boot_shared(**device.door("test"), parameters=f"recovery_step={STEP}", allow=MISBEHAVING, smp=2)
    sysfs.wait_for_units(guest, 2)
    guest.settle()
    guest.run(f"mountpoint -q {TRACEFS} || mount -t tracefs none {TRACEFS}", check=True)
    return Bench(device, guest, sysfs.virtio_name(guest))


@pytest.fixture
def bench(shared: Bench) -> Iterator[Bench]:
    yield shared
    shared.device("clear_rules")


def test_all_tracepoints_are_there_and_tell_nothing_when_off(bench: Bench) -> None:
    found = bench.guest.out(f"ls -d {TRACEFS}/events/virtio_scsi_rs/*/ | xargs -n1 basename").split()
    assert set(found) == {f"virtio_scsi_{event}" for event in EVENTS}
    with bench.traced("violate") as lines:
        bench.guest.run(bench.read(), check=True)
    assert lines == []


def test_a_read_is_told_of_from_the_queue_to_its_end(bench: Bench) -> None:
    """With the tag, the unit and the CDB that the device has seen."""
    mark = bench.device.mark()
    with bench.traced() as lines:
        bench.guest.run(bench.read(), check=True)
    (request,) = bench.device.since(mark, "request", name="READ_10")
    (queued,) = of(lines, "queue_command", cdb=READ)
    (ended,) = of(lines, "complete_command", cdb=READ)
    assert int(queued.fields["tag"], 16) == request["tag"]
    assert queued.has(device=bench.name, host=bench.guest.host(), target=0, lun=1)
    assert {name: ended.fields[name] for name in queued.fields} == queued.fields
    assert ended.has(used=1, response=0, status=0, residual=0, sense_len=0)
    assert lines.index(queued) < lines.index(ended)
    numbers = sysfs.report(bench.guest, "queues")
    assert int(queued.fields["queue"]) < len(numbers)


def test_what_the_device_said_of_a_command_is_told(bench: Bench) -> None:
    sense = "70000500000000" + "0a" + "00000000" + "2100" + "0000" + "0000"
    action = {"status": "check_condition", "sense": sense, "residual": 4096, "execute": False}
    bench.device.rule("refused", {"lun": 1, "opcode": "READ_10", "times": 1}, **action)
    with bench.traced("complete_command") as lines, bench.guest.allowing("critical target error"):
        bench.guest.run(bench.read())
    refused = of(lines, "complete_command", cdb=READ, status=2)[0]
    assert refused.has(used=1, response=0, residual=4096, sense_len=len(sense) // 2)


def test_commands_that_a_reset_brings_back_are_told_of(bench: Bench) -> None:
    """Those that the device had come back unused, and others go back to the midlayer: those that it sends
    while the device is down, which is a short time, so that it may take some resets to catch one."""
    guest = bench.guest
    # Reads that end well would push all else out of the trace.
    filter_file = f"{TRACEFS}/events/virtio_scsi_rs/virtio_scsi_complete_command/filter"
    guest.run(f"echo 'used == 0' >{filter_file}", check=True)
    bench.device.rule("held", {"lun": 1, "opcode": "READ_10", "times": 1}, hold="held")
    held = guest.spawn(bench.read())
    bench.device.wait_for(lambda: bench.device.held("held"), why="a read")
    load = {"ioengine": "io_uring", "iodepth": 16, "rw": "randread", "bs": "4k"}
    job = fio.start(guest, bench.node(0), time_based=True, runtime=15, **load)
    resets = 0
    with bench.traced("requeue_command", "complete_command", "change_state") as lines:
        while not job.done() and guest.run(f"grep -q requeue_command {TRACEFS}/trace").rc != 0:
            # Not by sg_reset: the midlayer sends the driver nothing while that is under way.
            guest.run(f"echo adapter >/sys/class/scsi_host/host{guest.host()}/host_reset", check=True)
            resets += 1
    guest.run(f"echo 0 >{filter_file}", check=True)
    held.wait(20, check=True)
    job.wait(60, check=True)
    states = [line.fields["state"] for line in of(lines, "change_state", device=bench.name)]
    assert states == ["down_driver", "live"] * resets
    assert of(lines, "complete_command", cdb=READ, lun=1, used=0, response=0, status=0)
    assert of(lines, "requeue_command", target=0, lun=0)


def test_a_time_out_is_told_of_step_by_step(bench: Bench) -> None:
    """The device says that it has a command no more, and takes it back after ABORT TASK."""
    bench.device.rule("dropped", {"lun": 1, "opcode": "READ_10", "times": 1}, drop=True)
    bench.device.rule("lost", {"on": "tmf", "subtype": "query_task"}, response="ok", execute=False)
    bench.guest.run(f"echo {TIMEOUT} >$(echo /sys/bus/scsi/devices/*:0:0:1/timeout)", check=True)
    mark = bench.device.mark()
    with bench.traced() as lines:
        bench.guest.run(bench.read(), check=True)
    first, *_ = of(lines, "queue_command", cdb=READ)
    tag = first.fields["tag"]
    about = {"queue_command", "time_out_command", "send_function", "answer_function", "complete_command"}
    told = [
        (line.point, line.fields.get("function"), line.fields.get("outcome"))
        for line in lines
        if line.point in about and line.has(tag=tag, lun=1)
    ]
    assert told == [
        ("queue_command", None, None),
        ("time_out_command", None, None),
        ("send_function", "query_task", None),
        ("answer_function", "query_task", "not_held"),
        # The midlayer has the driver abort it.
        ("time_out_command", None, None),
        ("send_function", "abort_task", None),
        ("answer_function", "abort_task", "done"),
        # By a reset of the device: it has not used the command. Functions on the way have no tag.
        ("complete_command", None, None),
    ]
    functions = bench.device.since(mark, "tmf")
    assert [line["tag"] for line in functions[:2]] == [int(tag, 16)] * 2
    sent = [(line.fields["function"], int(line.fields["tag"], 16)) for line in of(lines, "send_function")]
    assert sent == [(line["name"].removeprefix("i_t_"), line["tag"]) for line in functions]


def test_events_are_told_of_when_they_come_and_when_they_are_done(bench: Bench) -> None:
    device = bench.device
    device("add_unit", unit={"target": 3, "size": "1M"}, event=False)
    with bench.traced("receive_event", "handle_event") as lines:
        device("event", event=TRANSPORT_RESET, reason=RESCAN, target=3, wait=True)
        all_handled(device)
        device("remove_unit", target=3, event=False)
        device("event", event=TRANSPORT_RESET, reason=REMOVED, target=3, wait=True)
        device("event", event=3, reason=0x012A, target=0, lun=1, wait=True)
        all_handled(device)
        device("event", event=0, missed=True, wait=True)
        all_handled(device)
    for event, unit, detail in (
        ("rescan", (3, 0), "0"),
        ("removed", (3, 0), "0"),
        ("parameter_change", (0, 1), "12a"),
        ("missed", (0, 0), "0"),
    ):
        fields = {"event": event, "target": unit[0], "lun": unit[1], "detail": detail, "device": bench.name}
        told = [of(lines, point, **fields) for point in ("receive_event", "handle_event")]
        assert [len(each) for each in told] == [1, 1], (event, lines)
        (received,), (handled,) = told
        assert lines.index(received) < lines.index(handled)


def test_violations_are_told_of(bench: Bench) -> None:
    """A response that does not exist, an event that does not, and a ring that is broken."""
    bench.device.rule("nonsense", {"lun": 1, "opcode": "READ_10", "times": 1}, response=200, execute=False)
    with bench.traced("violate") as lines:
        bench.guest.run(bench.read())
        bench.device("event", event=77, wait=True)
        all_handled(bench.device)
    assert [line.fields for line in lines] == [
        {"device": bench.name, "what": "response"},
        {"device": bench.name, "what": "event"},
    ]


def test_times_are_recorded_while_the_user_wants_that(bench: Bench) -> None:
    """By direction, in ranges that double; nothing before, and nothing of before when it begins anew."""
    guest, device = bench.guest, bench.device
    attribute = f"/sys/class/scsi_host/host{guest.host()}/latency"

    def recorded(direction: str) -> dict[int, int]:
        lines = sysfs.report(guest, "latency")
        return {int(line["below_us"]): int(line["count"]) for line in lines if line["direction"] == direction}

    assert guest.out(f"cat {attribute}") == "0"
    guest.run(bench.read(), check=True)
    assert sysfs.report(guest, "latency") == []
    guest.run(f"echo 1 >{attribute}", check=True)
    assert guest.out(f"cat {attribute}") == "1"
    device.rule("slow", {"lun": 1, "opcode": "READ_10", "times": 3}, delay_ms=300)
    for _ in range(3):
        guest.run(bench.read(), check=True)
    guest.run(f"dd if={bench.node(1)} of=/dev/null bs=4k count=100 iflag=direct", check=True)
    reads = recorded("read")
    assert sum(reads.values()) == 103
    # From 262 ms on. An emulated guest may be slower, and never quicker.
    assert sum(count for below, count in reads.items() if below >= 1 << 19) >= 3
    assert min(reads) < 1 << 18
    assert recorded("write") == {}
    guest.run(f"dd if=/dev/zero of={bench.node(1)} bs=4k count=7 oflag=direct", check=True)
    assert sum(recorded("write").values()) == 7
    guest.run(f"echo 0 >{attribute}", check=True)
    guest.run(bench.read(), check=True)
    assert recorded("read") == reads
    guest.run(f"echo 1 >{attribute}", check=True)
    assert sysfs.report(guest, "latency") == []
    assert "Invalid argument" in guest.run(f"echo 2 >{attribute}").stderr
    guest.run(f"echo 0 >{attribute}", check=True)


def test_a_controller_goes_while_times_are_recorded(bench: Bench) -> None:
    """And the module after it, which has the probes."""
    guest = bench.guest
    guest.run(f"echo 1 >/sys/class/scsi_host/host{guest.host()}/latency", check=True)
    guest.run(f"echo {bench.name} >{guest.driver.sysfs}/unbind", check=True)
    guest.unload()
    guest.load()
    sysfs.wait_for_units(guest, 2)
    guest.run(bench.read(), check=True)
    assert sysfs.report(guest, "latency") == []

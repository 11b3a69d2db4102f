# SPDX-License-Identifier: GPL-2.0
"""A device that misbehaves: each fault is seen to act, and the driver gets its I/O done all the same."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from guest import QemuGuest, numbered, sysfs
from guest.device import Mark, TestDevice
from support.boots import Boots
from support.known_lines import DISK, OUR_DRIVER
from support.misbehaviour import TMF_ANSWERS

pytestmark = [pytest.mark.device, pytest.mark.x86, pytest.mark.compare]


READ = {"opcode": "READ_10", "lun": 0}
# Longer than the timeout of a command and of every step of recovery together.
PATIENCE = 90
ABORT_TASK, UNIT_RESET, QUERY_TASK = 0, 5, 6
# The functions that change something.
ACTS = {"on": "tmf", "subtype": ["abort_task", "logical_unit_reset", "i_t_nexus_reset"]}


@dataclass
class Shared:
    device: TestDevice
    guest: QemuGuest
    disk: str

    def block(self, number: int) -> str:
        return numbered.compare(f"/dev/{self.disk}", number)

    def read(self, number: int) -> int:
        return self.guest.run(self.block(number), timeout=PATIENCE).rc

    def lose(self, name: str, **action: Any) -> None:
        """Something happens to the next read, and the device denies that it has it: a driver waits for a
        command that the device says it has."""
        self.device.rule("denied", {"on": "tmf", "subtype": "query_task"}, response="ok")
        self.device.rule(name, {**READ, "times": 1}, **action)

    def functions(self, mark: Mark) -> list[dict[str, Any]]:
        """The functions that the driver has asked for, but for queries, which change nothing."""
        return [line for line in self.device.since(mark, "tmf") if line["name"] != "query_task"]


@pytest.fixture(scope="module")
def shared(serve_shared: Callable[..., TestDevice], boot_shared: Boots) -> Shared:
    device = serve_shared({"unit": [{"size": "8M"}, {"lun": 1, "size": "8M"}]})
    guest = boot_shared(**device.door("scsi"), parameters="recovery_step=1", allow=(OUR_DRIVER, DISK))
    sysfs.wait_for_units(guest, 2)
    disk = guest.out("ls /sys/bus/scsi/devices/*:0:0:0/block")
    guest.run(
        "for f in /sys/block/sd*/device; do echo 2 >$f/timeout; echo 2 >$f/eh_timeout; done", check=True
    )
    guest.run(numbered.fill(f"/dev/{disk}", 64), check=True)
    return Shared(device, guest, disk)


FAULTS: dict[str, dict[str, Any]] = {
    "dropped": {"drop": True},
    "held": {"hold": "held"},
    "late": {"delay_ms": 700},
    "later than the timeout": {"delay_ms": 2600},
    "answered twice": {"repeat": 2},
    "stale id": {"id": "stale"},
    "id out of range": {"id": "out_of_range"},
    "id of no request": {"id": "not_head"},
    "used index ahead": {"used_jump": 3},
    "no interrupt": {"interrupt": False},
    "needless interrupt": {"interrupt": True},
    "scribbled after": {"scribble": {"part": "response", "offset": 11, "bytes": "09", "after_ms": 20}},
    "nothing written": {"write": "nothing"},
    "busy": {"response": "busy"},
    "transport failure": {"response": "transport_failure"},
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_read_succeeds_in_the_end(shared: Shared, fault: str) -> None:
    mark = shared.device.mark()
    shared.lose("fault", **FAULTS[fault])
    began = time.monotonic()
    rc = shared.read(7)
    took = time.monotonic() - began
    for name in ("fault", "denied"):
        shared.device("remove_rule", name=name)
    acted = shared.device.since(mark, "wait", "answer", rule="fault")
    assert acted, "the rule did not act"
    assert rc == 0
    assert took < PATIENCE / 2
    # And nothing is left over: the next ones work at once.
    for number in range(8, 12):
        assert shared.read(number) == 0


def test_reads_answered_in_reverse_succeed(shared: Shared) -> None:
    mark = shared.device.mark()
    shared.device.rule("reverse", {**READ, "times": 4}, reorder=4)
    jobs = [shared.guest.spawn(shared.block(number)) for number in range(20, 24)]
    assert [job.wait(PATIENCE).rc for job in jobs] == [0] * 4
    shared.device("remove_rule", name="reverse")
    serials = [line["serial"] for line in shared.device.since(mark, "answer", rule="reverse")]
    assert len(serials) == 4
    assert serials == sorted(serials, reverse=True)


def test_a_response_that_changes_is_read_once(shared: Shared) -> None:
    """Whatever the driver sees, it sees once: a read is right, or is tried again."""
    mark = shared.device.mark()
    flip = {"part": "response", "offset": 11, "xor": 9, "for_ms": 5}
    shared.device.rule("flip", {**READ, "every": 2, "times": 20}, flip=flip)
    for number in range(30, 50):
        assert shared.read(number) == 0
    shared.device("remove_rule", name="flip")
    assert len(shared.device.since(mark, "flip")) >= 10


def test_io_waits_for_a_queue_that_stands_still(shared: Shared) -> None:
    """I/O waits for a queue that stands still for less than the timeout."""
    mark = shared.device.mark()
    for queue in (2, 3):
        shared.device("queue", queue=queue, run=False)
    job = shared.guest.spawn(shared.block(5))
    time.sleep(1)
    assert not job.done()
    assert shared.device.since(mark, "request") == []
    for queue in (2, 3):
        shared.device("queue", queue=queue, run=True)
    assert job.wait(PATIENCE).rc == 0


def test_spurious_interrupts_do_no_harm(shared: Shared) -> None:
    for queue in range(4):
        shared.device("interrupt", queue=queue, times=200)
    assert shared.read(6) == 0


@pytest.mark.parametrize("answer", TMF_ANSWERS)
def test_a_read_succeeds_however_functions_are_answered(shared: Shared, answer: str) -> None:
    """A command hangs; every task management function about it is answered in some way."""
    mark = shared.device.mark()
    shared.lose("held", hold="held")
    shared.device.rule("tmf", {**ACTS, "times": 2}, **TMF_ANSWERS[answer])
    rc = shared.read(9)
    for name in ("tmf", "held", "denied"):
        shared.device("remove_rule", name=name)
    assert rc == 0
    functions = shared.functions(mark)
    assert functions, "no function was asked for"
    held = shared.device.since(mark, "wait", rule="held")[0]["serial"]
    request = shared.device.since(mark, "request", serial=held)[0]
    assert functions[0]["name"] == "abort_task"
    assert (functions[0]["tag"], functions[0]["lun"]) == (request["tag"], request["lun"])
    assert shared.device.since(mark, "wait", "answer", rule="tmf"), "the rule did not act"
    for number in range(3):
        assert shared.read(number) == 0
    # A function that is carried out late would meet the next test's command.
    late = {"state": "delayed"}.items()
    shared.device.wait_for(
        lambda: not [one for one in shared.device("waiting")["waiting"] if late <= one.items()],
        why="functions that were late",
    )


def test_a_function_answered_twice_resets_the_device(shared: Shared) -> None:
    """That breaks the control queue; the driver does not wait until it needs it again, but mends it."""
    mark = shared.device.mark()
    shared.lose("held", hold="held")
    shared.device.rule("tmf", {**ACTS, "times": 1}, repeat=2)
    assert shared.read(14) == 0
    for name in ("tmf", "held", "denied"):
        shared.device("remove_rule", name=name)
    shared.device.wait_for(lambda: shared.device.since(mark, "queue_start", queue=0), why="not mended")
    assert shared.read(15) == 0


def test_ladder_reaches_the_device_reset(shared: Shared) -> None:
    """No function helps, so the driver resets the device and builds its queues anew."""
    mark = shared.device.mark()
    shared.lose("held", hold="held")
    shared.device.rule("tmf", ACTS, response="function_rejected")
    assert shared.read(13) == 0
    for name in ("tmf", "held", "denied"):
        shared.device("remove_rule", name=name)
    names = [line["name"] for line in shared.functions(mark)]
    assert names == ["abort_task", "logical_unit_reset", "i_t_nexus_reset"]
    assert {line["queue"] for line in shared.device.since(mark, "queue_stop")} == {0, 1, 2, 3}
    assert {line["queue"] for line in shared.device.since(mark, "queue_start")} == {0, 1, 2, 3}


def test_logical_unit_reset_alone_is_enough(shared: Shared) -> None:
    """As vhost-scsi has it: all other functions are rejected."""
    mark = shared.device.mark()
    shared.lose("held", hold="held")
    rejected = ["abort_task", "i_t_nexus_reset"]
    shared.device.rule("tmf", {"on": "tmf", "subtype": rejected}, response="function_rejected")
    assert shared.read(16) == 0
    for name in ("tmf", "held", "denied"):
        shared.device("remove_rule", name=name)
    answers = [
        (line["tmf"], line["response"])
        for line in shared.device.since(mark, "answer")
        if line.get("tmf", QUERY_TASK) != QUERY_TASK
    ]
    assert answers == [(ABORT_TASK, 11), (UNIT_RESET, 0)]
    assert not shared.device.since(mark, "queue_stop"), "the device was reset"


def test_an_answer_after_the_abort_completes_the_command(shared: Shared) -> None:
    """The device says that the command is aborted, and completes it all the same, later."""
    mark = shared.device.mark()
    shared.lose("held", hold="held")
    done = {"execute": False, "response": "function_complete"}
    shared.device.rule("tmf", {"on": "tmf", "subtype": "abort_task"}, **done)
    # The next rung is climbed at once, and would end the command.
    shared.device.rule("later", {"on": "tmf", "subtype": "logical_unit_reset"}, delay_ms=800)
    job = shared.guest.spawn(shared.block(17))
    shared.device.wait_for(
        lambda: shared.device.since(mark, "answer", tmf=ABORT_TASK), why="no answer to an abort"
    )
    assert shared.device("release", name="held")["released"] == 1
    assert job.wait(PATIENCE).rc == 0
    for name in ("later", "tmf", "held", "denied"):
        shared.device("remove_rule", name=name)
    held = shared.device.since(mark, "wait", rule="held")[0]["serial"]
    assert shared.device.since(mark, "answer", serial=held)[0]["response"] == 0
    for number in range(18, 22):
        assert shared.read(number) == 0


def test_an_answer_after_the_device_was_reset_resets_it_again(shared: Shared) -> None:
    """A completion by the id that a command had before the reset is one of no command, or of another."""
    mark = shared.device.mark()
    shared.lose("held", drop=True)
    shared.device.rule("tmf", ACTS, response="function_rejected")
    assert shared.read(23) == 0
    for name in ("tmf", "held", "denied"):
        shared.device("remove_rule", name=name)
    held = shared.device.since(mark, "wait", rule="held")[0]["serial"]
    request = shared.device.since(mark, "request", serial=held)[0]
    assert shared.device.since(mark, "queue_start", queue=request["queue"]), "the device was not reset"
    mark = shared.device.mark()
    shared.device("used", queue=request["queue"], id=request["id"], len=108)
    # Nobody waits for that id now, so the queue is broken, and mended.
    shared.device.wait_for(
        lambda: shared.device.since(mark, "queue_start", queue=request["queue"]), why="not mended"
    )
    for number in range(24, 30):
        assert shared.read(number) == 0


def test_the_driver_kept_to_the_rules(shared: Shared) -> None:
    assert shared.device.lines("violation") == []

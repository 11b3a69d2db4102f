# SPDX-License-Identifier: GPL-2.0
"""A command that takes too long: the driver asks the device whether it has the command, and the next step
depends on the answer and on the parameters. In kernels with sanitizers."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

import pytest

from guest import sysfs
from guest.device import Mark
from guest.guest import Handle
from support import uml_bench
from support.misbehaviour import FAILURES, HAS_IT_NOT, QUERY, READ, RUNGS
from support.uml_bench import CI, Bench, only_in

pytestmark = [pytest.mark.device, pytest.mark.uml]


variant, bench_shared, bench = uml_bench.FIXTURES


@pytest.fixture(autouse=True)
def _each_in_one_kernel(variant: str, request: pytest.FixtureRequest) -> None:
    """Each takes seconds, so that UML=ci does it in one of the kernels, and half of those with many cases."""
    number = crc32(request.node.name.replace(variant, "").encode())
    only_in(variant, number)
    if CI and request.node.name.startswith("test_each_rung") and number // 2 % 2:
        pytest.skip("is not of the part that UML=ci runs")


SCENARIO = {
    "device": {"request_queues": 2, "config": {"max_target": 3, "cmd_per_lun": 250}},
    "unit": [{"lun": lun, "size": "16M"} for lun in range(3)] + [{"target": 1, "size": "16M"}],
}
ASK = "query_task"
HAS_IT = {"response": "function_succeeded"}
REFUSES = {"response": "function_rejected"}
QUERIES = ("queries_held", "queries_lost", "queries_refused", "queries_unanswered")
# How much later than at the end of a wait the next step may come, in seconds: the block layer's timer takes
# up to two, and the device gets one to answer after it was notified again.
SLACK = 5


@dataclass(frozen=True)
class Answer:
    """What the device does with a command and says of it, and what the driver makes of that."""

    counted: str
    # The truth, if there is no rule.
    query: dict[str, Any] = field(default_factory=dict)
    lost: bool = False
    # Whether the command is sent again, or ends with an error.
    again: bool = True


ANSWERS = {
    "has it": Answer("queries_held", again=False),
    "has it, late": Answer("queries_held", {"delay_ms": 500}, again=False),
    "has it not": Answer("queries_lost", lost=True),
    "has it not, late": Answer("queries_lost", {"delay_ms": 500}, lost=True),
    "never": Answer("queries_unanswered", {"drop": True}),
    "too late": Answer("queries_unanswered", {"delay_ms": 1700}),
    "refused": Answer("queries_refused", REFUSES),
    "unknown": Answer("queries_refused", {"response": 200}),
    "nothing written": Answer("queries_refused", {"write": "nothing"}),
    "lies: has it": Answer("queries_held", HAS_IT, lost=True, again=False),
    "lies: has it not": Answer("queries_lost", HAS_IT_NOT),
}
# No function brings a command back that the device has lost.
CASES = [
    (name, failing)
    for name, answer in ANSWERS.items()
    for failing in ([len(RUNGS)] if answer.lost else range(len(RUNGS) + 1))
]


def start(bench: Bench, lost: bool = False, lun: int = 0, blocks: int = 1) -> list[Handle]:
    """Starts to read some blocks, whose commands the device keeps or loses."""
    mark = bench.device.mark()
    name = f"command {lun}"
    rule = {"opcode": "READ_10", "target": 0, "lun": lun, "times": blocks}
    bench.device.rule(name, rule, **({"drop": True} if lost else {"hold": name}))
    read = f"dd if={bench.node(0, lun)} of=/dev/null bs=4k count=1 iflag=direct"
    # Of reads that are adjacent the block layer may make one command.
    jobs = [bench.guest.spawn(f"{read} skip={2 * block}") for block in range(blocks)]
    bench.device.wait_for(
        lambda: len(bench.device.since(mark, "wait", rule=name)) == blocks, why="no commands"
    )
    return jobs


def lun_of(unit: int) -> str:
    """How the log shows the LUN field of a unit of target 0."""
    return f"01004{unit:03x}" + "0" * 8


def asked(bench: Bench, mark: Mark, unit: int | None = None) -> list[dict[str, Any]]:
    """The queries since `mark`, about a unit of target 0 or about any."""
    lines = bench.device.since(mark, "tmf", name=ASK)
    return [line for line in lines if unit is None or line["lun"] == lun_of(unit)]


def order(bench: Bench, mark: Mark) -> list[str]:
    """The functions that the driver has asked for, queries that follow one another being one."""
    names = bench.functions(mark)
    return [name for before, name in zip([None, *names], names, strict=False) if (before, name) != (ASK, ASK)]


def nothing_is_late(bench: Bench) -> None:
    """Waits for answers that come later than anybody waits for them."""
    late = {"state": "delayed"}.items()
    bench.device.wait_for(
        lambda: not [line for line in bench.device("waiting")["waiting"] if late <= line.items()],
        why="answers that are late",
    )


def said(bench: Bench, since: int) -> list[str]:
    """What the driver has logged of the device."""
    lines = bench.guest.dmesg()[since:].splitlines()
    return [line for line in lines if f"virtio_scsi_rs {bench.name}: " in line]


@contextmanager
def counting(bench: Bench) -> Iterator[dict[str, int]]:
    """Has, at the end of the block, by how much each counter has grown."""
    before = sysfs.counters(bench.guest)
    grown: dict[str, int] = {}
    yield grown
    now = sysfs.counters(bench.guest)
    grown.update({name: now[name] - before[name] for name in now})


def only_counted(grown: dict[str, int], name: str) -> None:
    assert grown[name] > 0
    assert {other: grown[other] for other in QUERIES if grown[other]} == {name: grown["queries"]}


@pytest.mark.parametrize(("name", "failing"), CASES)
def test_each_rung(bench: Bench, name: str, failing: int) -> None:
    """Some functions fail, and the one after them helps; in the end, the reset of the device does."""
    answer = ANSWERS[name]
    with bench.guest.misbehaving():
        mark = bench.device.mark()
        if answer.query:
            bench.device.rule("query", QUERY, **answer.query)
        if failing:
            bench.device.rule("rungs", {"on": "tmf", "subtype": RUNGS[:failing]}, **FAILURES["refused"])
        with counting(bench) as grown:
            (job,) = start(bench, answer.lost)
            assert (job.wait(40).rc == 0) == answer.again
            nothing_is_late(bench)
        # A device that does not answer a query is asked for no more about one command.
        silent = answer.counted == "queries_unanswered"
        climbed = RUNGS[1 : max(failing, 1) + 1] if silent else RUNGS[: failing + 1]
        assert order(bench, mark) == [ASK, *climbed]
        assert bench.was_reset(mark) == (failing == len(RUNGS))
        only_counted(grown, answer.counted)
        # The device was notified again, but had missed nothing.
        assert grown["lost_notifications"] == 0
        bench.behave()
        bench.works()


def test_what_the_device_is_asked_for(bench: Bench) -> None:
    """The command that takes too long, and the unit that it is for."""
    with bench.guest.misbehaving():
        mark = bench.device.mark()
        (job,) = start(bench, lun=2)
        job.wait(40)
        (request,) = bench.device.since(mark, "request", serial=bench.device.since(mark, "wait")[0]["serial"])
        assert {(line["lun"], line["tag"]) for line in asked(bench, mark)} == {
            (request["lun"], request["tag"])
        }
        assert request["lun"] == lun_of(2)
        bench.behave()
        bench.works()


@pytest.mark.parametrize(
    ("name", "at_least"), [("has it", 5), ("refused", 8), ("never", 1), ("lies: has it not", 0)]
)
def test_how_long_the_driver_waits(bench: Bench, name: str, at_least: int) -> None:
    """From when the command was sent, if the device is alive; else from when it was asked."""
    answer = ANSWERS[name]
    with bench.guest.misbehaving(), bench.parameters(recovery_patience=5, recovery_refused=8):
        if name == "refused":
            # This bounds the wait as well.
            bench.set_parameters(recovery_patience=0)
        mark = bench.device.mark()
        if answer.query:
            bench.device.rule("query", QUERY, **answer.query)
        (job,) = start(bench)
        job.wait(60)
        alive = answer.counted in ("queries_held", "queries_refused")
        (began,) = bench.device.since(mark, "wait", rule="command 0") if alive else asked(bench, mark)[-1:]
        # What does not answer a query is not sent an ABORT TASK for the same command.
        first = bench.device.since(mark, "tmf", name=RUNGS[answer.counted == "queries_unanswered"])[0]
        assert at_least <= first["t"] - began["t"] < at_least + SLACK
        bench.behave()
        bench.works()


def test_a_command_that_the_device_has_is_waited_for(bench: Bench) -> None:
    """For as long as it takes: nothing is done about it, another unit's I/O goes on, it is told of once, and
    it is done when the device has answered."""
    with bench.guest.misbehaving(), bench.parameters(recovery_patience=0):
        with bench.io((0, 1), threads=2) as done, counting(bench) as grown:
            mark, since = bench.device.mark(), len(bench.guest.dmesg())
            (job,) = start(bench)
            bench.device.wait_for(lambda: len(asked(bench, mark)) >= 4, 30, "not asked again and again")
            later = bench.device.mark()
            time.sleep(1)
            assert (
                len([line for line in bench.device.since(later, "request") if line["lun"] == lun_of(1)]) > 10
            )
            assert not job.done()
            assert order(bench, mark) == [ASK]
            (line,) = said(bench, since)
            assert "target 0 lun 0: " in line
            assert bench.device("release", name="command 0")["released"] == 1
            job.wait(5, check=True)
        assert (done.errors, done.unread) == (0, 0)
        only_counted(grown, "queries_held")
        assert order(bench, mark) == [ASK]
        assert not bench.was_reset(mark)
        bench.works()


def test_many_commands_that_the_device_has_are_waited_for(bench: Bench) -> None:
    """It is asked for each of them."""
    count = 40
    with bench.guest.misbehaving(), bench.parameters(recovery_patience=0):
        mark, since = bench.device.mark(), len(bench.guest.dmesg())
        jobs = start(bench, blocks=count)
        serials = {line["serial"] for line in bench.device.since(mark, "wait")}
        tags = {line["tag"] for line in bench.device.since(mark, "request") if line["serial"] in serials}
        assert len(tags) == count
        bench.device.wait_for(
            lambda: {line["tag"] for line in asked(bench, mark)} == tags, 30, "not all asked"
        )
        bench.guest.wait_until(
            f"test $(awk '$1 == \"waiting\" {{ print $2 }}' {counters(bench)}) -eq {count}"
        )
        assert len(said(bench, since)) == 1
        bench.behave()
        for job in jobs:
            job.wait(5, check=True)
        assert order(bench, mark) == [ASK]
        bench.works()


def counters(bench: Bench) -> str:
    return f"/sys/kernel/debug/virtio_scsi_rs/{bench.name}/counters"


@pytest.mark.parametrize("name", ["has it", "refused"])
def test_the_user_ends_a_wait(bench: Bench, name: str) -> None:
    """By writing to the parameter, however long the command was to be waited for."""
    answer = ANSWERS[name]
    parameter = "recovery_patience" if name == "has it" else "recovery_refused"
    with bench.guest.misbehaving(), bench.parameters(recovery_patience=0, recovery_refused=3600):
        mark = bench.device.mark()
        if answer.query:
            bench.device.rule("query", QUERY, **answer.query)
        (job,) = start(bench)
        bench.device.wait_for(lambda: len(asked(bench, mark)) >= 2, 20, "not asked again")
        assert order(bench, mark) == [ASK]
        bench.set_parameters(**{parameter: 1})
        assert (job.wait(SLACK).rc == 0) == answer.again
        assert order(bench, mark) == [ASK, RUNGS[0]]
        bench.behave()
        bench.works()


@pytest.mark.parametrize(("patience", "failfast"), [(0, 1), (1, 0), (0, 0)])
def test_who_has_another_way_waits_as_long_as_that_says(bench: Bench, patience: int, failfast: int) -> None:
    """A command that is marked fail-fast has a bound of its own; 0 is that of the others."""
    with (
        bench.guest.misbehaving(),
        bench.parameters(recovery_patience=patience, recovery_failfast=failfast),
    ):
        mark = bench.device.mark()
        (usual,) = start(bench, lun=1)
        bench.device.rule("failfast", {**READ, "times": 1}, hold="failfast")
        module = bench.guest.fault_module("failfast")
        job = bench.guest.spawn(f"insmod {module} node={bench.node()} && rmmod failfast")
        bench.device.wait_for(lambda: len(asked(bench, mark, 0)) >= 1, 20, "not asked")
        if patience or failfast:
            assert job.wait(20).rc != 0
        else:
            bench.device.wait_for(lambda: len(asked(bench, mark, 0)) >= 4, 20, "not asked again")
            assert not job.done()
        if patience:
            assert usual.wait(20).rc != 0
        else:
            assert not usual.done()
            assert [line for line in bench.device.since(mark, "tmf") if line["lun"] == lun_of(1)] == asked(
                bench, mark, 1
            )
            bench.behave()
            usual.wait(5, check=True)
            assert (job.wait(5).rc == 0) == (not failfast)
        bench.behave()
        bench.works()


def test_what_is_read_ahead_is_waited_for(bench: Bench) -> None:
    """The block layer marks it fail-fast, though there is no other way to it."""
    with bench.guest.misbehaving(), bench.parameters(recovery_patience=0, recovery_failfast=1):
        mark = bench.device.mark()
        bench.device.rule("ahead", {**READ, "times": 1}, hold="ahead")
        bench.guest.run(f"blockdev --flushbufs {bench.node()}", check=True)
        job = bench.guest.spawn(f"dd if={bench.node()} of=/dev/null bs=64k count=1 skip=20")
        bench.device.wait_for(lambda: len(asked(bench, mark)) >= 4, 20, "not asked again")
        assert order(bench, mark) == [ASK]
        bench.behave()
        job.wait(5, check=True)
        bench.works()


def test_the_answer_comes_while_the_device_is_asked(bench: Bench) -> None:
    """What the device says then is of no interest any more, even if it says it late or not at all."""
    with bench.guest.misbehaving():
        for late in (False, True):
            mark = bench.device.mark()
            bench.device.rule("query", QUERY, hold="query")
            (job,) = start(bench)
            bench.device.wait_for(lambda mark=mark: asked(bench, mark), 20, "not asked")
            bench.device("release", name="command 0")
            if not late:
                bench.device("release", name="query")
            job.wait(5, check=True)
            time.sleep(1.5)
            assert order(bench, mark) == [ASK]
            bench.behave()
        bench.works()


def test_the_user_resets_a_unit_that_is_waited_for(bench: Bench) -> None:
    with bench.guest.misbehaving(), bench.parameters(recovery_patience=0):
        mark = bench.device.mark()
        (job,) = start(bench)
        bench.device.wait_for(lambda: asked(bench, mark), 20, "not asked")
        bench.guest.run(f"sg_reset -d -N {bench.node(kind='scsi_generic')}", check=True)
        job.wait(5, check=True)
        assert set(bench.functions(mark)) == {ASK, "logical_unit_reset"}
        assert not bench.was_reset(mark)
        bench.behave()
        bench.works()


def keep(bench: Bench, waited_for: bool) -> None:
    """Has the device keep commands of unit 0:1, and carry out nothing that would end them. They have taken
    too long already, or will have in a moment."""
    bench.device.rule("functions", {"on": "tmf", "subtype": RUNGS}, drop=True)
    mark = bench.device.mark()
    start(bench, lun=1, blocks=4)
    if waited_for:
        bench.device.wait_for(lambda: len(asked(bench, mark)) >= 4, 20, "not asked")


@pytest.mark.parametrize("waited_for", [False, True], ids=["not yet asked", "waited for"])
def test_a_unit_that_is_removed_is_not_asked(bench: Bench, waited_for: bool) -> None:
    """Nor is it waited for any longer."""
    # Its commands are with the device until that is reset, a step and a second after the removal. They take
    # too long within two seconds, to whole ones of which the block layer rounds up.
    step = bench.loaded_with(recovery_step=3)
    with bench.guest.misbehaving(), step, bench.parameters(recovery_patience=0):
        with bench.io((1, 0), threads=2) as done, counting(bench) as grown:
            keep(bench, waited_for)
            bench.device("remove_unit", lun=1)
            # Somebody may just be asking.
            time.sleep(0.3)
            mark = bench.device.mark()
            bench.guest.wait_until("! ls -d /sys/bus/scsi/devices/*:0:0:1", 15)
            assert asked(bench, mark) == []
        assert (done.errors, done.unread) == (0, 0)
        assert grown["timeouts"] > 0
        bench.nobody_is_stuck()
        bench.device("add_unit", unit={"lun": 1, "size": "16M"})
        bench.guest.settle()
        bench.hurry()
        bench.works()


@pytest.mark.parametrize("waited_for", [False, True], ids=["not yet asked", "waited for"])
def test_a_host_that_is_unbound_is_not_asked(bench: Bench, waited_for: bool) -> None:
    with bench.guest.misbehaving(), bench.parameters(recovery_patience=0):
        keep(bench, waited_for)
        unbinding = bench.guest.spawn(f"echo {bench.name} >{uml_bench.DRIVER}/unbind")
        time.sleep(0.3)
        mark = bench.device.mark()
        assert unbinding.wait(10, check=True).seconds < 6
        assert asked(bench, mark) == []
        bench.nobody_is_stuck()
        bench.behave()
        bench.bind()
        bench.works()


def test_the_driver_kept_to_the_rules(bench: Bench) -> None:
    assert bench.device.lines("violation") == []

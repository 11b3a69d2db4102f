# SPDX-License-Identifier: GPL-2.0
"""Recovery in kernels with sanitizers: each rung of the ladder, made to work and to fail, with answers that
come late, twice or never; removal under held commands; resets that the user asks for."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from guest import fio, sysfs
from guest.device import Mark
from support import uml_bench
from support.misbehaviour import FAILURES, HAS_IT_NOT, QUERY, READ, RUNGS, TMF_ANSWERS
from support.uml_bench import Bench, only_in

pytestmark = [pytest.mark.main, pytest.mark.uml]


variant, bench_shared, bench = uml_bench.FIXTURES

SCENARIO = {
    "device": {"request_queues": 2, "config": {"max_target": 3, "cmd_per_lun": 250}},
    "unit": [{"lun": lun, "size": "16M"} for lun in range(3)] + [{"target": 1, "size": "16M"}],
}


@contextmanager
def held_read(bench: Bench, **action: Any) -> Iterator[Mark]:
    """A read that the device does something with, and that succeeds all the same; yields the log's mark. So
    that the driver does not wait for it, the device denies that it has it."""
    mark = bench.device.mark()
    bench.device.rule("query", QUERY, **HAS_IT_NOT)
    bench.device.rule("command", {**READ, "times": 1}, **(action or {"hold": "command"}))
    job = bench.guest.spawn(f"dd if={bench.node()} of=/dev/null bs=4k count=1 iflag=direct")
    yield mark
    assert job.wait(30).rc == 0
    assert bench.device.since(mark, "wait", "answer", rule="command"), "the rule did not act"
    bench.behave()


def rungs(bench: Bench, mark: Mark) -> list[str]:
    """The functions that the driver has asked for, but for queries, which change nothing."""
    return [name for name in bench.functions(mark) if name in RUNGS]


@pytest.mark.parametrize("failing", range(4))
@pytest.mark.parametrize("how", FAILURES)
def test_each_rung_helps_when_those_before_fail(bench: Bench, variant: str, how: str, failing: int) -> None:
    """Some functions fail, and the one after them helps; in the end, the reset of the device does."""
    only_in(variant, failing + list(FAILURES).index(how))
    with bench.guest.misbehaving():
        with held_read(bench) as mark:
            for name in RUNGS[:failing]:
                bench.device.rule(name, {"on": "tmf", "subtype": name}, **FAILURES[how])
        assert rungs(bench, mark) == RUNGS[: failing + 1]
        assert bench.was_reset(mark) == (failing == len(RUNGS))
        bench.works()


@pytest.mark.parametrize("answer", TMF_ANSWERS)
def test_a_read_succeeds_however_functions_are_answered(bench: Bench, variant: str, answer: str) -> None:
    only_in(variant, list(TMF_ANSWERS).index(answer))
    with bench.guest.misbehaving():
        with held_read(bench) as mark:
            bench.device.rule("function", {"on": "tmf", "subtype": RUNGS, "times": 2}, **TMF_ANSWERS[answer])
        assert rungs(bench, mark)[0] == RUNGS[0]
        assert bench.device.since(mark, "wait", "answer", rule="function"), "the rule did not act"
        # An answer that is late is for nobody; it must be over before the next test.
        late = {"state": "delayed"}.items()
        bench.device.wait_for(
            lambda: not [one for one in bench.device("waiting")["waiting"] if late <= one.items()],
            why="answers that are late",
        )
        bench.works()


def test_a_function_answered_twice_resets_the_device(bench: Bench) -> None:
    with bench.guest.misbehaving():
        with held_read(bench) as mark:
            bench.device.rule("function", {"on": "tmf", "subtype": RUNGS, "times": 1}, repeat=2)
        bench.device.wait_for(lambda: bench.was_reset(mark), why="the control queue was not mended")
        bench.works()


def test_an_answer_after_the_abort_completes_the_command(bench: Bench) -> None:
    """The device says that it has aborted the command, and answers it a moment later."""
    with bench.guest.misbehaving():
        with held_read(bench) as mark:
            abort = {"on": "tmf", "subtype": "abort_task"}
            bench.device.rule("abort", abort, execute=False, response="ok")
            bench.device.rule("reset", {"on": "tmf", "subtype": "logical_unit_reset"}, delay_ms=700)
            bench.device.wait_for(lambda: "logical_unit_reset" in rungs(bench, mark), why="no reset")
            assert bench.device("release", name="command")["released"] == 1
        bench.works()


def test_an_answer_after_a_device_reset_resets_it_again(bench: Bench) -> None:
    """It completes a request of the time before it was reset: that breaks the queue, which is mended."""
    with bench.guest.misbehaving():
        with held_read(bench) as mark:
            bench.device.rule("functions", {"on": "tmf"}, response="function_rejected")
        assert bench.was_reset(mark)
        serial = bench.device.since(mark, "wait", rule="command")[0]["serial"]
        request = next(line for line in bench.device.since(mark, "request") if line["serial"] == serial)
        mark = bench.device.mark()
        bench.device("used", queue=request["queue"], id=request["id"], len=0)
        bench.device("interrupt", queue=request["queue"])
        bench.device.wait_for(lambda: bench.was_reset(mark), why="the request queue was not mended")
        bench.works()


def test_a_lost_interrupt_costs_a_time_out_only(bench: Bench) -> None:
    """It costs a time-out, and nothing else. It is counted."""
    before = sysfs.counters(bench.guest)
    with bench.guest.misbehaving():
        with held_read(bench, interrupt=False) as mark:
            pass
        assert bench.functions(mark) == []
        now = sysfs.counters(bench.guest)
        assert {name: now[name] - before[name] for name in now if now[name] != before[name]} == {
            "timeouts": 1,
            "lost_interrupts": 1,
        }
        bench.works()


def test_resets_by_the_user_bring_commands_back(bench: Bench) -> None:
    """While data is written, with commands held that only the reset brings back."""
    with bench.guest.misbehaving():
        mark = bench.device.mark()
        with bench.io((0, 0), (0, 1), (1, 0), threads=4):
            for option, name in (("d", "logical_unit_reset"), ("t", "i_t_nexus_reset"), ("H", None)):
                at = bench.device.mark()
                bench.device.rule("held", {"opcode": "WRITE_10", "times": 3}, hold="held")
                bench.device.wait_for(
                    lambda at=at: bench.device.since(at, "wait", rule="held"), why="nothing held"
                )
                bench.guest.run(f"sg_reset -{option} -N {bench.node(kind='scsi_generic')}", check=True)
                bench.behave()
                assert name is None or name in rungs(bench, at)
        assert bench.was_reset(mark)
        bench.works()


def hold_hundreds(bench: Bench, lun: int, working: bool) -> None:
    """Has the device keep all commands of a unit, which do not time out soon."""
    node = bench.node(0, lun)
    bench.guest.run(f"echo 60 >/sys/block/{node.removeprefix('/dev/')}/device/timeout", check=True)
    if working:
        bench.device.rule("held", {"target": 0, "lun": lun}, hold="held")
    else:
        bench.device.rule("held", {"target": 0, "lun": lun}, drop=True)
        bench.device.rule("functions", {"on": "tmf"}, drop=True)
    options = {"rw": "randread", "bs": "4k", "ioengine": "libaio", "direct": 1, "iodepth": 240}
    bench.guest.spawn(fio.command(node, time_based=True, runtime=600, **options))
    bench.device.wait_for(lambda: len(bench.device("waiting")["waiting"]) >= 200, 40, "hundreds in flight")


@pytest.mark.parametrize("working", [True, False], ids=["functions work", "nothing works"])
def test_a_unit_is_removed_under_held_commands(bench: Bench, variant: str, working: bool) -> None:
    """Another unit's I/O goes on, and events about others are handled soon."""
    only_in(variant, int(working))
    with bench.guest.misbehaving():
        with bench.io((1, 0), threads=2) as done:
            hold_hundreds(bench, 1, working)
            began = time.monotonic()
            bench.device("remove_unit", lun=1)
            bench.device("add_unit", unit={"lun": 7, "size": "1M"})
            bench.device("remove_unit", lun=2)
            bench.guest.wait_until("! ls -d /sys/bus/scsi/devices/*:0:0:[12] 2>/dev/null", 15)
            bench.guest.wait_until("ls -d /sys/bus/scsi/devices/*:0:0:7", 5)
            assert time.monotonic() - began < 15
        assert (done.errors, done.unread) == (0, 0)
        bench.nobody_is_stuck()
        for lun in (1, 2):
            bench.device("add_unit", unit={"lun": lun, "size": "16M"})
        bench.device("remove_unit", lun=7)
        bench.guest.settle()
        bench.hurry()
        bench.works()


@pytest.mark.parametrize("working", [True, False], ids=["functions work", "nothing works"])
def test_unbinding_ends_held_commands(bench: Bench, variant: str, working: bool) -> None:
    only_in(variant, int(not working))
    with bench.guest.misbehaving():
        hold_hundreds(bench, 1, working)
        assert bench.unbind() < 6
        bench.nobody_is_stuck()
        bench.device("clear_rules")
        bench.bind()
        bench.works()


def test_unbinding_ends_a_look_at_units(bench: Bench) -> None:
    """The device answers nothing, and the driver is just finding out what has changed."""
    with bench.guest.misbehaving():
        mark = bench.device.mark()
        bench.device.rule("silent", {}, drop=True)
        bench.device.rule("functions", {"on": "tmf"}, drop=True)
        bench.device("event", event=0, missed=True, wait=True)
        bench.device.wait_for(
            lambda: bench.device.since(mark, "wait", rule="silent"), why="nothing was asked"
        )
        assert bench.unbind() < 6
        bench.device("clear_rules")
        bench.bind()
        bench.works()


def test_the_driver_kept_to_the_rules(bench: Bench) -> None:
    assert [line for line in bench.device.lines("violation") if line["rule"] != "ring"] == []

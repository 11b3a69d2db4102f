# SPDX-License-Identifier: GPL-2.0
"""Random schedules of faults, in kernels with sanitizers: whatever the device does, no acknowledged write is
lost, no task is stuck, and all goes on when the device behaves again.

UML_SCHEDULES=n in the environment is how many there are, UML_SEED=n the first one's seed. Each third of them
lasts longer, so that the driver has time to ask for commands. For each four there is one in which the
transport fails as well.
"""

import os
import random
import time
from typing import Any

import pytest

from guest.faults import TransportFaults
from guest.uml import VARIANTS
from support import uml_bench
from support.misbehaviour import ACTIONS, QUERY
from support.uml_bench import CI, IO, Bench

pytestmark = [pytest.mark.device, pytest.mark.uml]


variant, bench_shared, bench = uml_bench.FIXTURES

COUNT = int(os.environ.get("UML_SCHEDULES") or (10 if CI else 200))
FIRST = int(os.environ.get("UML_SEED") or 0)
SECONDS, LONGER = 1.2, 5
# What a rule can do to functions.
FUNCTIONS: dict[str, dict[str, Any]] = {
    "functions dropped": {"drop": True},
    "functions late": {"delay_ms": 600},
    "functions too late": {"delay_ms": 1400},
    "functions refused": {"response": "function_rejected"},
    "functions not carried out": {"execute": False, "response": "ok"},
    "functions answered twice": {"repeat": 2},
    "functions with nothing written": {"write": "nothing"},
    "functions with a response that does not exist": {"response": 200},
}


# What a rule can do to QUERY TASK. Without one the device tells the truth; some of this may happen to be it.
QUERIES: dict[str, dict[str, Any]] = {
    "has it": {"response": "function_succeeded"},
    "has it not": {"response": "ok"},
    "is not asked": {"drop": True},
    "answers queries late": {"delay_ms": 600},
    "answers queries too late": {"delay_ms": 1400},
    "refuses queries": {"response": "function_rejected"},
    "answers queries twice": {"repeat": 2},
    "answers queries with nothing": {"write": "nothing"},
    "knows no such unit": {"response": "incorrect_lun"},
}


def add_rule(bench: Bench, chance: random.Random, number: int, kind: str = "") -> str:
    """A rule about commands, functions or queries; returns its name."""
    kind = kind or chance.choices(("function", "query", "command"), (2, 2, 6))[0]
    if kind == "function":
        what = chance.choice(list(FUNCTIONS))
        match = {"on": "tmf", "probability": chance.choice((0.3, 1.0)), "seed": number}
        action = FUNCTIONS[what]
    elif kind == "query":
        what = chance.choice(list(QUERIES))
        match = {**QUERY, "probability": chance.choice((0.5, 1.0)), "seed": number}
        action = QUERIES[what]
    else:
        what = chance.choice(list(ACTIONS))
        often = chance.choice((0.002, 0.01, 0.05))
        match = {**IO, "probability": often, "seed": number, "times": chance.choice((1, 3, 8))}
        action = ACTIONS[what]
    bench.device.rule(f"{number} {what}", match, **action)
    return what


def begin(bench: Bench, chance: random.Random) -> list[str]:
    """What a long schedule begins with: commands for which the driver has to ask, and an answer to that."""
    bench.device.rule("kept", {**IO, "times": 1, "nth": 20}, hold="kept")
    bench.device.rule("lost", {**IO, "times": 1, "nth": chance.choice((30, 300, 3000))}, drop=True)
    return [add_rule(bench, chance, 0, "query")] if chance.random() < 0.8 else []


def stall(bench: Bench, chance: random.Random, number: int) -> None:
    """The device is slow: it keeps some commands, and answers them after a while."""
    name = f"{number} stall"
    bench.device.rule(name, {**IO, "times": chance.choice((1, 4, 16))}, hold=name)
    time.sleep(chance.choice((0.3, 1.5, 3)))
    bench.device("remove_rule", name=name)
    bench.device("release", name=name)


def act(bench: Bench, chance: random.Random, number: int) -> str:
    """Something besides rules: events, resets, queues that stand still; returns what."""
    device, guest = bench.device, bench.guest
    queue = chance.choice((0, 1, 2))
    acts = {
        "rescan": lambda: device("event", event="transport_reset", reason="rescan", target=0, times=20),
        "hard reset": lambda: device("event", event="transport_reset", reason=0, target=0),
        "missed events": lambda: device("event", event=0, missed=True),
        "unit comes and goes": lambda: (
            device("add_unit", unit={"target": 6, "lun": 2, "size": "1M"}),
            device("remove_unit", target=6, lun=2),
        ),
        "capacity": lambda: device("event", event="param_change", reason=0x092A, target=0, times=5),
        "unit attention": lambda: device("attention", target=0, lun=0, asc=0x29, ascq=0),
        "needless interrupts": lambda: device("interrupt", queue=queue, times=50),
        "configuration": lambda: device("notify_config", times=5),
        "queue stands still": lambda: (device("queue", queue=queue, run=False), time.sleep(0.3)),
        "queue stalls": lambda: (device("queue", queue=queue, run=False), time.sleep(chance.uniform(1.2, 3))),
        "commands stall": lambda: stall(bench, chance, number),
        "reset of the unit": lambda: guest.spawn(f"sg_reset -d -N {bench.node(kind='scsi_generic')}"),
        "reset of the device": lambda: guest.spawn(f"sg_reset -H -N {bench.node(kind='scsi_generic')}"),
    }
    what = chance.choice(list(acts))
    acts[what]()
    for each in (0, 1, 2):
        device("queue", queue=each, run=True)
    return what


@pytest.mark.parametrize(
    "fault",
    [
        {"match": {"opcode": "READ_10"}, "corrupt": {"part": "data_in", "offset": 100, "xor": 1}},
        {"match": {"opcode": "WRITE_10"}, "corrupt": {"part": "data_out", "offset": 4000, "xor": 128}},
        {"match": {"opcode": "WRITE_10"}, "execute": False, "response": "ok"},
    ],
    ids=["wrong read", "wrong write", "lost write"],
)
def test_wrong_data_is_noticed(bench: Bench, fault: dict[str, Any]) -> None:
    """What the schedules prove is worth something only if this is so."""
    action = dict(fault)
    match = action.pop("match")
    mark = bench.device.mark()
    with pytest.raises(AssertionError, match="data is not what was written"), bench.io():
        bench.device.rule("wrong", {**match, "times": 20}, **action)
        bench.device.wait_for(
            lambda: len(bench.device.since(mark, "answer", rule="wrong")) == 20, why="not acted"
        )


def fail(bench: Bench, chance: random.Random, faults: TransportFaults) -> str:
    """Has the device reset while its transport fails; returns what."""
    knob, values = chance.choice(
        [
            ("refuse_features", (1, 2)),
            ("fail_finalize", (1, 2)),
            ("fail_find_vqs", (1, 2, 9)),
            ("slow_reset_ms", (300, 1500)),
            ("needs_reset", (1,)),
        ]
    )
    value = chance.choice(values)
    faults.set("find_vqs_errno", chance.choice((5, 12, 28)))
    faults.set(knob, value)
    if knob != "needs_reset":
        bench.guest.spawn(f"sg_reset -H -N {bench.node(kind='scsi_generic')}")
    return f"{knob}={value}"


def comes_to_rest(bench: Bench) -> bool:
    """Waits until the device works or is given up; returns whether it works."""
    bench.heal()
    read = f"dd if={bench.node()} of=/dev/null bs=4k count=1 iflag=direct"
    bench.device.wait_for(lambda: bench.is_given_up() or bench.guest.run(read).rc == 0, 60, "not at rest")
    return not bench.is_given_up()


def kernels(seed: int, variant: str) -> None:
    """Skips what is done in the other kernel."""
    if seed % len(VARIANTS) != VARIANTS.index(variant):
        pytest.skip("is done in the other kernel")


@pytest.mark.parametrize("seed", range(FIRST, FIRST + COUNT))
def test_no_write_is_lost(bench: Bench, variant: str, seed: int) -> None:
    kernels(seed, variant)
    chance = random.Random(seed)
    story: list[str] = []
    with bench.guest.misbehaving():
        try:
            with bench.io((0, 0), (3, 300), threads=6, blocks=48, seed=seed) as done:
                longer = seed % 3 == 0
                if longer:
                    story += begin(bench, chance)
                end = time.monotonic() + (LONGER if longer else SECONDS)
                while time.monotonic() < end:
                    if chance.random() < 0.75:
                        story.append(add_rule(bench, chance, len(story)))
                    else:
                        story.append(act(bench, chance, len(story)))
                    time.sleep(chance.uniform(0.05, 0.3))
        finally:
            print(f"schedule {seed} ({variant}): {', '.join(story)}")
        print(done)
        assert done.unread == 0, f"{done.unread} blocks could not be read in the end"
        # The first write of each block, and more: the faults have not kept everything from being done.
        assert done.writes > 2 * 48
        bench.works()
        bench.nobody_is_stuck()


@pytest.mark.parametrize("seed", range(FIRST, FIRST + COUNT // 4))
def test_no_write_is_lost_when_the_transport_fails(bench: Bench, variant: str, seed: int) -> None:
    """The device works in the end, or is given up and works when it is bound anew."""
    kernels(seed, variant)
    chance = random.Random(f"transport {seed}")
    story: list[str] = []
    with bench.guest.misbehaving(), TransportFaults(bench.guest, bench.name) as faults:
        try:
            with bench.io((0, 0), (3, 300), threads=4, blocks=32, seed=seed) as done:
                resets = faults.get("resets")
                end = time.monotonic() + 3
                while time.monotonic() < end:
                    story.append(fail(bench, chance, faults))
                    for _ in range(chance.choice((0, 1, 3))):
                        story.append(add_rule(bench, chance, len(story)))
                    time.sleep(chance.uniform(0.05, 1.5))
                bench.device.wait_for(lambda: faults.get("resets") > resets, 20, "the device was not reset")
                faults.clear()
                bench.behave()
                works = comes_to_rest(bench)
                story.append("works" if works else "is given up")
                if not works:
                    bench.renew()
        finally:
            print(f"transport schedule {seed} ({variant}): {', '.join(story)}")
        print(done)
        assert done.unread == 0 or not works
        assert done.writes >= 2 * 32
        bench.works()
        bench.nobody_is_stuck()


@pytest.mark.skipif(COUNT < 100, reason="needs many schedules")
def test_the_schedules_were_about_queries(bench: Bench) -> None:
    """Their rules decided what some of them were answered."""
    asked = {line["serial"]: line for line in bench.device.lines("tmf", name="query_task")}
    answers = [line for line in bench.device.lines("answer") if line["serial"] in asked and "rule" in line]
    assert len({line["response"] for line in answers}) > 2

# SPDX-License-Identifier: GPL-2.0
"""Random schedules of faults, in kernels with sanitizers: whatever the device does, no acknowledged write is
lost, no task is stuck, and all goes on when the device behaves again.

UML_SCHEDULES=n in the environment is how many there are, UML_SEED=n the first one's seed.
"""

import os
import random
import time
from typing import Any

import pytest

import uml_bench
from guest.uml import VARIANTS
from test_uml_device import ACTIONS
from uml_bench import CI, IO, Bench

variant, bench_shared, bench = uml_bench.FIXTURES

COUNT = int(os.environ.get("UML_SCHEDULES") or (10 if CI else 200))
FIRST = int(os.environ.get("UML_SEED") or 0)
SECONDS = 1.2
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


def add_rule(bench: Bench, chance: random.Random, number: int) -> str:
    """A rule about commands or functions; returns its name."""
    if chance.random() < 0.3:
        what = chance.choice(list(FUNCTIONS))
        match = {"on": "tmf", "probability": chance.choice((0.3, 1.0)), "seed": number}
        action = FUNCTIONS[what]
    else:
        what = chance.choice(list(ACTIONS))
        often = chance.choice((0.002, 0.01, 0.05))
        match = {**IO, "probability": often, "seed": number, "times": chance.choice((1, 3, 8))}
        action = ACTIONS[what]
    bench.device.rule(f"{number} {what}", match, **action)
    return what


def act(bench: Bench, chance: random.Random) -> str:
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
    mark = bench.mark()
    with pytest.raises(AssertionError, match="data is not what was written"), bench.io():
        bench.device.rule("wrong", {**match, "times": 20}, **action)
        bench.device.wait_for(lambda: len(bench.since(mark, "answer", rule="wrong")) == 20, why="not acted")


@pytest.mark.parametrize("seed", range(FIRST, FIRST + COUNT))
def test_schedule(bench: Bench, variant: str, seed: int) -> None:
    if seed % len(VARIANTS) != VARIANTS.index(variant):
        pytest.skip("is done in the other kernel")
    chance = random.Random(seed)
    story: list[str] = []
    with bench.guest.misbehaving():
        try:
            with bench.io((0, 0), (3, 300), threads=6, blocks=48, seed=seed) as done:
                end = time.monotonic() + SECONDS
                while time.monotonic() < end:
                    if chance.random() < 0.75:
                        story.append(add_rule(bench, chance, len(story)))
                    else:
                        story.append(act(bench, chance))
                    time.sleep(chance.uniform(0.05, 0.3))
        finally:
            print(f"schedule {seed} ({variant}): {', '.join(story)}")
        print(done)
        assert done.unread == 0, f"{done.unread} blocks could not be read in the end"
        # The first write of each block, and more: the faults have not kept everything from being done.
        assert done.writes > 2 * 48
        bench.works()
        bench.nobody_is_stuck()

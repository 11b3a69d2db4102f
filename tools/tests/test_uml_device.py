# SPDX-License-Identifier: GPL-2.0
"""Our module in kernels with sanitizers, with a device that misbehaves: no report, and all goes on."""

import random
import time
from typing import Any

import pytest

import uml_bench
from uml_bench import CI, IO, PARAMETERS, Bench, long, only_in

variant, bench_shared, bench = uml_bench.FIXTURES

# What a rule can do to reads and writes, other than leave them alone.
ACTIONS: dict[str, dict[str, Any]] = {
    "drop": {"drop": True},
    "hold": {"hold": "later"},
    "delay": {"delay_ms": 300},
    "delay beyond the timeout": {"delay_ms": 1300},
    "reorder": {"reorder": 3},
    "twice": {"repeat": 2},
    "stale id": {"id": "stale"},
    "id out of range": {"id": "out_of_range"},
    "id not head": {"id": "not_head"},
    "nothing written": {"write": "nothing"},
    "only data written": {"write": "data"},
    "used 0": {"used_len": 0},
    "used max": {"used_len": "max"},
    "residual beyond": {"residual": "max"},
    "sense 0": {"status": "check_condition", "sense": "", "sense_len": 0},
    "sense 252": {"status": "check_condition", "sense": "70 00 03" + " 00" * 15, "sense_len": 252},
    "sense max": {"status": "check_condition", "sense": "72 03 11 00", "sense_len": 0xFFFFFFFF},
    "busy": {"status": "busy"},
    "task set full": {"status": "task_set_full"},
    "unknown status": {"status": 0x7E},
    "bad target": {"response": "bad_target"},
    "transport failure": {"response": "transport_failure"},
    "unknown response": {"response": 255},
    "used ahead": {"used_jump": 3},
    "late byte": {"scribble": {"part": "response", "bytes": "ff" * 108, "after_ms": 5}},
    "flip": {"flip": {"part": "response", "offset": 0, "for_ms": 50}},
    "no interrupt": {"interrupt": False},
}


@pytest.mark.parametrize("action", ACTIONS)
def test_action(bench: Bench, variant: str, action: str) -> None:
    only_in(variant, list(ACTIONS).index(action))
    with bench.guest.misbehaving():
        mark = bench.mark()
        with bench.io():
            bench.device.rule("it", {**IO, "every": 7, "times": 3}, **ACTIONS[action])
            bench.device.wait_for(
                lambda: len(bench.since(mark, "wait", "answer", rule="it")) >= 3, why="not acted thrice"
            )
        bench.works()


@pytest.mark.parametrize("seed", range(1 if CI else 8))
def test_all_actions_at_once(bench: Bench, seed: int) -> None:
    """Each is there for a moment, several at a time."""
    chance = random.Random(seed)
    tried: set[str] = set()
    with bench.guest.misbehaving():
        mark = bench.mark()
        with bench.io((0, 0), (3, 300), seed=seed):
            end = time.monotonic() + 4
            while time.monotonic() < end:
                name = chance.choice([name for name in ACTIONS if name not in tried])
                tried.add(name)
                match = {**IO, "probability": 0.02, "seed": len(tried), "times": 2}
                bench.device.rule(name, match, **ACTIONS[name])
                time.sleep(chance.uniform(0.15, 0.3))
        acted = {line["rule"] for line in bench.since(mark, "wait", "answer") if "rule" in line}
        assert len(acted) > 5, f"of {tried} only {acted} acted"
        bench.works()


@pytest.mark.parametrize("rounds", [3 if CI else 10])
def test_unbind_under_io(bench: Bench, rounds: int) -> None:
    """The driver goes while commands run, are held, and while events come."""
    with bench.guest.misbehaving():
        for round_ in range(rounds):
            with bench.io((0, 0)) as done:
                bench.device.rule("held", {**IO, "every": 20}, hold="held")
                bench.device("event", event="transport_reset", reason="rescan", target=7, times=300)
                time.sleep(0.1 * (round_ % 4))
                assert bench.unbind() < 10
                # What was held has gone to where nobody waits for it.
                bench.device("clear_rules")
            assert done.writes > 0
            bench.bind()
            bench.nobody_is_stuck()
        bench.works()


@long
@pytest.mark.parametrize("rounds", [10])
def test_unload_under_io(bench: Bench, rounds: int) -> None:
    with bench.guest.misbehaving():
        for _ in range(rounds):
            with bench.io((3, 300), threads=4):
                # The module is in use for as long as the file is open.
                assert bench.guest.run("rmmod virtio_scsi_rs").rc != 0
                bench.unbind()
            bench.guest.unload()
            bench.guest.load(parameters=PARAMETERS)
            bench.hurry()
        bench.works()


def test_the_driver_kept_to_the_rules(bench: Bench) -> None:
    """Nothing that the device has made it do was against the specification."""
    assert bench.device.lines("violation") == []

# SPDX-License-Identifier: GPL-2.0
"""Our module in kernels with sanitizers, with a device that misbehaves: no report, and all goes on."""

import random
import time

import pytest

from guest.device import Mark
from support import uml_bench
from support.misbehaviour import ACTIONS
from support.uml_bench import CI, IO, PARAMETERS, Bench, long, only_in

pytestmark = [pytest.mark.device, pytest.mark.uml]


variant, bench_shared, bench = uml_bench.FIXTURES


@pytest.mark.parametrize("action", ACTIONS)
def test_each_action_is_survived(bench: Bench, variant: str, action: str) -> None:
    only_in(variant, list(ACTIONS).index(action))
    with bench.guest.misbehaving():
        mark = bench.device.mark()
        with bench.io():
            bench.device.rule("it", {**IO, "every": 7, "times": 3}, **ACTIONS[action])
            bench.device.wait_for(
                lambda: len(bench.device.since(mark, "wait", "answer", rule="it")) >= 3,
                why="not acted thrice",
            )
        bench.works()


def acted(bench: Bench, mark: Mark) -> set[str]:
    """The rules that have done something since a mark."""
    return {line["rule"] for line in bench.device.since(mark, "wait", "answer") if "rule" in line}


@pytest.mark.parametrize("seed", range(1 if CI else 8))
def test_all_actions_together_are_survived(bench: Bench, seed: int) -> None:
    """One comes after the other, in any order, and acts twice: several at a time."""
    chance = random.Random(seed)
    with bench.guest.misbehaving():
        mark = bench.device.mark()
        with bench.io((0, 0), (3, 300), seed=seed):
            for number, name in enumerate(chance.sample(list(ACTIONS), len(ACTIONS))):
                match = {**IO, "every": chance.randint(2, 20), "seed": number, "times": 2}
                bench.device.rule(name, match, **ACTIONS[name])
                time.sleep(chance.uniform(0.1, 0.2))
            bench.device.wait_for(lambda: acted(bench, mark) == set(ACTIONS), 20, "not all have acted")
        assert acted(bench, mark) == set(ACTIONS)
        bench.works()


@pytest.mark.parametrize("rounds", [3 if CI else 10])
def test_unbind_under_io_ends_soon(bench: Bench, rounds: int) -> None:
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
def test_unload_is_refused_under_io(bench: Bench, rounds: int) -> None:
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

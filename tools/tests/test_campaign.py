# SPDX-License-Identifier: GPL-2.0
"""The drawing of campaigns and the shrinking of findings, without a guest."""

from collections.abc import Callable

import pytest

from campaign.check import _reports
from campaign.draw import Round, claims_data, draw
from campaign.rig import SCENARIO
from campaign.shrink import shrink
from campaign.table import BEGIN, DOCUMENT, END, runs, tables
from guest.device import DeviceError, TestDevice

pytestmark = pytest.mark.main

# What an order is refused for if there is no driver yet, or it comes at the wrong time.
NOT_NOW = ("no driver", "no channel", "no unit", "is a unit")


def test_a_seed_draws_the_same_rounds_again() -> None:
    assert [draw("a", number).data() for number in range(50)] == [
        draw("a", number).data() for number in range(50)
    ]
    assert draw("a", 1).steps != draw("b", 1).steps != draw("b", 2).steps


def test_no_memory_is_written_that_the_driver_has_given_back() -> None:
    for number in range(300):
        steps = draw("late", number).steps
        actions = [step["rule"]["action"] for step in steps if "rule" in step]
        late = [action[key] for action in actions for key in action.keys() & {"scribble", "flip"}]
        assert not late or not any(step.keys() & {"probes", "bind"} for step in steps)
        assert all(each["part"] == "response" for each in late)


def test_the_device_understands_what_is_drawn(serve: Callable[..., TestDevice]) -> None:
    """Every rule, order and offer of some hundred rounds; among them is each kind of step."""
    device = serve(SCENARIO)
    kinds = set()
    for number in range(300):
        device("clear_rules")
        device("end_events")
        for step in draw("understood", number).steps:
            kinds.add(next(iter(step)))
            if "rule" in step:
                device("add_rule", rule=step["rule"])
            elif "probes" in step:
                device("offers", offers=step["probes"])
            elif "order" in step:
                try:
                    device(step["order"], **step["fields"])
                except DeviceError as error:
                    assert any(reason in str(error) for reason in NOT_NOW), step
    assert kinds == {"rule", "order", "run", "probes", "resets", "bind", "death", "pause"}


@pytest.mark.parametrize("wanted", [{3}, {0, 17}, {5, 6, 7}])
def test_a_round_shrinks_to_what_it_takes(wanted: set[int]) -> None:
    tried = []

    def fails(round_: Round) -> bool:
        tried.append(len(round_.steps))
        return wanted <= {step["pause"] for step in round_.steps}

    small = shrink(Round("x", [], 1, [{"pause": number} for number in range(18)]), fails, 10)
    assert {step["pause"] for step in small.steps} == wanted
    assert len(tried) < 60


def test_probes_shrink_by_tens() -> None:
    def fails(round_: Round) -> bool:
        return any({"config": {"seg_max": 25}} in step["probes"] for step in round_.steps)

    offers = [{"config": {"seg_max": number}} for number in range(40)]
    small = shrink(Round("x", [], 1, [{"probes": offers, "wait": 0}]), fails, 10)
    assert [len(step["probes"]) for step in small.steps] == [10]


def test_a_report_of_the_kernel_does_not_hide_another() -> None:
    known = (r"WARNING: mm/page_alloc.c:.*__scsi_scan_target",)
    rule = "=" * 29
    one = "[ cut here ]\nWARNING: mm/page_alloc.c:4 at x\nCall Trace:\n __scsi_scan_target+0x4\n"
    other = f"{rule}\nWARNING: suspicious RCU usage\nCall Trace:\n"
    assert _reports(one, known) == ([], 1)
    assert _reports(one + other, known) == (["WARNING: suspicious RCU usage", "Call Trace:"], 1)
    assert _reports(other + one + "BUG: x\n", known)[0] == [
        "WARNING: suspicious RCU usage",
        "Call Trace:",
        "BUG: x",
    ]


def test_the_document_has_the_runs_that_are_kept() -> None:
    drawn = DOCUMENT.read_text().partition(BEGIN)[2].partition(END)[0]
    assert drawn.strip() == tables(runs()).strip()


def test_tables_sum_up_each_driver() -> None:
    zero = ("rounds", "guests", "unanswered", "configurations", "resets", "known", "seconds")
    run = {
        **dict.fromkeys(zero, 0),
        **{"seed": "1", "strands": [], "commit": "c", "ended": "2026-12-01T10:00:00Z", "events": 2},
    }
    ours = {**run, "driver": "virtio_scsi_rs", "responses": 1200, "findings": {}}
    other = {**run, "driver": "virtio_scsi", "responses": 7, "findings": {"panic": 2}, "addresses": 3}
    said = tables([ours, ours, other])
    assert "| responses | 2,400 | 7 |" in said
    assert "| guests that panicked | 0 | 2 |" in said
    assert "kernel's memory | 0 | 3 |" in said
    assert said.count("| this driver | 1 | all |") == 2


def test_what_a_read_has_read_is_judged_where_a_response_tells() -> None:
    def claims(**action: object) -> bool:
        return claims_data(Round("x", [], 1, [{"rule": {"action": action}}, {"pause": 1}]))

    assert claims(write="response") and claims(response="ok", execute=False) and claims(status=4)
    assert not (claims(write="nothing") or claims(response=9, execute=False) or claims(residual="full"))

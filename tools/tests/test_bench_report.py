# SPDX-License-Identifier: GPL-2.0
"""What `make bench-report` computes, draws and writes; no guest is booted."""

import array
import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest

from bench import chart, counts, document, guests, memory, ratios, tables, wall, watch
from bench.parts import Part

pytestmark = pytest.mark.main

SVG = "{http://www.w3.org/2000/svg}"
FACTS = {"kernel": "7.3.4", "QEMU": "11.1", "commit": "0123456789ab"}

# Ratios


def test_the_interval_is_that_of_the_sign_test() -> None:
    """Of 30 pairs the tenth from either end: the sign test has 0.0428 for nine that are beyond."""
    found = ratios.of_pairs([1.0] * 30, [float(number) for number in range(1, 31)])
    assert (found.median, found.low, found.high, found.pairs) == (15.5, 10.0, 21.0, 30)
    assert found.confidence == pytest.approx(1 - 0.0428, abs=0.0001)


def test_pairs_stay_together() -> None:
    """Both are twice as fast in half of the pairs, and ours costs a tenth more in each."""
    c = [100.0, 200.0] * 15
    found = ratios.of_pairs(c, [each * 1.1 for each in c])
    assert (found.low, found.high) == (pytest.approx(1.1), pytest.approx(1.1))
    assert found.differs


def test_few_pairs_prove_nothing() -> None:
    found = ratios.of_pairs([1.0] * 5, [2.0] * 5)
    assert found.confidence == pytest.approx(1 - 2 / 32)
    assert not found.differs
    assert ratios.of_pairs([1.0] * 6, [2.0] * 6).differs
    assert not ratios.of_pairs([1.0] * 6, [0.9, 1.1, 1.2, 1.2, 1.3, 1.3]).differs


def test_what_is_no_pair_is_refused() -> None:
    with pytest.raises(ValueError, match="no pairs"):
        ratios.of_pairs([1.0, 2.0], [1.0])
    with pytest.raises(ValueError, match="no pairs"):
        ratios.of_pairs([], [])


# What the plugin and the kernel's trace tell


def words(file: Path, *numbers: int) -> Path:
    file.write_bytes(array.array("Q", numbers).tobytes())
    return file


def test_locks_count_for_the_driver_that_takes_them(tmp_path: Path) -> None:
    mine, others = 0xFFFFFFFFC0002010, 0xFFFFFFFFC0001010
    file = words(
        tmp_path / "watch.1",
        *(800, 100, 1300, 300, 0, 700),
        *(mine, 100, 50_000, 900),
        *(mine + 64, 100, 10_000, 200),
        *(others, 5, 99_999, 99_999),
    )
    found = watch.by_driver(watch.Seen.read(file), 100, lambda address: address >= mine)
    assert (found["locks"], found["held"], found["mean hold"], found["longest hold"]) == (2, 600, 300, 900)
    assert (found["stack lines"], found["static lines"], found["heap lines"]) == (8, 1, 13)
    assert (found["lines"], found["lines written"]) == (22, 10)


def test_a_file_of_the_watcher_that_was_cut_short_is_refused(tmp_path: Path) -> None:
    for numbers in [(1, 2, 3), (0, 0, 0, 0, 0, 0, 1, 2, 3)]:
        with pytest.raises(ValueError, match="has not been written"):
            watch.Seen.read(words(tmp_path / "watch.0", *numbers))


def test_the_watcher_is_told_all_functions_for_locks() -> None:
    kallsyms = """\
ffffffff82000010 T _raw_spin_lock
ffffffff82000020 T _raw_spin_lock_irqsave
ffffffff82000030 T _raw_spin_lock_nested
ffffffff82000040 T _raw_spin_trylock
ffffffff82000050 T _raw_spin_unlock
ffffffff82000060 T _raw_spin_unlock_irqrestore
ffffffffc0000000 t _raw_spin_lock_irq\t[virtio_scsi]
"""
    assert watch.options(kallsyms) == (
        ",locks=ffffffff82000010:ffffffff82000020:ffffffff82000040,unlocks=ffffffff82000050:ffffffff82000060"
    )


def test_the_drivers_code_ends_where_another_modules_begins() -> None:
    kallsyms = """\
ffffffffc0001000 t first\t[virtio_scsi]
ffffffffc0001800 t last\t[virtio_scsi]
"""
    alone = watch.text_of(counts.Symbols(kallsyms), "virtio_scsi")
    assert alone == (0xFFFFFFFFC0001000, 0xFFFFFFFFC0002800)
    beside = counts.Symbols(f"{kallsyms}ffffffffc0002000 t its\t[sd_mod]\n")
    assert watch.text_of(beside, "virtio_scsi") == (0xFFFFFFFFC0001000, 0xFFFFFFFFC0002000)


TRACE = """\
# tracer: nop
   bash-144     [000] .....    25.1: kmalloc: call_site=a+0x1/0x2 ptr=00000000aa bytes_req=90 bytes_alloc=96
   bash-144     [000] .....    25.1: <stack trace>
 => trace_event_raw_event_kmalloc
 => virtscsi_probe
   bash-144     [000] .....    25.2: kmalloc: call_site=a+0x1/0x2 ptr=00000000bb bytes_req=8 bytes_alloc=8
   kworker/1-9  [001] .....    25.2: kmalloc: call_site=a+0x1/0x2 ptr=00000000cc bytes_req=8 bytes_alloc=1024
   bash-144     [000] .....    25.2: <stack trace>
 => virtscsi_init
   kworker/1-9  [001] .....    25.2: <stack trace>
 => worker_thread
   bash-144     [000] .....    25.3: mm_page_alloc: page=00000000e1 pfn=0x1000 order=2 migratetype=0
   bash-144     [000] .....    25.3: <stack trace>
 => __alloc_pages
 => blk_mq_alloc_rqs
 => virtscsi_probe
   bash-144     [000] .....    25.3: mm_page_alloc: page=00000000e2 pfn=0x2000 order=3 migratetype=0
   bash-144     [000] .....    25.3: <stack trace>
 => allocate_slab
 => virtscsi_probe
   bash-144     [000] .....    25.4: kfree: call_site=virtscsi_init+0x1/0x2 ptr=00000000bb
"""


def test_memory_is_what_the_driver_made_and_kept() -> None:
    """A worker's, what was released, and pages that objects are cut from, are not in it."""
    seen = list(memory.events(TRACE))
    assert len(seen) == 6
    assert memory.live(seen, {"virtscsi_probe", "virtscsi_init"}) == 96 + 4 * 4096


def test_three_controllers_tell_what_a_command_and_a_queue_cost() -> None:
    by_shape = {(1, 128): 200_000, (1, 256): 328_000, (2, 128): 330_000}
    found = memory.shares(by_shape, {"command": 192, "host": 608})
    assert found["each further command"] == 1000
    assert found["each further queue of 128"] == 130_000


# fio


def output(**job: Any) -> str:
    none = {"total_ios": 0, "iops": 0, "lat_ns": {}}
    return "fio: a note\n" + json.dumps(
        {"jobs": [{"error": 0, "read": none, "write": none, **job}]}, indent=1
    )


def test_a_sample_is_of_what_was_done() -> None:
    done = {
        "total_ios": 9,
        "iops": 4321.5,
        "lat_ns": {"percentile": {"50.000000": 3000, "99.000000": 90000}},
    }
    sample = wall.Sample(4321.5, {"50": 3.0, "99": 90.0})
    assert wall.Sample.of(output(read=done)) == sample
    assert wall.Sample.of(output(write=done)) == sample
    for bad in (output(read=done, error=5), "fio: no such file"):
        with pytest.raises(ValueError, match="fio failed"):
            wall.Sample.of(bad)


# Plots


def drawn(picture: str) -> ElementTree.Element:
    return ElementTree.fromstring(picture)


def circles(picture: str) -> list[tuple[float, float]]:
    return [
        (float(each.attrib["cx"]), float(each.attrib["cy"])) for each in drawn(picture).iter(f"{SVG}circle")
    ]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.9, 1.32, [0.9, 1.0, 1.1, 1.2, 1.3, 1.4]),
        (0.0, 1_831_685.0, [0.0, 500_000.0, 1_000_000.0, 1_500_000.0, 2_000_000.0]),
        (1.0, 1.0, [1.0, 1.2]),
        (0.3, 1.0, [0.2, 0.4, 0.6, 0.8, 1.0]),
    ],
)
def test_scales_are_of_round_numbers(low: float, high: float, expected: list[float]) -> None:
    found = chart.steps(low, high)
    assert found[0] <= low
    assert found[-1] >= high
    assert found == expected


def test_a_ratio_is_drawn_in_its_place() -> None:
    rows = [chart.Row("machine"), chart.Row("dearer", 1.3), chart.Row("cheaper", 0.8), chart.Row("even", 1.0)]
    (dearer, first), (cheaper, second), (even, _) = circles(chart.ratios("A title", rows, 0.9))
    assert cheaper < even < dearer
    assert dearer - even == pytest.approx(1.5 * (even - cheaper), abs=0.2)
    assert second - first == chart.ROW


def test_the_colour_says_which_is_better() -> None:
    rows = [chart.Row("sure", 1.2, 1.1, 1.3), chart.Row("unsure", 1.2, 0.9, 1.3), chart.Row("less", 0.8)]

    def colours(less_is_better: bool) -> list[str]:
        picture = drawn(chart.ratios("A title", rows, None, less_is_better))
        return [each.attrib["fill"] for each in picture.iter(f"{SVG}circle")]

    assert colours(True) == [chart.BAD, chart.EVEN, chart.GOOD]
    assert colours(False) == [chart.GOOD, chart.EVEN, chart.BAD]


def test_an_interval_is_drawn_from_end_to_end() -> None:
    picture = chart.ratios("A title", [chart.Row("one", 1.2, 1.0, 1.4), chart.Row("end", 1.4)])
    wide = [each.attrib for each in drawn(picture).iter(f"{SVG}line") if each.get("stroke-width") == "3"]
    (line,) = wide
    ((middle, _), (end, _)) = circles(picture)
    assert float(line["x2"]) == end
    assert middle - float(line["x1"]) == pytest.approx(end - middle, abs=0.2)


def test_lines_rise_with_their_numbers() -> None:
    picture = chart.lines("A title", "units", {"C": {1: 20.0, 10: 200.0, 100: 2000.0}, "ours": {1: 10.0}})
    (first, low), (second, middle), (third, high), (_, half) = circles(picture)
    assert second - first == pytest.approx(third - second, abs=0.2)
    assert low - middle == pytest.approx(middle - high, abs=0.2)
    assert half > low > high


def test_labels_cannot_break_a_picture() -> None:
    rows = [chart.Row("<&>", 1.0)]
    assert "<&>" in [each.text for each in drawn(chart.ratios('a "title" & more', rows)).iter(f"{SVG}text")]


# The document


def cell(own: float, **others: float) -> dict[str, list[Any]]:
    names = ("own", "driver", "virtio_ring", "scsi_mod", "sd_mod", "guest", "kicks", "interrupts")
    return {
        **{name: [1.0, True] for name in (*names, "text lines")},
        "own": [own, True],
        "polls": [0.0, True],
        **{name: [value, True] for name, value in others.items()},
    }


def measured(**data: Any) -> dict[str, Part]:
    return {name: Part(FACTS, 60.0, each) for name, each in data.items()}


def a_machine(ours: float, **others: float) -> dict[str, Any]:
    return {
        "c": {name: cell(300.0) for name in tables.GOALS},
        "ours": {name: cell(ours, **others) for name in tables.GOALS},
    }


def test_goals_are_met_or_not() -> None:
    def verdicts(parts: dict[str, Part]) -> list[str]:
        return [line.rpartition(" | ")[2].removesuffix(" |") for line in tables.glance(parts)][2:]

    sizes = {"c": {"text": 8110}, "ours": {"text": 60_000}}
    good = measured(counts={"1 processor": a_machine(270.0)}, sizes=sizes)
    assert verdicts(good) == ["met"] * 6
    sizes["ours"]["text"] = 60_001
    bad = measured(counts={"1 processor": a_machine(270.5, interrupts=1.1)}, sizes=sizes)
    assert verdicts(bad) == ["**not met**"] * 6


def test_what_has_no_goal_is_shown_without_one() -> None:
    def found(own: float, seconds: float) -> dict[str, Any]:
        return {"probe": {"own": own, "seconds": seconds}}

    units = {
        "64": {"c": found(1.0, 1.0), "ours": found(1.0, 1.0)},
        "1000": {"c": found(2000.0, 4.0), "ours": found(5000.0, 1.5)},
    }
    assert list(tables.glance(measured(units=units)))[2:] == [
        "| own instructions to find 1,000 units | 2,000 | 5,000 | 2.50 |  |  |",
        "| seconds to find 1,000 units | 4 | 1.5 | 0.38 |  |  |",
    ]


def test_the_document_has_what_was_measured() -> None:
    parts = measured(counts={"1 processor": a_machine(270.0)}, sizes={"c": {"text": 1}, "ours": {"text": 2}})
    text = document.text(parts, "## What was tried\n\nThis and that.\n")
    assert "- kernel 7.3.4, QEMU 11.1, commit 0123456789ab\n" in text
    assert "| 4 KiB read, depth 1 | 300 | 270 | **0.90** |" in text
    assert "- not measured: watch, memory, units, wall\n" in text
    assert text.endswith("This and that.\n")
    assert all(len(line) <= 120 for line in text.splitlines() if not line.startswith("|"))
    assert set(document.pictures(parts)) == {"own", "guest"}


def test_polls_are_shown_where_there_are_any() -> None:
    machine = {"c": {"polled": cell(300.0, polls=5.3)}, "ours": {"polled": cell(270.0, polls=4.2)}}
    head, _, row = tables.counts(machine)
    assert head.endswith(" polls: C, ours |")
    assert row.endswith(" 5.3, 4.2 |")
    assert "polls" not in next(tables.counts(a_machine(270.0)))


def test_queues_grow_with_processors() -> None:
    data = {"1 processor": a_machine(270.0), "packed": a_machine(1.0), "4 processors": a_machine(315.0)}
    first, second = list(tables.queues(data))[2:]
    assert first.startswith("| 1 processor | 300, 270, 0.90 |")
    assert second.startswith("| 4 processors | 300, 315, 1.05 |")


def test_parts_of_another_commit_are_named() -> None:
    parts = measured(counts={"1 processor": a_machine(270.0)}, sizes={"c": {"text": 1}, "ours": {"text": 2}})
    parts["sizes"] = Part({**FACTS, "commit": "ba9876543210"}, 1.0, parts["sizes"].data)
    text = document.text(parts, "")
    assert "- counts: kernel 7.3.4, QEMU 11.1, commit 0123456789ab\n" in text
    assert "- sizes: kernel 7.3.4, QEMU 11.1, commit ba9876543210\n" in text


def test_each_picture_of_the_document_is_drawn() -> None:
    """The document that is kept, whoever measured it."""
    text = document.DOCUMENT.read_text()
    shown = {line.partition("](")[2].rstrip(")") for line in text.splitlines() if line.startswith("![")}
    assert shown == {path.name for path in document.DOCUMENT.parent.glob("benchmark-*.svg")}


def test_what_was_tried_is_in_the_document() -> None:
    assert document.DOCUMENT.read_text().endswith(document.TRIED.read_text())


def test_a_wall_clock_ratio_is_ours_over_c() -> None:
    def samples(*iops: float) -> list[dict[str, Any]]:
        return [{"iops": each, "latency": {"50": 1e6 / each, "99": 1e6 / each}} for each in iops]

    data = {"a cell": {"c": samples(100, 200), "ours": samples(150, 300), "virtio-blk": samples(400, 400)}}
    found = tables.wall_ratios(data)["a cell"]
    assert found["I/Os for each second"].median == pytest.approx(1.5)
    assert found["latency, median"].median == pytest.approx(2 / 3)
    table = "\n".join(tables.wall(data))
    assert "| a cell | 2 | 150, 225, 400 | 1.50 (1.50 to 1.50) | 7,500, 5,000, 2,500 | 0.67" in table


def test_units_are_on_one_target() -> None:
    """REPORT LUNS lists them all, and no further target is looked at."""
    found = guests.units(1000)
    assert {(each.target, each.lun) for each in found} == {(0, lun) for lun in range(1000)}

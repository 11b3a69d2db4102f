# SPDX-License-Identifier: GPL-2.0
"""The arithmetic of `make bench`; no guest is booted."""

import array
from pathlib import Path

import pytest

from bench import bench, cells, counts, report
from bench.counts import Block, Cost

pytestmark = pytest.mark.main

KALLSYMS = """\
ffffffff81000000 T _stext
ffffffff81000ff0 t __pfx_scsi_done
ffffffff81001000 T blk_mq_unique_tag
ffffffff81002000 t rust_helper_atomic_read
ffffffff81003000 T virtqueue_add_sgs
ffffffff81003100 t detach_buf_split
ffffffff81003200 T vring_interrupt
ffffffff81003300 T vp_notify
ffffffff81003400 D a_datum
ffffffff8ff00000 t vring_alloc_queue_split.cold
ffffffffc0001000 t scsi_queue_rq\t[scsi_mod]
ffffffffc0002000 t virtscsi_queuecommand\t[virtio_scsi]
ffffffffc0002100 t virtscsi_req_done\t[virtio_scsi]
"""
SYMBOLS = counts.Symbols(KALLSYMS)
QUEUE, DONE = 0xFFFFFFFFC0002000, 0xFFFFFFFFC0002100


def counted(file: Path, *words: int) -> Path:
    file.write_bytes(array.array("Q", words).tobytes())
    return file


def test_the_processors_executions_are_added_up(tmp_path: Path) -> None:
    file = counted(tmp_path / "counts.0", 2, QUEUE, 7, 30, 3, 4, 0, 1, 0, 50, 0)
    assert counts.read(file) == {Block(QUEUE, 7, 30): 7, Block(counts.PROGRAMS, 1): 50}


@pytest.mark.parametrize("words", [(), (1, QUEUE, 7, 30)])
def test_a_file_that_was_cut_short_is_refused(tmp_path: Path, words: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="has not been written"):
        counts.read(counted(tmp_path / "counts.0", *words))


def test_what_is_done_once_is_not_in_the_cost_of_an_io() -> None:
    queue, once, done = Block(QUEUE, 81), Block(QUEUE + 0x40, 5), Block(DONE, 59)
    start = {queue: 7, done: 7}
    after_fewer = {queue: 7 + 100, done: 7 + 100, once: 1}
    after_more = {queue: 107 + 300, done: 107 + 300, once: 2}
    fewer, more = counts.since(start, after_fewer), counts.since(after_fewer, after_more)
    assert counts.per_io(fewer, more, 200) == {queue: 1.0, done: 1.0}


def test_a_block_belongs_to_the_function_it_is_in() -> None:
    costs = counts.by_function(
        {Block(QUEUE, 10): 1.0, Block(QUEUE + 40, 3): 2.0, Block(DONE + 4, 5): 1.0}, SYMBOLS
    )
    by_name = {function.key: cost for function, cost in costs.items()}
    # The loop is no second call, and the block that is not at the beginning is none.
    assert by_name["virtscsi_queuecommand [virtio_scsi]"] == Cost(16.0, 1.0)
    assert by_name["virtscsi_req_done [virtio_scsi]"] == Cost(5.0, 0.0)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (QUEUE + 8, "driver"),
        (0xFFFFFFFF81001010, "beside"),
        (0xFFFFFFFF81002004, "beside"),
        (0xFFFFFFFF81003000, "virtio_ring"),
        (0xFFFFFFFF81003104, "virtio_ring"),
        (0xFFFFFFFF81003204, "virtio_ring"),
        (0xFFFFFFFF81003304, "other kernel"),
        (0xFFFFFFFF81000004, "other kernel"),
        (0xFFFFFFFFC0001010, "scsi_mod"),
        (counts.PROGRAMS, "programs"),
        (0xFFFF800000000000, "other kernel"),
    ],
)
def test_each_function_is_of_one_part(address: int, expected: str) -> None:
    assert counts.part(SYMBOLS.at(address), "virtio_scsi", SYMBOLS) == expected


def test_the_lines_of_the_code_are_those_of_each_io() -> None:
    executions = {
        # Two lines of the driver's, and the first once more.
        Block(QUEUE + 60, 3, 8): 1.0,
        Block(QUEUE + 16, 3, 8): 0.9,
        # For one I/O in ten, and another module's.
        Block(QUEUE + 640, 3, 8): 0.1,
        Block(0xFFFFFFFFC0001000, 3, 8): 1.0,
    }
    assert counts.text_lines(executions, SYMBOLS, "virtio_scsi") == 2


def test_hidden_symbols_are_refused() -> None:
    with pytest.raises(ValueError, match="hides"):
        counts.Symbols("0000000000000000 T _stext\n")


def result(*instructions: float) -> bench.Result:
    """A cell whose rounds cost so much in the driver."""
    found = bench.Result()
    for each in instructions:
        found.add({Block(QUEUE, 1, 4): each}, "virtio_scsi", SYMBOLS)
    return found


def test_rounds_that_differ_are_marked_in_the_table() -> None:
    machine = {"c": {"a cell": result(298.0, 298.0)}, "ours": {"a cell": result(320.0, 300.0, 310.0)}}
    row = report.machine_table(machine)[-1]
    assert row.startswith("| a cell | 298 | ~310 | 1.04 |")


def test_a_machine_without_the_cells_that_are_shown_has_its_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "demangled", lambda keys: {key: key for key in keys})
    machine = {"c": {"polled": result(298.0)}, "ours": {"polled": result(310.0)}}
    sizes = {"c": {"text": 1}, "ours": {"text": 2}}
    assert "| polled | 298 | 310 | 1.04 |" in report.text(["a fact"], sizes, {"polled queue": machine})


def test_a_function_that_some_rounds_do_not_execute_costs_nothing_there() -> None:
    found = result(298.0, 298.0, 298.0)
    found.functions["rare"] = [Cost(9.0, 1.0)]
    assert found.function("rare") == Cost(0.0, 0.0)
    assert found.range("rare") == (0.0, 9.0)


def test_polls_are_those_of_the_driver() -> None:
    symbols = counts.Symbols(
        f"{KALLSYMS}ffffffff81004000 T blk_mq_poll\nffffffffc0002200 t virtscsi_mq_poll\t[virtio_scsi]\n"
    )
    found = bench.Result()
    found.add(
        {Block(0xFFFFFFFFC0002200, 9, 30): 5.0, Block(0xFFFFFFFF81004000, 9, 30): 7.0}, "virtio_scsi", symbols
    )
    assert found.median("polls") == 5.0


def test_machines_are_chosen_by_a_word() -> None:
    assert cells.chosen("") == [cells.QUICK]
    assert cells.chosen("all") == list(cells.ALL)
    assert [machine.name for machine in cells.chosen("packed")] == ["packed"]
    assert [machine.name for machine in cells.chosen("1 pro, packed")] == ["1 processor", "packed"]
    with pytest.raises(SystemExit, match="CELLS=nothing"):
        cells.chosen("nothing")

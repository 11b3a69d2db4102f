# SPDX-License-Identifier: GPL-2.0
"""What a read and a write cost the driver, in instructions, is no more than what is recorded. A commit that
changes the record says why."""

import tomllib
from pathlib import Path

import pytest

from bench import bench, cells, guests
from guest import paths

pytestmark = [pytest.mark.main, pytest.mark.ours("the record is of our driver")]

RECORD = Path(bench.__file__).with_name("record.toml")
CELLS = cells.CELLS[:4]
# Another compiler, or another release of the kernel, may cost a little.
TOLERANCE = 1.02


@pytest.fixture(scope="module")
def results() -> dict[str, bench.Result]:
    guests.build()
    machine = cells.Machine("recorded", cells=CELLS)
    return bench.run(machine, drivers=("ours",), passes=1, rounds=1)["ours"]


@pytest.mark.parametrize("cell", [cell.name for cell in CELLS])
def test_no_cell_costs_more_than_is_recorded(results: dict[str, bench.Result], cell: str) -> None:
    recorded = tomllib.loads(RECORD.read_text()).get(paths.SERIES)
    if not recorded:
        pytest.skip(f"there is no record for {paths.SERIES}")
    own = results[cell].median(*bench.OWN)
    # With nothing counted it would pass.
    assert recorded[cell] / 2 < own <= recorded[cell] * TOLERANCE

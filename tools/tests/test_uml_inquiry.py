# SPDX-License-Identifier: GPL-2.0
"""Units that answer INQUIRY with nonsense, all cases of test_device_inquiry.py, in a kernel with KASAN."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import test_device_inquiry as cases
from conftest import folder_of
from guest.device import TestDevice
from guest.uml import UmlGuest
from test_device_inquiry import Shared


@pytest.fixture(scope="module")
def booted(
    serve_shared: Callable[..., TestDevice],
    uml_module: Callable[[str], Path],
    request: pytest.FixtureRequest,
) -> Iterator[Shared]:
    device = serve_shared(cases.SCENARIO)
    uml_module("kasan")
    failed = request.session.testsfailed
    folder = folder_of(request.node) / (f"kasan-{failed}" if failed else "kasan")
    with UmlGuest(folder, [device], variant="kasan") as guest:
        yield Shared(device, guest)
        if request.session.testsfailed > failed:
            guest.give_up()


@pytest.fixture
def shared(booted: Shared, request: pytest.FixtureRequest) -> Iterator[Shared]:
    yield booted
    if not getattr(request.node, "failed", False):
        booted.guest.assert_clean_log()


@pytest.mark.parametrize("name", cases.CASES)
def test_a_new_unit(shared: Shared, name: str, record_property: Callable[[str, object], None]) -> None:
    cases.test_a_new_unit(shared, name, record_property)


@pytest.mark.parametrize("which", cases.GROUPS)
def test_a_unit_whose_data_changes(shared: Shared, which: str) -> None:
    cases.test_a_unit_whose_data_changes(shared, which)


@pytest.mark.parametrize("which", cases.GROUPS)
def test_units_are_looked_at_again(shared: Shared, which: str) -> None:
    cases.test_units_are_looked_at_again(shared, which)


test_random_data = cases.test_random_data
test_the_driver_kept_to_the_rules = cases.test_the_driver_kept_to_the_rules

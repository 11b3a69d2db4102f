# SPDX-License-Identifier: GPL-2.0
"""Units that answer INQUIRY with nonsense, all cases of test_device_inquiry.py, in a kernel with KASAN."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from guest.device import TestDevice
from support import inquiry
from support.boots import has_failed
from support.inquiry import Shared
from support.uml_bench import shared_guest

pytestmark = [pytest.mark.device, pytest.mark.uml]


@pytest.fixture(scope="module")
def booted(
    serve_shared: Callable[..., TestDevice],
    uml_module: Callable[[str], Path],
    request: pytest.FixtureRequest,
) -> Iterator[Shared]:
    device = serve_shared(inquiry.SCENARIO)
    uml_module("kasan")
    with shared_guest(request, device, variant="kasan") as guest:
        yield Shared(device, guest)


@pytest.fixture
def shared(booted: Shared, request: pytest.FixtureRequest) -> Iterator[Shared]:
    yield booted
    if not has_failed(request.node):
        booted.guest.assert_clean_log()


@pytest.mark.parametrize("name", inquiry.CASES)
def test_a_unit_with_nonsense_delays_nobody(
    shared: Shared, name: str, record_property: Callable[[str, object], None]
) -> None:
    inquiry.test_a_unit_with_nonsense_delays_nobody(shared, name, record_property)


@pytest.mark.parametrize("which", inquiry.GROUPS)
def test_a_unit_stays_when_its_data_becomes_nonsense(shared: Shared, which: str) -> None:
    inquiry.test_a_unit_stays_when_its_data_becomes_nonsense(shared, which)


@pytest.mark.parametrize("which", inquiry.GROUPS)
def test_units_recover_from_nonsense(shared: Shared, which: str) -> None:
    inquiry.test_units_recover_from_nonsense(shared, which)


test_a_malformed_list_is_noticed_while_the_unit_is_offline = (
    inquiry.test_a_malformed_list_is_noticed_while_the_unit_is_offline
)
test_random_data_delays_nobody = inquiry.test_random_data_delays_nobody
test_the_driver_kept_to_the_rules = inquiry.test_the_driver_kept_to_the_rules

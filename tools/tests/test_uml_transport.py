# SPDX-License-Identifier: GPL-2.0
"""The faults of a transport that guest/faults.py causes, in kernels with sanitizers: the cases of
test_transport, and what these kernels cannot do."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from guest import CommandFailed
from guest.device import TestDevice
from guest.uml import VARIANTS
from support import transport, uml_bench
from support.transport import ALLOW, Target
from support.uml_bench import only_in, shared_guest

pytestmark = [pytest.mark.main, pytest.mark.uml]


variant = uml_bench.FIXTURES[0]

# So that looking for units is over soon.
SCENARIO = {"device": {"config": {"max_target": 1}}, "unit": [{}]}


@pytest.fixture(scope="module")
def target(
    variant: str,
    serve_shared: Callable[..., TestDevice],
    uml_module: Callable[[str], Path],
    request: pytest.FixtureRequest,
) -> Iterator[Target]:
    only_in(variant, VARIANTS.index("kasan"))
    device = serve_shared(SCENARIO)
    uml_module(variant)
    with shared_guest(request, device, variant=variant, allow=ALLOW) as guest:
        yield Target(guest, guest.out(f"basename {guest.driver.sysfs}/virtio*"))


test_features_are_refused = transport.test_features_are_refused
test_a_negotiation_fails = transport.test_a_negotiation_fails
test_virtqueues_cannot_be_made = transport.test_virtqueues_cannot_be_made
test_a_count_below_0_does_not_end = transport.test_a_count_below_0_does_not_end
test_a_reset_takes_its_time = transport.test_a_reset_takes_its_time
test_a_device_needs_to_be_reset = transport.test_a_device_needs_to_be_reset
test_a_device_is_gone = transport.test_a_device_is_gone
test_all_ends_with_the_module = transport.test_all_ends_with_the_module
test_the_module_goes_when_nobody_is_in_it = transport.test_the_module_goes_when_nobody_is_in_it
test_what_makes_no_sense_is_refused = transport.test_what_makes_no_sense_is_refused


def test_nothing_is_delayed_without_kprobes(target: Target) -> None:
    with target.faults() as faults:
        with target.says("this kernel has no kprobes"), pytest.raises(CommandFailed):
            faults.set("delay_at", "virtio_reset_device")
        module = target.guest.fault_module("transport")
    assert target.guest.run(f"insmod {module} device={target.name} delay_at=virtio_reset_device").rc != 0
    target.works()

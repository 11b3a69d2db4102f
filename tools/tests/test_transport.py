# SPDX-License-Identifier: GPL-2.0
"""The faults of a transport that guest/faults.py causes: each does what it says, and all end with it."""

import pytest

from guest import CommandFailed, Controller, Disk, paths, sysfs
from support import transport
from support.boots import Boots
from support.transport import ALLOW, Target

pytestmark = pytest.mark.main


@pytest.fixture(scope="module")
def target(boot_shared: Boots) -> Target:
    guest = boot_shared([Controller([Disk(0, 0)])], allow=ALLOW)
    return Target(guest, sysfs.virtio_name(guest))


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


@pytest.mark.skipif(paths.SERIES == paths.SANITIZED, reason="the kernel has no kprobes")
def test_a_function_is_delayed(target: Target) -> None:
    with target.faults(delay_ms=3000) as faults:
        faults.set("delay_count", 1)
        faults.set("delay_at", "virtio_reset_device")
        with target.says("a delay of 3000 ms at virtio_reset_device"):
            assert target.unbind().seconds > 3
        assert faults.get("delay_count") == 0
        target.bind()
        assert target.unbind().seconds < 3
        target.bind()
        faults.set("delay_count", 1)
        faults.set("delay_at", "sd_mod:sd_open")
        target.works()
        assert faults.get("delay_count") == 0
        with target.says('nothing can be delayed at "no_such_function"'), pytest.raises(CommandFailed):
            faults.set("delay_at", "no_such_function")
        faults.set("delay_at", "")
    target.works()

# SPDX-License-Identifier: GPL-2.0
"""A device whose transport fails as guest/faults.py has it, and tests of these faults for any transport."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from guest import CommandFailed, Guest
from guest.faults import TransportFaults
from guest.guest import Result
from support.known_lines import OUR_DRIVER

ALLOW = (
    r"device refuses features",
    r"probe with driver \S+ failed",
    OUR_DRIVER,
    r"transport: (there is no device|.* invalid for parameter)",
    r"transport: (nothing can be delayed|this kernel has no kprobes)",
)


# Bits of the device status.
FEATURES_OK, NEEDS_RESET, FAILED = 8, 64, 128


@dataclass
class Target:
    """A device on the virtio bus, and its guest."""

    guest: Guest
    name: str

    def faults(self, **knobs: Any) -> TransportFaults:
        return TransportFaults(self.guest, self.name, **knobs)

    def status(self) -> int:
        return int(self.guest.out(f"cat /sys/bus/virtio/devices/{self.name}/status"), 16)

    def unbind(self) -> Result:
        return self.guest.run(f"echo {self.name} >{self.guest.driver.sysfs}/unbind", check=True)

    def try_to_bind(self) -> Result:
        return self.guest.run(f"echo {self.name} >{self.guest.driver.sysfs}/bind")

    def bind(self) -> None:
        assert self.try_to_bind().rc == 0
        self.guest.settle()

    def node(self, kind: str = "block") -> str:
        units = f"/sys/bus/virtio/devices/{self.name}/host*/target*/*"
        return "/dev/" + self.guest.out(f"ls -d {units}/{kind}/* | head -n 1 | xargs basename")

    def reset(self) -> None:
        self.guest.run(f"sg_reset -H -N {self.node('scsi_generic')}", check=True)

    def works(self) -> None:
        self.guest.run(f"dd if={self.node()} of=/dev/null bs=64k count=4 iflag=direct", check=True)

    @contextmanager
    def says(self, *texts: str) -> Iterator[None]:
        """Within the block the kernel logs these."""
        before = len(self.guest.dmesg())
        yield
        said = self.guest.dmesg()[before:]
        assert [text for text in texts if text not in said] == []


def test_features_are_refused(target: Target) -> None:
    target.unbind()
    with target.faults(refuse_features=1) as faults:
        with target.says("the features are refused", "device refuses features"):
            assert "No such device" in target.try_to_bind().stderr
        assert target.status() & (FEATURES_OK | FAILED) == FAILED
        assert faults.get("refuse_features") == 0
        target.bind()
    target.works()


def test_a_negotiation_fails(target: Target) -> None:
    target.unbind()
    with target.faults() as faults:
        faults.set("fail_finalize", 2)
        for left in (1, 0):
            with target.says("the negotiation fails"):
                assert "Input/output error" in target.try_to_bind().stderr
            assert target.status() & (FEATURES_OK | FAILED) == FAILED
            assert faults.get("fail_finalize") == left
        target.bind()
    target.works()


@pytest.mark.parametrize(
    ("errno", "error"),
    [(None, "Input/output error"), (12, "Cannot allocate memory"), (2, "No such file or directory")],
)
def test_virtqueues_cannot_be_made(target: Target, errno: int | None, error: str) -> None:
    target.unbind()
    with target.faults() as faults:
        if errno:
            faults.set("find_vqs_errno", errno)
        faults.set("fail_find_vqs", 1)
        with target.says(f"no virtqueues, errno {errno or 5}"):
            assert error in target.try_to_bind().stderr
        assert target.status() & FEATURES_OK
        target.bind()
    target.works()


def test_a_count_below_0_does_not_end(target: Target) -> None:
    target.unbind()
    with target.faults(fail_finalize=-1) as faults:
        for _ in range(3):
            assert target.try_to_bind().rc != 0
        assert faults.get("fail_finalize") == -1
        faults.clear()
        target.bind()
    target.works()


def test_a_reset_takes_its_time(target: Target) -> None:
    with target.faults() as faults:
        resets = faults.get("resets")
        faults.set("slow_reset_ms", 3000)
        with target.says("a reset takes 3000 ms"):
            assert target.unbind().seconds > 3
        assert faults.get("resets") > resets
        faults.clear()
        target.bind()
        assert target.unbind().seconds < 3
    target.bind()
    target.works()


@pytest.mark.ours("is about what the other driver does not look at")
def test_a_device_needs_to_be_reset(target: Target) -> None:
    """It says so, whoever asks, until it is."""
    target.unbind()
    with target.faults() as faults:
        faults.set("needs_reset", 1)
        assert target.status() & NEEDS_RESET
        faults.clear()
        assert not target.status() & NEEDS_RESET
        target.bind()
        for _ in range(2):
            resets = faults.get("resets")
            with target.says("the device needs to be reset"):
                faults.set("needs_reset", 1)
            target.guest.wait_until(f"test $(cat /sys/module/transport/parameters/resets) -gt {resets}")
            target.guest.wait_until("grep N /sys/module/transport/parameters/needs_reset")
            assert not target.status() & NEEDS_RESET
            time.sleep(1.5)  # a driver may reset a device once a second
        target.works()


def test_a_device_is_gone(target: Target) -> None:
    """While it is, nothing that a driver does reaches it. When it is back, it has been reset."""
    with target.faults() as faults:
        with target.says("the device is gone"):
            faults.set("status_gone", 1)
        assert target.status() == 0xFF
        faults.clear()
        assert target.status() == 0
        target.reset()
        target.works()

        target.unbind()
        faults.set("status_gone", 1)
        assert target.try_to_bind().rc != 0
        assert target.status() == 0xFF
        faults.clear()
        target.bind()
    target.works()


def test_all_ends_with_the_module(target: Target) -> None:
    target.unbind()
    with target.faults(refuse_features=-1, fail_finalize=-1, fail_find_vqs=-1, needs_reset=1, status_gone=1):
        assert target.status() == 0xFF
    assert not target.status() & NEEDS_RESET
    target.bind()
    target.works()


def test_the_module_goes_when_nobody_is_in_it(target: Target) -> None:
    with target.faults(slow_reset_ms=4000):
        before = len(target.guest.dmesg())
        job = target.guest.spawn(f"echo {target.name} >{target.guest.driver.sysfs}/unbind")
        deadline = time.monotonic() + 20
        while "a reset takes" not in target.guest.dmesg()[before:]:
            assert time.monotonic() < deadline, "no reset"
        began = time.monotonic()
    assert time.monotonic() - began > 2
    job.wait(check=True)
    target.bind()
    target.works()


def test_what_makes_no_sense_is_refused(target: Target) -> None:
    module = target.guest.fault_module("transport")
    with target.says('there is no device "virtio99"'):
        assert target.guest.run(f"insmod {module} device=virtio99").rc != 0
    assert target.guest.run(f"insmod {module} device={target.name} find_vqs_errno=0").rc != 0
    with target.faults() as faults, pytest.raises(CommandFailed):
        faults.set("find_vqs_errno", 5000)

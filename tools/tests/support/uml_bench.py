# SPDX-License-Identifier: GPL-2.0
"""Fixtures of the tests under User-Mode Linux, and what these have in common.

variant     "kasan" and "lockdep", one after the other: a kernel can have one of the two
bench       a device and a guest of that kernel, for all tests of a file. The guest's log is checked after
            each test, and there are new ones after a test that failed. SCENARIO of the test file says what
            the device is like. Commands time out after a second, so does each step of recovery, and a
            command that the device has is not waited for longer. After a test that had the device reset,
            the driver is bound anew, as it remembers for which unit that was.

A test file makes them its own: variant, bench_shared, bench = uml_bench.FIXTURES.

UML=ci runs a part of the tests, which is soon over; UML=1 runs all.
"""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from guest import sysfs
from guest.device import Mark, TestDevice
from guest.guest import Handle
from guest.uml import VARIANTS, UmlGuest
from support.boots import folder_of, has_failed

CI = os.environ.get("UML") == "ci"
long = pytest.mark.skipif(CI, reason="is not of the part that UML=ci runs")

PARAMETERS = "recovery_step=1 recovery_patience=1 recovery_failfast=1 recovery_refused=1"
MODULE_PARAMETERS = "/sys/module/virtio_scsi_rs/parameters"
DRIVER = "/sys/bus/virtio/drivers/virtio_scsi_rs"
IO = {"opcode": ["READ_10", "WRITE_10"]}
SCENARIO: dict[str, Any] = {
    # So that looking for units is over soon.
    "device": {"request_queues": 2, "config": {"max_target": 7}},
    "unit": [
        {"target": 0, "lun": 0, "size": "32M", "thin": True},
        {"target": 0, "lun": 1, "size": "16M", "block_size": 4096},
        {"target": 3, "lun": 300, "size": "16M"},
        {"target": 5, "lun": 0, "kind": "cdrom", "size": "4M"},
    ],
}
# What a task waits in that nothing interrupts. Kernel threads idle in another state.
STUCK = r"grep -lE '^[0-9]+ \(.*\) D ' /proc/[0-9]*/stat 2>/dev/null"


def only_in(variant: str, number: int) -> None:
    """With UML=ci each kernel does a part of the cases: skips case `number` of a test in the others."""
    if CI and number % len(VARIANTS) != VARIANTS.index(variant):
        pytest.skip("is done in the other kernel with UML=ci")


@dataclass
class Io:
    """What the programs of Bench.io have done, once they have ended."""

    writes: int = 0
    reads: int = 0
    errors: int = 0
    unread: int = 0
    bad: list[str] = field(default_factory=list)

    def add(self, said: dict[str, Any]) -> None:
        for key, value in said.items():
            setattr(self, key, getattr(self, key) + value)


class Bench:
    """A device and its guest."""

    def __init__(self, device: TestDevice, guest: UmlGuest) -> None:
        self.device = device
        self.guest = guest
        self._jobs = 0
        self._program = guest.share(Path(__file__).parents[2] / "guest/verified-io")
        self.name = guest.out(f"basename {DRIVER}/virtio*")
        self.hurry()

    def hurry(self) -> None:
        """Has commands of all units time out soon. To open a node waits until the partitions of its disk were
        looked for, whose commands are not what a test is about."""
        self.guest.run("for node in /dev/sd?; do : <$node; done", check=True, timeout=20)
        for what in ("timeout", "eh_timeout"):
            self.guest.run(
                f"for t in /sys/bus/scsi/devices/*:*:*/{what}; do echo 1 >$t; done", check=True, timeout=10
            )

    def node(self, target: int = 0, lun: int = 0, kind: str = "block") -> str:
        """The node of a unit; kind "scsi_generic" is its /dev/sg."""
        return sysfs.unit_node(self.guest, target, lun, kind)

    def unbind(self, timeout: float = 30) -> float:
        """Takes the device away from the driver; returns how long it took."""
        return self.guest.run(f"echo {self.name} >{DRIVER}/unbind", timeout, check=True).seconds

    def bind(self, timeout: float = 30) -> None:
        self.guest.run(f"echo {self.name} >{DRIVER}/bind", timeout, check=True)
        self.guest.settle()
        self.hurry()

    @contextmanager
    def parameters(self, **values: int) -> Iterator[None]:
        """The module's parameters have these values within the block."""
        files = [f"{MODULE_PARAMETERS}/{name}" for name in values]
        before = self.guest.out(f"cat {' '.join(files)}").split()
        self.set_parameters(**values)
        try:
            yield
        finally:
            self.set_parameters(**{name: int(value) for name, value in zip(values, before, strict=True)})

    def set_parameters(self, **values: int) -> None:
        """Sets parameters of the module that is loaded."""
        for name, value in values.items():
            self.guest.run(f"echo {value} >{MODULE_PARAMETERS}/{name}", check=True)

    @contextmanager
    def loaded_with(self, recovery_step: int) -> Iterator[None]:
        """The module is loaded anew for the block, with another value of a parameter that is fixed."""
        self._load_again(PARAMETERS.replace("recovery_step=1", f"recovery_step={recovery_step}"))
        yield
        self._load_again(PARAMETERS)

    def _load_again(self, parameters: str) -> None:
        self.guest.unload()
        self.guest.load(parameters=parameters)
        self.hurry()

    def functions(self, mark: Mark) -> list[str]:
        """The functions that the driver has asked for since a mark."""
        return [line["name"] for line in self.device.since(mark, "tmf")]

    def was_reset(self, mark: Mark) -> bool:
        """Whether the queues were built anew since a mark."""
        return {line["queue"] for line in self.device.since(mark, "queue_start")} >= {0, 1, 2}

    def behave(self) -> None:
        """The device does what it should again, and answers what it has kept."""
        self.device("clear_rules")
        self.device("release")

    def is_bound(self) -> bool:
        return self.guest.run(f"test -e {DRIVER}/{self.name}").rc == 0

    def is_given_up(self) -> bool:
        """Whether the driver could not reset the device, and has ended all that it was to do."""
        return sysfs.counters(self.guest)["failed_device_resets"] > 0

    def heal(self, timeout: float = 40) -> None:
        """Waits until the driver has got back all that the device has lost, and has units work again that
        were taken offline, as an administrator would."""

        def lost() -> bool:
            waiting = self.device("waiting")["waiting"]
            if not any(line["what"] != "control" for line in waiting):
                return False
            return self.is_bound() and not self.is_given_up()

        self.device.wait_for(lambda: not lost(), timeout, "the driver does not get back what was lost")
        states = "/sys/bus/scsi/devices/*:*:*:*/state"
        online = f"for s in {states}; do if grep -q offline $s; then echo running >$s; fi; done"
        self.guest.run(online, check=True)

    def renew(self) -> None:
        """Has the driver forget all that it remembers."""
        self.unbind()
        self.bind()

    @contextmanager
    def io(
        self, *units: tuple[int, int], threads: int = 8, blocks: int = 64, seed: int = 0, timeout: float = 60
    ) -> Iterator[Io]:
        """Writes and reads within the block, and verifies after it, when the device behaves again. If the
        block raises, that is what counts."""
        done = Io()
        jobs: list[tuple[str, Handle]] = []
        for target, lun in units or ((0, 0),):
            self._jobs += 1
            stop = f"/tmp/stop-{self._jobs}"
            node = self.node(target, lun)
            jobs.append((stop, self.guest.spawn(f"{self._program} {node} {stop} {threads} {blocks} {seed}")))
        for stop, _ in jobs:
            self.guest.wait_until(f"test -e {stop}.ready", 20)
        yield done
        self.behave()
        self.heal()
        self.guest.run(f"touch {' '.join(stop for stop, _ in jobs)}", check=True)
        for _, job in jobs:
            result = job.wait(timeout)
            assert result.stdout, result.stderr
            done.add(json.loads(result.stdout))
        assert done.bad == [], "data is not what was written"

    def works(self) -> None:
        """Writes and reads succeed, and right."""
        node = self.node()
        # Where Bench.io does not write.
        there, back = (f"bs=64k count=1 {what}=100" for what in ("seek", "skip"))
        self.guest.run(
            "head -c 65536 /dev/urandom >/tmp/works && "
            f"dd if=/tmp/works of={node} oflag=direct {there} && "
            f"dd if={node} iflag=direct {back} | cmp - /tmp/works",
            check=True,
        )

    def nobody_is_stuck(self, timeout: float = 10) -> None:
        self.guest.wait_until(f"! {STUCK}", timeout)


@pytest.fixture(scope="module", params=VARIANTS)
def variant(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@contextmanager
def shared_guest(
    request: pytest.FixtureRequest, device: TestDevice, *, variant: str, **options: Any
) -> Iterator[UmlGuest]:
    """A guest for all tests of a file, for a fixture of it. It is given up if one of them fails."""
    failed = request.session.testsfailed
    # What a guest has said in which a test failed is not to be lost.
    folder = folder_of(request.node) / (f"{variant}-{failed}" if failed else variant)
    with UmlGuest(folder, [device], variant=variant, **options) as guest:
        yield guest
        if request.session.testsfailed > failed:
            guest.give_up()


@pytest.fixture(scope="module")
def bench_shared(
    variant: str,
    serve_shared: Callable[..., TestDevice],
    uml_module: Callable[[str], Path],
    request: pytest.FixtureRequest,
) -> Iterator[Bench]:
    device = serve_shared(getattr(request.module, "SCENARIO", SCENARIO))
    uml_module(variant)
    with shared_guest(request, device, variant=variant, parameters=PARAMETERS) as guest:
        yield Bench(device, guest)


@pytest.fixture
def bench(bench_shared: Bench, request: pytest.FixtureRequest) -> Iterator[Bench]:
    yield bench_shared
    if not has_failed(request.node):
        bench_shared.guest.assert_clean_log()
        if sysfs.counters(bench_shared.guest)["device_resets"]:
            # Partition tables may just be read when their units go.
            with bench_shared.guest.misbehaving():
                bench_shared.renew()


FIXTURES = variant, bench_shared, bench

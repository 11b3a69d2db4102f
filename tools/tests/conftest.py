# SPDX-License-Identifier: GPL-2.0
"""Fixtures of the guest tests.

module          our module, built once a session; every guest fixture leads here
logs            the test's folder build/logs/tests/<test>/ (console, kernel log, QEMU's command line)
scratch         an empty folder for images, gone after the test passed
boot            makes guests: boot([Controller(...)], smp=4, ...) returns one that is up; all of them
                are ended, and their kernel logs checked, when the test ends
kernel          the series under test
boot_shared     the same with module scope, for a guest that several tests use; scratch_shared
                goes with it. Its kernel log is checked after each test.
serve           starts scripted devices; serve_shared goes with boot_shared
uml             makes User-Mode Linux guests with sanitizers: uml("kasan", [device], ...), ended and checked
                when the test ends

DRIVER=virtio_scsi in the environment has all guests run the kernel's own driver; TEST_SECONDS=120 bounds the
time of each test, to which its marker `waits` adds seconds. tools/compare uses both. After a test that
failed, the next one gets new shared guests.
"""

import functools
import itertools
import os
import re
import shutil
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from guest import Guest, paths
from guest.device import TestDevice
from guest.guest import DRIVERS, MODULE
from guest.uml import UmlGuest

# Their kernels take ten minutes each to build: `make test-uml` and `make test-x86` run them.
collect_ignore_glob = [] if os.environ.get("UML") else ["test_uml*.py"]
collect_ignore_glob += [] if paths.SERIES == paths.SANITIZED else ["test_sanitized.py"]

# For tests that have a slot of PCI Express emptied by the port's own driver.
unplugs = pytest.mark.skipif(
    paths.SERIES == paths.SANITIZED, reason="the kernel's pciehp takes its own locks in two orders"
)

LOGS = paths.LOGS / "tests"
OURS = MODULE == "ours"
# Seconds that a test may take; 0: as long as it wants.
TEST_SECONDS = float(os.environ.get("TEST_SECONDS") or 0)
# What needs our module, by the beginning of a test's name, and why.
NEEDS_OURS = {
    "test_libiscsi.py": "runs both drivers by itself",
    "test_lifecycle.py": "is about loading and binding our module",
    "test_parameters.py": "is about our module's parameters",
    "test_sg3_": "names our module, and runs both drivers by itself",
    "test_smoke.py": "names our module",
    "test_events.py::test_unload_and_unbind": "loads our module by its name",
    "test_events.py::test_without_the_feature": "is about our module's messages",
    "test_transport.py::test_a_device_needs_to_be_reset": "is about what the other driver does not look at",
    "test_virtme.py": "installs our module",
}
# Our module's parameters that only set times, so that a test makes sense for a driver without them.
TIMES = re.compile(r"(recovery_(step|patience|failfast|refused)=\d+ ?)*")


def folder_of(node: pytest.Item | pytest.Collector | Any) -> Path:
    """A folder of a test's own, or of a test file's own, named by it."""
    name = re.sub(r"[^A-Za-z0-9_.=-]+", "-", node.nodeid.removeprefix("tools/tests/")).strip("-")
    return LOGS / name


@pytest.fixture(scope="session")
def kernel() -> str:
    return paths.SERIES


@pytest.fixture(scope="session")
def module(kernel: str) -> Path:
    return paths.run_build(kernel)


def _fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


@functools.cache
def _times(node: pytest.Item | pytest.Collector, what: str) -> Iterator[int]:
    return itertools.count(1)


def _again(request: pytest.FixtureRequest, what: str) -> str:
    """What tells the logs apart of guests that a test file got one after the other."""
    count = next(_times(request.node, what))
    return f"-{count}" if count > 1 else ""


@pytest.fixture
def logs(request: pytest.FixtureRequest) -> Path:
    return _fresh(folder_of(request.node))


@pytest.fixture
def scratch(logs: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """Disk images live beside the logs, and stay there if the test fails."""
    folder = logs / "scratch"
    folder.mkdir()
    yield folder
    if not getattr(request.node, "failed", False):
        shutil.rmtree(folder)


class Boots:
    """Makes guests, each with a log folder of its own, and ends them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stack = ExitStack()
        self.guests: list[Guest] = []

    def __call__(self, *args: Any, **options: Any) -> Guest:
        module = options.setdefault("module", MODULE)
        if not OURS and module != "ours":
            parameters = options.pop("parameters", "")
            if not TIMES.fullmatch(parameters):
                pytest.skip(f"is about a parameter of our module: {parameters}")
            # What it says of a device that misbehaves, as the tests allow ours to.
            options["allow"] = [*options.get("allow", ()), rf"{DRIVERS[MODULE].name} virtio\d+: "]
        count = len(self.guests) + 1
        folder = self.folder if count == 1 else self.folder / f"boot-{count}"
        guest = self.stack.enter_context(Guest(folder, *args, **options))
        self.guests.append(guest)
        return guest

    def give_up(self) -> None:
        for guest in self.guests:
            guest.give_up()


@pytest.fixture
def boot(module: Path, logs: Path, request: pytest.FixtureRequest) -> Iterator[Boots]:
    boots = Boots(logs)
    with boots.stack:
        yield boots
        if getattr(request.node, "failed", False):
            boots.give_up()


@pytest.fixture(scope="module")
def boot_shared(module: Path, request: pytest.FixtureRequest) -> Iterator[Boots]:
    folder = folder_of(request.node)
    again = _again(request, "boot")
    boots = Boots(folder / again.strip("-") if again else _fresh(folder))
    failed = request.session.testsfailed
    with boots.stack:
        yield boots
        if request.session.testsfailed > failed:
            boots.give_up()


@pytest.fixture
def serve(logs: Path) -> Iterator[Callable[..., TestDevice]]:
    """Starts scripted devices: serve({"unit": [...]}). To be named before `boot`, for guests to end first."""
    with ExitStack() as stack:
        yield lambda *args, **options: stack.enter_context(TestDevice(logs, *args, **options))


@pytest.fixture(scope="module")
def serve_shared(request: pytest.FixtureRequest) -> Iterator[Callable[..., TestDevice]]:
    """The same for `boot_shared`. The device's log is beside the folder that the guest clears for its own."""
    folder = LOGS / "devices"
    name = folder_of(request.node).name + _again(request, "device")
    with ExitStack() as stack:
        yield lambda *args, **options: stack.enter_context(TestDevice(folder, *args, name=name, **options))


@pytest.fixture(autouse=True)
def _shared_logs_stay_clean(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "boot_shared" in request.fixturenames and not getattr(request.node, "failed", False):
        for guest in request.getfixturevalue("boot_shared").guests:
            guest.assert_clean_log()


@pytest.fixture(scope="module")
def scratch_shared(request: pytest.FixtureRequest) -> Iterator[Path]:
    folder = folder_of(request.node) / "scratch"
    folder.mkdir(parents=True, exist_ok=True)
    failed = request.session.testsfailed
    yield folder
    if request.session.testsfailed == failed:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def uml_module() -> Callable[[str], Path]:
    """Builds our module for a User-Mode Linux kernel, once a session. The kernel has to be there: tests are
    no place to wait ten minutes."""
    os.environ["VSRS_NO_BUILD"] = "1"
    return functools.cache(lambda variant: paths.run_build(f"uml-{variant}"))


@pytest.fixture
def uml(uml_module: Callable[[str], Path], logs: Path) -> Iterator[Callable[..., UmlGuest]]:
    """To be named after `serve`, for guests to end first."""
    with ExitStack() as stack:

        def start(variant: str, devices: Sequence[TestDevice] = (), **options: Any) -> UmlGuest:
            uml_module(variant)
            folder = logs / options.pop("name", variant)
            return stack.enter_context(UmlGuest(folder, devices, variant=variant, **options))

        yield start


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Remembers a failure for the fixtures, and names the logs in its report."""
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        item.failed = True
        folders = [folder for folder in (folder_of(item), folder_of(item.parent)) if folder.exists()]
        report.sections.append(("logs", "\n".join(str(folder) for folder in folders)))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips what makes no sense with the kernel's own driver."""
    for item in items:
        name = item.nodeid.removeprefix("tools/tests/")
        for start, why in NEEDS_OURS.items():
            if not OURS and name.startswith(start):
                item.add_marker(pytest.mark.skip(reason=f"{why} (DRIVER={DRIVERS[MODULE].name})"))


class TooSlow(Exception):
    """A test took longer than TEST_SECONDS."""


@contextmanager
def _bounded(seconds: float) -> Iterator[None]:
    def ring(*_: object) -> None:
        raise TooSlow(f"not done after {seconds:g} s")

    signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    waits = sum(marker.args[0] for marker in item.iter_markers("waits"))
    with _bounded(TEST_SECONDS and TEST_SECONDS + waits):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    """A guest in which a test failed is no good for the next one, nor is its device."""
    failed = True
    try:
        result = yield
        failed = getattr(item, "failed", False)
        return result
    finally:
        if failed:
            # All but the session is torn down, as if a test of another file came next.
            item.session._setupstate.teardown_exact(item.session)  # type: ignore[arg-type]

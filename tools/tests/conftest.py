# SPDX-License-Identifier: GPL-2.0
"""Fixtures of the guest tests.

module          our module, built once a session; every guest fixture leads here
packages        the Debian packages, made once a session: that of the module, and that of the tools
logs            the test's folder build/logs/tests/<test>/ (console, kernel log, QEMU's command line)
scratch         an empty folder for images, gone after the test passed
boot            makes guests: boot([Controller(...)], smp=4, ...) returns one that is up; all of them
                are ended, and their kernel logs checked, when the test ends
kernel          the series under test
boot_shared     the same with module scope, for a guest that several tests use; scratch_shared
                goes with it. Its kernel log is checked after each test.
serve           starts scripted devices; serve_shared goes with boot_shared
boot_system     boots a whole Debian system on a layer of its own, with the packages on a CD-ROM:
                boot_system(UEFI); of the suite `install`
boot_chosen     the same on a layer of a system in which our driver was chosen, for its next boot
uml             makes User-Mode Linux guests with sanitizers: uml("kasan", [device], ...), ended and checked
                when the test ends

DRIVER=virtio_scsi in the environment has all guests run the kernel's own driver; TEST_SECONDS=120 bounds the
time of each test, to which its marker `waits` adds seconds. tools/compare uses both. After a test that
failed, the next one gets new shared guests.
"""

import functools
import itertools
import os
import shutil
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from guest import Controller, Disk, make_iso, paths
from guest.device import TestDevice
from guest.guest import DRIVERS, MODULE
from guest.system import BIOS, Firmware, SystemGuest, layer, system_image
from guest.uml import UmlGuest
from support.boots import FAILED, LOGS, OURS, Boots, folder_of, has_failed
from support.installed import make_packages
from support.root_disk import install_and_choose

# Seconds that a test may take; 0: as long as it wants.
TEST_SECONDS = float(os.environ.get("TEST_SECONDS") or 0)
# Every test is in one of them, and says so by this marker.
SUITES = ("main", "device", "install", "figures")


@pytest.fixture(scope="session")
def kernel() -> str:
    return paths.SERIES


@pytest.fixture(scope="session")
def module(kernel: str) -> Path:
    return paths.run_build(kernel)


@pytest.fixture(scope="session")
def packages(module: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return make_packages(tmp_path_factory.mktemp("packages") / "deb")


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
    if not has_failed(request.node):
        shutil.rmtree(folder)


@pytest.fixture
def boot(module: Path, logs: Path, request: pytest.FixtureRequest) -> Iterator[Boots]:
    boots = Boots(logs)
    with boots.stack:
        yield boots
        if has_failed(request.node):
            boots.give_up()


@pytest.fixture(scope="session")
def cd_of_packages(packages: list[Path]) -> Path:
    return make_iso(packages[0].parent / "packages.iso", {each.name: each.read_bytes() for each in packages})


@pytest.fixture(scope="session")
def chosen_image(cd_of_packages: Path) -> Iterator[Path]:
    """A system in which the packages are installed and our driver is chosen, but not yet booted with."""
    folder = _fresh(LOGS / "chosen-system")
    disks = [layer(system_image(), folder), Disk(1, file=cd_of_packages, cdrom=True)]
    with SystemGuest(folder, [Controller(disks)]) as guest:
        install_and_choose(guest)
        guest.poweroff(600)
    image = folder / "disk.qcow2"
    yield image
    image.unlink()


@contextmanager
def _systems(
    image: Path, cd: Path, logs: Path, scratch: Path, node: pytest.Item
) -> Iterator[Callable[..., SystemGuest]]:
    with ExitStack() as stack:
        guests: list[SystemGuest] = []

        def start(firmware: Firmware = BIOS, **options: Any) -> SystemGuest:
            controller = Controller([layer(image, scratch), Disk(1, file=cd, cdrom=True)])
            guests.append(SystemGuest(logs, [controller], firmware=firmware, **options))
            return stack.enter_context(guests[-1])

        yield start
        if has_failed(node):
            for guest in guests:
                guest.give_up()


@pytest.fixture
def boot_system(
    cd_of_packages: Path, logs: Path, scratch: Path, request: pytest.FixtureRequest
) -> Iterator[Callable[..., SystemGuest]]:
    with _systems(system_image(), cd_of_packages, logs, scratch, request.node) as start:
        yield start


@pytest.fixture
def boot_chosen(
    chosen_image: Path, cd_of_packages: Path, logs: Path, scratch: Path, request: pytest.FixtureRequest
) -> Iterator[Callable[..., SystemGuest]]:
    with _systems(chosen_image, cd_of_packages, logs, scratch, request.node) as start:
        yield start


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
    """The same for `boot_shared`. Logs of devices are beside the folder that the guest clears for its own."""
    folder = LOGS / "devices"
    name = folder_of(request.node).name + _again(request, "device")
    numbers = itertools.count()
    with ExitStack() as stack:

        def start(scenario: dict[str, Any] | None = None) -> TestDevice:
            number = next(numbers)
            own = f"{name}-device-{number}" if number else name
            return stack.enter_context(TestDevice(folder, scenario, name=own))

        yield start


@pytest.fixture(autouse=True)
def _shared_logs_stay_clean(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "boot_shared" in request.fixturenames and not has_failed(request.node):
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
        item.stash[FAILED] = True
        folders = [folder for folder in (folder_of(item), folder_of(item.parent)) if folder.exists()]
        report.sections.append(("logs", "\n".join(str(folder) for folder in folders)))


def _left_out(item: pytest.Item) -> bool:
    """Whether a test needs a kernel that takes ten minutes to build, and that nobody has asked for."""
    if item.get_closest_marker("sanitized"):
        return paths.SERIES != paths.SANITIZED
    return bool(item.get_closest_marker("uml")) and not os.environ.get("UML")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Sees to what the markers say of suites, kernels and drivers; pyproject.toml lists them."""
    for item in items:
        suites = [name for name in SUITES if item.get_closest_marker(name)]
        if len(suites) != 1:
            raise pytest.UsageError(f"{item.nodeid}: its markers name {len(suites)} suites of {SUITES}")
        ours = item.get_closest_marker("ours")
        if ours and not OURS:
            reason = f"{ours.args[0]} (DRIVER={DRIVERS[MODULE].name})"
            item.add_marker(pytest.mark.skip(reason=reason))
    out = [item for item in items if _left_out(item)]
    if out:
        config.hook.pytest_deselected(items=out)
        items[:] = [item for item in items if item not in out]


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
        failed = has_failed(item)
        return result
    finally:
        if failed:
            # All but the session is torn down, as if a test of another file came next.
            item.session._setupstate.teardown_exact(item.session)

# SPDX-License-Identifier: GPL-2.0
"""A guest under User-Mode Linux: a kernel with sanitizers, run as an ordinary program.

    with TestDevice(logs, {"unit": [{}]}) as device, UmlGuest(logs, [device]) as guest:
        guest.run("dd if=/dev/sda of=/dev/null bs=64k count=10", check=True)

Its root file system is the toolbox, read-only. Each device is a virtio_uml one, served by a TestDevice.
There is no PCI, no DMA API and no QEMU.
"""

import os
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from . import paths
from .channel import Channel, ChannelError
from .device import TestDevice
from .guest import DRIVERS, Driver, Guest, GuestError, GuestTimeout, Result

VARIANTS = ("kasan", "lockdep")
# No guest outlives this: a kernel that hangs does not even heed SIGTERM.
LIFE_SECONDS = 7200
# It is a process of this machine, with no emulator between: one that says nothing for so long hangs.
ANSWER_SECONDS = 10
COMMAND_SECONDS = 30
# The terminal between the agent and the host holds 4096 bytes; what is longer goes through a file.
LINE = 2000
# Several processors need the seccomp way of running programs; it is the faster one, too.
COMMAND_LINE = (
    "rootfstype=hostfs rootflags=/ ro panic=-1 oops=panic console=tty0 con=null con0=null,fd:1 "
    "printk.time=1 kasan_multi_shot"
)

# What a device that misbehaves may not bring about either.
REPORT = re.compile(
    r"WARNING:|\bBUG\b|\bOops\b|KASAN|ODEBUG|Call Trace|list_(add|del) |blocked for more than|"
    r"panicked|Kernel panic|refcount_t|rcu_\w+ (self-)?detected|soft lockup|fault at|general protection"
)

# What these kernels say of themselves.
STOCK = (
    r"Kernel command line:",
    r"^<\d+>\[[ 0-9.]+\] \.\.\. ",  # lockdep's statistics of itself
)


def kernel(variant: str) -> Path:
    """The folder of a kernel that tools/uml-kernel has built."""
    resolved = paths.CACHE / "uml" / f"{variant}.resolved"
    if not resolved.exists():
        raise SystemExit(f"there is no kernel yet: run tools/uml-kernel {variant} first")
    return Path(resolved.read_text().splitlines()[-1])


def module_file(variant: str, driver: Driver = DRIVERS["ours"]) -> Path:
    """Our module as tools/build-module uml-VARIANT left it, or the kernel's own."""
    if driver == DRIVERS["ours"]:
        return paths.our_module(f"uml-{variant}")
    return kernel(variant) / f"tree/drivers/scsi/{driver.name}.ko"


class UmlChannel(Channel):
    """The guest agent, which answers at once or not at all."""

    seconds: float = ANSWER_SECONDS

    def __call__(
        self, command: str, arguments: dict[str, Any] | None = None, timeout: float | None = None
    ) -> Any:
        return super().__call__(command, arguments, timeout or self.seconds)


class UmlMachine:
    """The process."""

    def __init__(
        self,
        variant: str,
        log_dir: Path,
        share: Path,
        devices: Sequence[TestDevice],
        memory: int,
        cpus: int,
        append: str,
    ) -> None:
        self.console = log_dir / "console.log"
        self.log = self.console
        self._folder = Path(tempfile.mkdtemp(prefix="uml-"))
        ours, theirs = socket.socketpair()
        self.stream = ours
        command = [str(kernel(variant) / "linux"), *COMMAND_LINE.split()]
        command += [f"mem={memory}M", f"ncpus={cpus}", f"ssl0=fd:{theirs.fileno()}"]
        command += [f"uml_dir={self._folder}/", f"init={paths.TOOLS / 'guest/uml-init'}"]
        command += [f"vsrs.share={share}", *append.split()]
        command += [f"virtio_uml.device={device.socket}:8" for device in devices]
        (log_dir / "uml.cmd").write_text("\n".join(command) + "\n")
        self.began = time.monotonic()
        with open(self.console, "wb") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[theirs.fileno()],
                env={**os.environ, "TMPDIR": "/dev/shm"},
            )
        theirs.close()
        self._life = threading.Timer(LIFE_SECONDS, self.process.kill)
        self._life.daemon = True
        self._life.start()
        self.agent = UmlChannel(ours, "guest agent", greeting=False)

    def alive(self) -> bool:
        return self.process.poll() is None

    def end(self) -> None:
        """Kills it at once; the processes that its programs are made of end with it."""
        self._life.cancel()
        self.process.kill()
        self.process.wait()
        self.agent.close()
        shutil.rmtree(self._folder, ignore_errors=True)


class UmlGuest(Guest):
    """A User-Mode Linux guest with our driver; a context manager that boots and ends it.

    `module` is "ours", "c" or None. With lockdep, the log is clean only if lockdep is still at work.
    """

    POWEROFF = "busybox poweroff -f"

    machine: UmlMachine

    def __init__(
        self,
        log_dir: Path,
        devices: Sequence[TestDevice] = (),
        *,
        variant: str = "kasan",
        module: str | None = "ours",
        parameters: str = "",
        cpus: int = 1,
        memory: int = 384,
        append: str = "",
        allow: Iterable[str] = (),
        boot_timeout: float = 60,
    ) -> None:
        super().__init__(
            log_dir,
            series=f"uml-{variant}",
            module=module,
            parameters=parameters,
            allow=[*STOCK, *allow],
            boot_timeout=boot_timeout,
        )
        self.variant = variant
        self.devices = list(devices)
        self._share = Path(self._temporary.name)
        self._pushed = 0
        self._said = ""
        self.machine = UmlMachine(variant, log_dir, self._share, devices, memory, cpus, append)
        self.agent = self.machine.agent

    def _boot(self) -> None:
        try:
            self._wait_for_console()
            self.agent.connect()
            self.agent("guest-ping")
            self._took_commands()
        except ChannelError as error:
            raise self.failure(GuestError, str(error)) from None
        if self.variant == "lockdep":
            self.assert_lockdep_works()

    def _wait_for_console(self) -> None:
        """What comes before this line is the terminal's echo and start-up noise."""
        stream = self.machine.stream
        stream.settimeout(0.5)
        deadline = time.monotonic() + self._boot_timeout
        said = b""
        while not said.endswith(b"agent starts\n"):
            try:
                said += (part := stream.recv(1))
            except TimeoutError:
                part = b"-"
            if not part or not self.machine.alive():
                raise self.failure(GuestError, "the guest ended before it took commands")
            if time.monotonic() > deadline:
                raise self.failure(GuestTimeout, f"the guest took no commands in {self._boot_timeout:g} s")
        stream.settimeout(None)

    def _module_file(self, driver: Driver) -> str:
        return self.share(module_file(self.variant, driver))

    def _units(self) -> int:
        return sum(len(device.scenario.get("unit", [])) for device in self.devices)

    def settle(self, timeout: float = 30) -> None:
        super().settle(timeout)

    def share_module(self) -> str:
        """The file of the driver that was chosen, as the guest sees it."""
        return self._module_file(self.driver)

    def share(self, file: Path) -> str:
        """A file of the host, as the guest sees it. The clone itself may be hidden by what it mounts."""
        shutil.copy(file, self._share)
        return f"/run/host/{file.name}"

    def push(self, path: str, data: bytes) -> None:
        self._pushed += 1
        name = f"push-{self._pushed}"
        (self._share / name).write_bytes(data)
        self.run(f"mkdir -p $(dirname {path}) && cp /run/host/{name} {path}", check=True)
        (self._share / name).unlink()

    def pull(self, path: str) -> bytes:
        self.run(f"cp {path} /run/host/pulled", check=True)
        return (self._share / "pulled").read_bytes()

    def run(
        self, command: str, timeout: float = COMMAND_SECONDS, check: bool = False, stdin: bytes = b""
    ) -> Result:
        if len(command) > LINE:
            self._pushed += 1
            (script := self._share / f"run-{self._pushed}").write_text(command)
            command = f". /run/host/{script.name}"
        return super().run(command, timeout, check, stdin)

    def dmesg(self) -> str:
        """The kernel log. Taken piece by piece, as a guest that lives long may log more than is kept."""
        self._said += self.run("busybox dmesg -r -c", check=True).stdout
        return self._said

    def fault_module(self, name: str) -> str:
        return self.share(paths.fault_module(name, self.series))

    def insert_fault(self, name: str) -> Result:
        """Plants one of the faults of tools/faults/planted.c."""
        return self.run(f"insmod {self.fault_module('planted')} fault={name} && rmmod planted")

    def fail_allocations(
        self, command: str, undo: str, first: int = 1, step: int = 1, timeout: float = 400
    ) -> list[int]:
        """Runs a command with its allocations failing in turn, as guest/fail-nth says; the errno of each run.
        The last one had no failure."""
        script = self.share(paths.TOOLS / "guest/fail-nth")
        said = self.out(f"{script} '{command}' '{undo}' {first} {step}", timeout)
        return [int(code) for code in said.split()]

    def short_of_memory(self, command: str, after: int, times: int) -> int:
        """Runs a command, so many of whose allocations fail after the first bytes. Returns its errno."""
        script = self.share(paths.TOOLS / "guest/fail-nth")
        return int(self.out(f"{script} '{command}' true {after} x{times}"))

    def assert_lockdep_works(self) -> None:
        stats = self.out("cat /proc/lockdep_stats")
        if not any(line.split() == ["debug_locks:", "1"] for line in stats.splitlines()):
            raise self.failure(GuestError, "lockdep has switched itself off")

    def leaks(self) -> str:
        """What kmemleak finds that it did not find before; it looks twice, as it asks for some age."""
        scan = "echo scan >/sys/kernel/debug/kmemleak"
        return self.out(f"{scan}; sleep 6; {scan}; cat /sys/kernel/debug/kmemleak", timeout=180)

    @contextmanager
    def misbehaving(self, *also: str) -> Iterator[None]:
        """Within the block the log may have any message but the reports of sanitizers, and these patterns."""
        with self.allowing(rf"^(?!.*({REPORT.pattern}))", *also):
            yield

    def assert_clean_log(self, allow: Iterable[str] = ()) -> None:
        super().assert_clean_log(allow)
        if self.variant == "lockdep":
            self.assert_lockdep_works()

    def poweroff(self, timeout: float = 30) -> None:
        super().poweroff(timeout)

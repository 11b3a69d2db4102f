# SPDX-License-Identifier: GPL-2.0
"""The methods of every guest whose agent takes commands; QemuGuest and UmlGuest inherit them."""

import base64
import os
import shlex
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

from . import initramfs, logcheck, paths
from .channel import Channel, ChannelError
from .disks import Disk

OUR_MODULE = "/lib/ours/virtio_scsi_rs.ko"
CHUNK = 1 << 20


@dataclass(frozen=True)
class Driver:
    """A driver as the guest knows it."""

    name: str
    path: str

    @property
    def sysfs(self) -> str:
        """Its folder, with `bind` and `unbind`."""
        return f"/sys/bus/virtio/drivers/{self.name}"


DRIVERS = {
    "ours": Driver("virtio_scsi_rs", OUR_MODULE),
    "c": Driver(initramfs.C_DRIVER, initramfs.C_DRIVER_PATH),
}


def chosen() -> str:
    """Whose driver guests get if nobody says otherwise: DRIVER=virtio_scsi asks for the kernel's own."""
    name = os.environ.get("DRIVER") or DRIVERS["ours"].name
    for module, driver in DRIVERS.items():
        if driver.name == name:
            return module
    known = " or ".join(driver.name for driver in DRIVERS.values())
    raise SystemExit(f"DRIVER={name}: it can be {known}")


MODULE = chosen()


class GuestError(Exception):
    """The guest, or QEMU, is not as it should be."""


class GuestTimeout(GuestError):
    """The guest did not do something in time."""


class CommandFailed(GuestError):
    """A command in the guest ended with another code than 0."""


@dataclass(frozen=True)
class Result:
    """What a command in the guest left."""

    command: str
    rc: int
    stdout: str
    stderr: str
    seconds: float


class Handle:
    """A command that runs in the guest."""

    def __init__(self, guest: "Guest", command: str, pid: int) -> None:
        self._guest = guest
        self.command = command
        self.pid = pid
        self._began = time.monotonic()
        self._status: dict[str, Any] | None = None

    def done(self) -> bool:
        if self._status is None:
            try:
                status = self._guest.agent("guest-exec-status", {"pid": self.pid})
            except ChannelError as error:
                raise self._guest.failure(GuestError, f"{error} (for: {self.command})") from None
            if status["exited"]:
                self._status = status
        return self._status is not None

    def wait(self, timeout: float = 60, check: bool = False) -> Result:
        """Its result; GuestTimeout, and the command is killed, if it takes longer."""
        deadline = time.monotonic() + timeout
        pause = 0.01
        while not self.done():
            if time.monotonic() > deadline:
                self.kill()
                raise self._guest.failure(GuestTimeout, f"still running after {timeout:g} s: {self.command}")
            time.sleep(pause)
            pause = min(pause * 1.5, 0.25)
        assert self._status is not None
        # A signal's number counts as the shell counts it.
        rc = self._status["exitcode"] if "exitcode" in self._status else 128 + self._status.get("signal", 0)
        out, err = (self._output(key) for key in ("out-data", "err-data"))
        result = Result(self.command, rc, out, err, time.monotonic() - self._began)
        if check and rc != 0:
            said = f"{out[-4000:]}\n{err[-4000:]}".strip()
            raise self._guest.failure(CommandFailed, f"code {rc} from: {self.command}\n{said}")
        return result

    def _output(self, key: str) -> str:
        assert self._status is not None
        return base64.b64decode(self._status.get(key, "")).decode(errors="replace")

    def kill(self) -> None:
        """Kills the command and what it started."""
        try:
            kill = {"path": "/usr/bin/kill", "arg": ["-9", "--", f"-{self.pid}"]}
            self._guest.agent("guest-exec", kill, timeout=5)
        except ChannelError:
            pass  # the failure that is being reported says more


class Machine(Protocol):
    """The process that a guest runs in."""

    console: Path
    # What the process itself prints; where it ends if it could not start.
    log: Path
    process: subprocess.Popen[bytes]
    # When it was started, by time.monotonic().
    began: float

    def alive(self) -> bool: ...

    def end(self) -> None: ...


class Guest:
    """A guest with a SCSI driver; a context manager that boots and ends it.

    `module` is "ours", "c" (the kernel's own driver) or None. At the end of the block the kernel log has to
    be clean, apart from lines that match a pattern of `allow`.

    An heir makes the machine, and says how the guest boots, how a driver is loaded, and how many logical
    units have device nodes then.
    """

    driver = DRIVERS[MODULE]
    # How the guest switches itself off.
    POWEROFF = "sync; poweroff -f"

    machine: Machine
    agent: Channel

    def __init__(
        self,
        log_dir: Path,
        *,
        series: str,
        module: str | None,
        parameters: str,
        allow: Iterable[str],
        boot_timeout: float,
    ) -> None:
        if module not in (*DRIVERS, None):
            raise ValueError(f"module is {module!r}; it can be {', '.join(map(repr, DRIVERS))} or None")
        self.driver = DRIVERS[module or MODULE]
        self.log_dir = log_dir
        self.series = series
        self.module = module
        self.parameters = parameters
        self.allow = list(allow)
        # Seconds from the machine's start to the first command.
        self.boot_seconds = 0.0
        self._boot_timeout = boot_timeout
        # How many lines of the log were checked.
        self._checked = 0
        self._log_ended = False
        log_dir.mkdir(parents=True, exist_ok=True)
        self._temporary = tempfile.TemporaryDirectory(prefix="guest-")

    # Life

    def start(self) -> Self:
        """Boots; returns when the guest takes commands and its driver, if any, is loaded."""
        try:
            self._boot()
            if self.module:
                self.load(self.module, self.parameters)
        except BaseException:
            self.end()
            raise
        return self

    def _boot(self) -> None:
        """Waits until the agent takes commands."""
        raise NotImplementedError

    def _took_commands(self) -> None:
        """The agent has answered for the first time."""
        self.boot_seconds = time.monotonic() - self.machine.began

    def load(self, module: str = "", parameters: str = "") -> Result:
        """Loads the guest's driver, our module or the kernel's own, and waits until the disks were looked
        for."""
        driver = DRIVERS[module] if module else self.driver
        result = self.run(f"insmod {self._module_file(driver)} {parameters}".strip(), check=True)
        self.settle()
        return result

    def _module_file(self, driver: Driver) -> str:
        """The file of a driver, as the guest sees it."""
        return driver.path

    def unload(self, module: str = "") -> Result:
        driver = DRIVERS[module] if module else self.driver
        return self.run(f"rmmod {driver.name}", check=True)

    def _units(self) -> int:
        """How many logical units the guest should have found."""
        raise NotImplementedError

    def settle(self, timeout: float = 60) -> None:
        """Waits until every logical unit has its device node: the kernel scans on its own time."""
        seen = "ls -d /sys/bus/scsi/devices/*:*/block/* 2>/dev/null"
        self.wait_until(f'test "$({seen} | wc -l)" -ge {self._units()} || {{ {seen}; false; }}', timeout)

    def poweroff(self, timeout: float = 60) -> None:
        """The guest switches itself off, through the driver's shutdown; its log is checked before."""
        self.assert_clean_log()
        self._log_ended = True
        self.spawn(self.POWEROFF)
        try:
            self.machine.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise self.failure(GuestTimeout, f"the guest is not off after {timeout:g} s") from None
        logcheck.assert_clean(self.console_log, self.allow, str(self.machine.console))

    def agent_may_be_lost(self) -> None:
        """From here on the guest may take no commands; its log is not checked at the end."""
        self._log_ended = True

    def give_up(self) -> None:
        """A test failed: the log is kept, and not checked, as what is wrong is known already."""
        if not self._log_ended:
            self._save_log()
        self._log_ended = True

    def end(self) -> None:
        """Ends the machine, whatever the guest does."""
        self.machine.end()
        self._temporary.cleanup()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        try:
            if kind is None and not self._log_ended:
                self.assert_clean_log()
        finally:
            if kind is not None:
                self._save_log()
            self.end()

    # Commands

    def spawn(self, command: str, stdin: bytes = b"") -> Handle:
        """Starts a bash command; several can run at once."""
        arguments: dict[str, Any] = {
            "path": "/usr/bin/setsid",
            "arg": ["/bin/bash", "-c", command],
            "capture-output": True,
        }
        if stdin:
            arguments["input-data"] = base64.b64encode(stdin).decode()
        try:
            pid = self.agent("guest-exec", arguments)["pid"]
        except ChannelError as error:
            raise self.failure(GuestError, f"{error} (for: {command})") from None
        return Handle(self, command, pid)

    def run(self, command: str, timeout: float = 60, check: bool = False, stdin: bytes = b"") -> Result:
        """Runs a bash command to its end."""
        return self.spawn(command, stdin).wait(timeout, check)

    def out(self, command: str, timeout: float = 60) -> str:
        """What a command prints; it must succeed."""
        return self.run(command, timeout, check=True).stdout.strip()

    def push(self, path: str, data: bytes) -> None:
        """Writes a file in the guest."""
        self.run(f"mkdir -p {shlex.quote(str(Path(path).parent))}", check=True)
        handle = self.agent("guest-file-open", {"path": path, "mode": "w"})
        for start in range(0, len(data), CHUNK):
            chunk = base64.b64encode(data[start : start + CHUNK]).decode()
            self.agent("guest-file-write", {"handle": handle, "buf-b64": chunk})
        self.agent("guest-file-close", {"handle": handle})

    def pull(self, path: str) -> bytes:
        """Reads a file of the guest."""
        handle = self.agent("guest-file-open", {"path": path, "mode": "r"})
        parts = []
        while True:
            part = self.agent("guest-file-read", {"handle": handle, "count": CHUNK})
            parts.append(base64.b64decode(part["buf-b64"]))
            if part["eof"]:
                break
        self.agent("guest-file-close", {"handle": handle})
        return b"".join(parts)

    def wait_until(self, command: str, timeout: float = 30) -> Result:
        """Runs a command until it succeeds."""
        deadline = time.monotonic() + timeout
        while (result := self.run(command)).rc != 0:
            if time.monotonic() > deadline:
                said = f"{result.stdout}{result.stderr}".strip()
                raise self.failure(GuestTimeout, f"not true after {timeout:g} s: {command}\n{said}")
            time.sleep(0.2)
        return result

    # Devices

    def fault_module(self, name: str) -> str:
        """Gives the guest a module of tools/faults; returns where it is there."""
        path = f"/tmp/{name}.ko"
        self.push(path, paths.fault_module(name, self.series).read_bytes())
        return path

    def host(self, controller: str = "scsi0") -> int:
        """The kernel's number for the controller, which is the only one."""
        return self._hosts()[0]

    def _hosts(self) -> list[int]:
        """The numbers of the SCSI hosts, in the order of their devices on the virtio bus."""
        names = self.out("ls -d /sys/bus/virtio/devices/virtio*/host* | sort -V").splitlines()
        return [int(name.rpartition("/host")[2]) for name in names]

    def address(self, disk: Disk) -> str:
        """A disk's host:channel:target:lun, as the kernel and lsscsi print it."""
        return f"{self.host(disk.bus)}:0:{disk.target}:{disk.shown_lun}"

    def node(self, disk: Disk, kind: str = "block") -> str:
        """A disk's node in /dev; kind "scsi_generic" is its /dev/sg."""
        return f"/dev/{self.out(f'ls /sys/bus/scsi/devices/{self.address(disk)}/{kind}')}"

    # The log

    @property
    def console_log(self) -> str:
        return self.machine.console.read_text(errors="replace") if self.machine.console.exists() else ""

    def dmesg(self) -> str:
        """The kernel log, each line with its priority."""
        return self.run("dmesg -r", check=True).stdout

    def assert_clean_log(self, allow: Iterable[str] = ()) -> None:
        """LogNotClean if the kernel log has a line of level err or worse, or that tells of trouble.

        Each call looks at what was logged since the one before.
        """
        log = self._save_log()
        if log is None:
            raise self.failure(GuestError, "the kernel log could not be read")
        lines = log.splitlines()
        since, self._checked = self._checked, len(lines)
        where = str(self.log_dir / "dmesg.log")
        logcheck.assert_clean("\n".join(lines[since:]), [*self.allow, *allow], where)

    @contextmanager
    def allowing(self, *patterns: str) -> Iterator[None]:
        """What is logged within the block may also match these patterns."""
        self.assert_clean_log()
        yield
        self.assert_clean_log(patterns)

    def _save_log(self) -> str | None:
        try:
            log = self.dmesg()
        except (GuestError, ChannelError):
            return None
        (self.log_dir / "dmesg.log").write_text(log)
        return log

    def failure(self, kind: type[GuestError], message: str) -> GuestError:
        """An error with what the machine and the console said last, and where the rest is."""
        tail = "\n".join(f"    {line}" for line in self.console_log.splitlines()[-25:])
        text = f"{message}\n  end of the console log ({self.machine.console}):\n{tail}"
        if not self.machine.alive():
            said = self.machine.log.read_text(errors="replace").strip()[-2000:]
            text += f"\n  the machine ended with code {self.machine.process.returncode}: {said}"
        return kind(text)

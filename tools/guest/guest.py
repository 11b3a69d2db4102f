# SPDX-License-Identifier: GPL-2.0
"""The guest as a test sees it."""

import base64
import functools
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import initramfs, logcheck, paths
from .channel import ChannelError, Events
from .disks import Controller, Disk
from .machine import Machine

OUR_MODULE = "/lib/ours/virtio_scsi_rs.ko"
CHUNK = 1 << 20
# KASAN takes the fifth level of pages, which the processor has, for wild memory; and the firmware lets only
# a larger kernel have the ports of PCI Express.
FOR_SANITIZED = "no5lvl pcie_ports=native"
# QEMU leaves the slots of PCI Express to the ports' own driver, and to no other. With it a device can go
# unannounced.
NATIVE_HOTPLUG = ("-global", "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off")


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
# A processor runs into the breakpoint of a kernel that patches its own code, after that has been taken out
# again: a known, rare fault of QEMU's emulation, long before a driver of ours is loaded.
EMULATION_FAULT = "Oops: int3"


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


class Guest:
    """A booted guest with a SCSI driver; a context manager that ends it.

        with Guest(log_dir, controllers=[Controller([Disk()])]) as guest:
            guest.run("sg_inq /dev/sg0", check=True)

    `module` is "ours", "c" (the kernel's own driver) or None. At the end of the block the kernel log has to
    be clean, apart from lines that match a pattern of `allow`.
    """

    driver = DRIVERS[MODULE]

    def __init__(
        self,
        log_dir: Path,
        controllers: Sequence[Controller] = (),
        *,
        kernel: str = paths.SERIES,
        module: str | None = MODULE,
        parameters: str = "",
        smp: int = 2,
        memory: int = 1024,
        devices: Sequence[dict[str, Any]] = (),
        append: str = "",
        machine: str = "q35",
        args: Sequence[str] = (),
        files: Mapping[str, bytes | Path] | None = None,
        allow: Iterable[str] = (),
        boot_timeout: float = 180,
        interactive: bool = False,
    ) -> None:
        if module not in ("ours", "c", None):
            raise ValueError(f"module is {module!r}; it can be 'ours', 'c' or None")
        self.driver = DRIVERS[module or MODULE]
        self.log_dir = log_dir
        self.series = kernel
        self.module = module
        self.parameters = parameters
        self.allow = list(allow)
        self.controllers = list(controllers)
        self.disks = [disk for controller in self.controllers for disk in controller.disks]
        self._boot_timeout = boot_timeout
        self._checked = 0
        self._log_ended = False
        log_dir.mkdir(parents=True, exist_ok=True)
        kernel_files = paths.Kernel.prepared(kernel)
        self._temporary = tempfile.TemporaryDirectory(prefix="guest-")
        initrd = self._initrd(kernel_files, kernel, dict(files or {}))
        self._make_machine = functools.partial(
            Machine,
            kernel_files,
            initrd,
            log_dir,
            smp=smp,
            memory=memory,
            controllers=self.controllers,
            devices=devices,
            append=f"{append} {FOR_SANITIZED}" if kernel == paths.SANITIZED else append,
            machine=machine,
            args=[*args, *NATIVE_HOTPLUG] if kernel == paths.SANITIZED else args,
            interactive=interactive,
        )
        self._new_machine()

    def _new_machine(self) -> None:
        self.machine = self._make_machine()
        self.qmp = self.machine.qmp
        self.agent = self.machine.agent

    def _initrd(self, kernel: paths.Kernel, series: str, files: dict[str, bytes | Path]) -> Path:
        base = initramfs.base_image(kernel)
        if paths.our_module(series).exists():
            files[OUR_MODULE] = paths.our_module(series)
        folder = Path(self._temporary.name)
        extra, whole = folder / "extra.cpio", folder / "initrd"
        initramfs.pack_extra(files, extra)
        with open(whole, "wb") as out:
            for part in (base, extra):
                with open(part, "rb") as source:
                    shutil.copyfileobj(source, out, CHUNK)
        return whole

    # Life

    def start(self) -> "Guest":
        """Boots; returns when the guest takes commands and its driver, if any, is loaded."""
        try:
            for tries_left in (2, 1, 0):
                try:
                    self._boot()
                    break
                except GuestError:
                    if not tries_left or EMULATION_FAULT not in self.console_log:
                        raise
                    self._boot_again()
            if self.module:
                self.load(self.module, self.parameters)
        except BaseException:
            self.end()
            raise
        return self

    def _boot(self) -> None:
        try:
            self.machine.connect()
            with self.qmp.listen("VSERPORT_CHANGE") as events:
                self.qmp("cont")
                self._wait_for_agent(events)
        except ChannelError as error:
            raise self.failure(GuestError, str(error)) from None

    def _boot_again(self) -> None:
        self.machine.end()
        self.machine.console.rename(self.machine.console.with_suffix(f".{time.monotonic_ns()}.log"))
        print("note: the emulation tripped over a kernel that patches itself; booting again", file=sys.stderr)
        self._new_machine()

    def interact(self) -> int:
        """Boots with the console on this terminal, until the guest switches itself off."""
        try:
            self.machine.connect()
            self.qmp("cont")
            return self.machine.process.wait()
        finally:
            self.end()

    def _wait_for_agent(self, events: Events) -> None:
        deadline = time.monotonic() + self._boot_timeout
        while True:
            try:
                events.wait(1, lambda event: event["data"]["open"])
                break
            except ChannelError:
                if not self.machine.alive():
                    raise self.failure(GuestError, "the guest ended before it took commands") from None
                if time.monotonic() > deadline:
                    raise self.failure(
                        GuestTimeout, f"the guest took no commands in {self._boot_timeout:g} s"
                    ) from None
        if not self.agent.connected:
            self.agent.connect()
        self.agent("guest-ping")
        self.boot_seconds = time.monotonic() - self.machine.began

    @contextmanager
    def boots_again(self) -> Iterator[None]:
        """Within the block the guest starts another kernel; after it, that one takes commands, and has no
        driver loaded."""
        self.assert_clean_log()
        with self.qmp.listen("VSERPORT_CHANGE") as events:
            yield
            self._wait_for_agent(events)
        self._checked = 0

    def load(self, module: str = "", parameters: str = "") -> Result:
        """Loads the guest's driver, our module or the kernel's own, and waits until the disks were looked
        for."""
        driver = DRIVERS[module] if module else self.driver
        result = self.run(f"insmod {driver.path} {parameters}".strip(), check=True)
        self.settle()
        return result

    def unload(self, module: str = "") -> Result:
        driver = DRIVERS[module] if module else self.driver
        return self.run(f"rmmod {driver.name}", check=True)

    def settle(self, timeout: float = 60) -> None:
        """Waits until every disk that is plugged in has its device node: the kernel scans on its own time."""
        seen = "ls -d /sys/bus/scsi/devices/*:*/block/* 2>/dev/null"
        self.wait_until(f'test "$({seen} | wc -l)" -ge {len(self.disks)} || {{ {seen}; false; }}', timeout)

    def poweroff(self, timeout: float = 60) -> None:
        """The guest switches itself off, through the driver's shutdown; its log is checked before."""
        self.assert_clean_log()
        self._log_ended = True
        self.spawn("sync; poweroff -f")
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
        """Ends QEMU, whatever the guest does."""
        self.machine.end()
        self._temporary.cleanup()

    def __enter__(self) -> "Guest":
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

    def add_disk(self, disk: Disk) -> Disk:
        """Plugs a disk in."""
        self.qmp("blockdev-add", disk.blockdev_options())
        self.qmp("device_add", disk.device_options())
        self.disks.append(disk)
        return disk

    def remove_disk(self, disk: Disk) -> None:
        """Pulls a disk out; its image stays."""
        with self.qmp.listen("DEVICE_DELETED") as events:
            self.qmp("device_del", {"id": disk.id})
            events.wait(30, lambda event: event["data"].get("device") == disk.id)
        self.qmp("blockdev-del", {"node-name": disk.node})
        self.disks.remove(disk)

    def fault_module(self, name: str) -> str:
        """Gives the guest a module of tools/faults; returns where it is there."""
        path = f"/tmp/{name}.ko"
        self.push(path, paths.fault_module(name, self.series).read_bytes())
        return path

    def host(self, controller: str = "scsi0") -> int:
        """The kernel's number for a controller, or for that of the only scripted device."""
        names = self.out("ls -d /sys/bus/virtio/devices/virtio*/host* | sort -V").splitlines()
        if not self.controllers:
            return int(names[0].rpartition("/host")[2])
        index = [each.id for each in self.controllers].index(controller)
        return int(names[index].rpartition("/host")[2])

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
        """An error with what QEMU and the console said last, and where the rest is."""
        tail = "\n".join(f"    {line}" for line in self.console_log.splitlines()[-25:])
        text = f"{message}\n  end of the console log ({self.machine.console}):\n{tail}"
        if not self.machine.alive():
            said = self.machine.log.read_text(errors="replace").strip()[-2000:]
            text += f"\n  QEMU ended with code {self.machine.process.returncode}: {said}"
        return kind(text)

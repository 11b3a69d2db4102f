# SPDX-License-Identifier: GPL-2.0
"""QEMU's command line and process."""

import fcntl
import functools
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import paths
from .channel import Channel, ChannelError
from .disks import Controller

KVM_CREATE_VM = 0xAE01

# Stable module addresses, a panic ends the run, and room for a long log. An oops is the end of every test, so
# it is made a panic.
COMMAND_LINE = "panic=-1 oops=panic nokaslr log_buf_len=4M printk.time=1 mitigations=off audit=0"


@dataclass(frozen=True)
class Platform:
    """What depends on the processor that the guest is for."""

    emulator: str
    machine: str
    append: str


# No clock noise of emulation in the log: on a busy host a timer is late.
AMD64 = Platform("qemu-system-x86_64", "q35", "console=ttyS0 tsc=nowatchdog no_timer_check")
ARM64 = Platform("qemu-system-aarch64", "virt,gic-version=3", "console=ttyAMA0")


@functools.cache
def kvm_serves() -> bool:
    """Whether /dev/kvm can run a guest; having the file is not enough."""
    if not Path("/dev/kvm").exists():
        return False
    flags = Path("/proc/cpuinfo").read_text().split()
    why = "the processor shows neither vmx nor svm"
    if "vmx" in flags or "svm" in flags:
        try:
            with open("/dev/kvm", "r+b", buffering=0) as kvm:
                os.close(fcntl.ioctl(kvm, KVM_CREATE_VM, 0))
            return True
        except OSError as error:
            why = str(error)
    print(f"note: /dev/kvm cannot serve ({why}); QEMU emulates the processor", file=sys.stderr)
    return False


def clock_of_microvm(kvm: bool) -> str:
    """A microvm has nothing to measure the processor's clock against but a slow timer, which is too late on
    a busy machine, and the guest then stands still. Emulation passes the host's clock through."""
    rate = re.search(r"cpu MHz\s*:\s*(\d+)", Path("/proc/cpuinfo").read_text())
    return f"tsc_early_khz={rate[1]}000" if rate and not kvm else ""


def _json(option: str, value: dict[str, Any]) -> list[str]:
    return [option, json.dumps(value)]


class QemuProcess:
    """A QEMU process, from its start to its end, and the connections that control it."""

    def __init__(
        self,
        log_dir: Path,
        options: Sequence[str],
        *,
        emulator: str = AMD64.emulator,
        console: bool = False,
        interactive: bool = False,
    ) -> None:
        """`options` may use the character devices `agent` and, with `console`, `console`."""
        self.log = log_dir / "qemu.log"
        self.console = log_dir / "console.log"
        names = ["qmp", "agent", *(["console"] if console else [])]
        ours, theirs = zip(*(socket.socketpair() for _ in names), strict=True)
        command = [emulator, "-nodefaults", "-display", "none", "-S"]
        for name, end in zip(names, theirs, strict=True):
            log = f",logfile={self.console}" if name == "console" else ""
            command += ["-chardev", f"socket,id={name},fd={end.fileno()}{log}"]
        command += ["-object", "monitor-qmp,id=monitor0,chardev=qmp", *options]
        (log_dir / "qemu.cmd").write_text("\n".join(command) + "\n")
        self.began = time.monotonic()
        with open(self.log, "wb") as log_file:
            self.process = subprocess.Popen(
                command,
                stdin=None if interactive else subprocess.DEVNULL,
                stdout=None if interactive else log_file,
                stderr=None if interactive else log_file,
                pass_fds=[end.fileno() for end in theirs],
            )
        for end in theirs:
            end.close()
        self.sockets = dict(zip(names, ours, strict=True))
        self.qmp = Channel(self.sockets["qmp"], "QMP")
        self.agent = Channel(self.sockets["agent"], "guest agent", greeting=False)

    def connect(self) -> None:
        self.qmp.connect()

    def alive(self) -> bool:
        return self.process.poll() is None

    def end(self, timeout: float = 10) -> None:
        """Ends QEMU, politely if it listens."""
        if self.alive():
            try:
                self.qmp("quit", timeout=3)
                self.process.wait(timeout)
            except (ChannelError, subprocess.TimeoutExpired):
                self.process.kill()
        self.process.wait()
        self.qmp.close()
        self.agent.close()


def processor(kvm: bool) -> list[str]:
    return ["-machine", f"accel={'kvm' if kvm else 'tcg'}", "-cpu", "host" if kvm else "max"]


def agent_port(suffix: str) -> list[str]:
    """What the guest agent talks through."""
    port = {"driver": "virtserialport", "chardev": "agent", "name": "org.qemu.guest_agent.0", "id": "agent0"}
    return [
        *_json("-device", {"driver": f"virtio-serial-{suffix}", "id": "serial0"}),
        *_json("-device", port),
    ]


def storage(controllers: Sequence[Controller], machine: str) -> list[str]:
    options = []
    for controller in controllers:
        options += _json("-device", controller.device_options(machine))
        for disk in controller.disks:
            options += _json("-blockdev", disk.blockdev_options())
            options += _json("-device", disk.device_options())
    return options


class QemuMachine(QemuProcess):
    """A machine that a kernel is given to."""

    def __init__(
        self,
        kernel: paths.Kernel,
        initrd: Path,
        log_dir: Path,
        *,
        smp: int,
        memory: int,
        controllers: Sequence[Controller],
        devices: Sequence[dict[str, Any]],
        append: str,
        machine: str,
        args: Sequence[str],
        interactive: bool,
    ) -> None:
        platform = ARM64 if kernel.arm64 else AMD64
        machine = machine or platform.machine
        kvm = not kernel.arm64 and kvm_serves()
        kind = "microvm,rtc=on" if machine == "microvm" else machine
        suffix = "device" if machine == "microvm" else "pci"
        options = ["-no-reboot", "-machine", kind, *processor(kvm)]
        options += ["-smp", str(smp), "-m", str(memory)]
        options += ["-kernel", str(kernel.image), "-initrd", str(initrd)]
        clock = clock_of_microvm(kvm) if machine == "microvm" else ""
        options += ["-append", f"{platform.append} {COMMAND_LINE} {clock} {append}".strip()]
        console = log_dir / "console.log"
        if interactive:
            options += ["-chardev", f"stdio,id=console,mux=on,signal=off,logfile={console}"]
            options += ["-object", "monitor-hmp,id=monitor1,chardev=console"]
        else:
            options += ["-chardev", f"file,id=console,path={console}"]
        options += ["-serial", "chardev:console", *agent_port(suffix)]
        for device in devices:
            options += _json("-device", device)
        options += [*storage(controllers, machine), *args]
        super().__init__(log_dir, options, emulator=platform.emulator, interactive=interactive)

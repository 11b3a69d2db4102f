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
from pathlib import Path
from typing import Any

from . import paths
from .channel import Channel, ChannelError
from .disks import Controller

KVM_CREATE_VM = 0xAE01

# Stable module addresses, no clock noise of emulation in the log (on a busy host a timer is late), a panic
# ends the run, and room for a long log. An oops is the end of every test, so it is made a panic.
COMMAND_LINE = (
    "console=ttyS0 panic=-1 oops=panic nokaslr tsc=nowatchdog no_timer_check log_buf_len=4M "
    "printk.time=1 mitigations=off audit=0"
)


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


class QemuMachine:
    """A QEMU process, from its start to its end, and the connection that controls it."""

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
        self.log = log_dir / "qemu.log"
        self.console = log_dir / "console.log"
        kvm = kvm_serves()
        kind = "microvm,rtc=on" if machine == "microvm" else machine
        suffix = "device" if machine == "microvm" else "pci"
        command = ["qemu-system-x86_64", "-nodefaults", "-display", "none", "-no-reboot", "-S"]
        command += ["-machine", f"{kind},accel={'kvm' if kvm else 'tcg'}", "-cpu", "host" if kvm else "max"]
        command += ["-smp", str(smp), "-m", str(memory)]
        command += ["-kernel", str(kernel.image), "-initrd", str(initrd)]
        clock = clock_of_microvm(kvm) if machine == "microvm" else ""
        command += ["-append", f"{COMMAND_LINE} {clock} {append}".strip()]
        ours, theirs = zip(*(socket.socketpair() for _ in range(2)), strict=True)
        for name, end in zip(("qmp", "agent"), theirs, strict=True):
            command += ["-chardev", f"socket,id={name},fd={end.fileno()}"]
        command += ["-object", "monitor-qmp,id=monitor0,chardev=qmp"]
        if interactive:
            command += ["-chardev", f"stdio,id=console,mux=on,signal=off,logfile={self.console}"]
            command += ["-object", "monitor-hmp,id=monitor1,chardev=console"]
        else:
            command += ["-chardev", f"file,id=console,path={self.console}"]
        command += ["-serial", "chardev:console"]
        command += _json("-device", {"driver": f"virtio-serial-{suffix}", "id": "serial0"})
        port = {"driver": "virtserialport", "chardev": "agent", "name": "org.qemu.guest_agent.0"}
        command += _json("-device", {**port, "id": "agent0"})
        for device in devices:
            command += _json("-device", device)
        for controller in controllers:
            command += _json("-device", controller.device_options(machine))
            for disk in controller.disks:
                command += _json("-blockdev", disk.blockdev_options())
                command += _json("-device", disk.device_options())
        command += args
        (log_dir / "qemu.cmd").write_text("\n".join(command) + "\n")
        self.began = time.monotonic()
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                command,
                stdin=None if interactive else subprocess.DEVNULL,
                stdout=None if interactive else log,
                stderr=None if interactive else log,
                pass_fds=[end.fileno() for end in theirs],
            )
        for end in theirs:
            end.close()
        self.qmp = Channel(ours[0], "QMP")
        self.agent = Channel(ours[1], "guest agent", greeting=False)

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

# SPDX-License-Identifier: GPL-2.0
"""A whole Debian system on a disk of its own, from the firmware on: tools/root-system makes it."""

import itertools
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from . import paths
from .channel import ChannelError, Events
from .console import Console, ConsoleTimeout
from .disks import Controller, Disk
from .guest import Guest, GuestError, GuestTimeout
from .machine import QemuProcess, agent_port, kvm_serves, processor, storage

OVMF = Path("/usr/share/OVMF")
VARIABLES = "variables.fd"
PASSWORD = "root"
# Owns the keys that are put into a machine from outside; any number will do.
OWNER = "3f1d0a52-7c5b-4b0e-9a43-6a3d0f2c8e17"
# Keys of GRUB's editor.
NEXT_LINE, END_OF_LINE, BOOT = "\x0e", "\x05", "\x18"
# virtio_console hands the agent nothing more from the host after hibernation, also if the agent is restarted.
BIND_AGENT_AGAIN = """\
systemctl stop qemu-guest-agent
for each in /sys/bus/virtio/drivers/virtio_console/virtio*; do
    echo ${each##*/} >${each%/*}/unbind
    echo ${each##*/} >${each%/*}/bind
done
systemctl start qemu-guest-agent"""


@dataclass(frozen=True)
class Firmware:
    """SeaBIOS, or files of OVMF: its code, and the variables that a new machine has."""

    name: str
    code: str = ""
    variables: str = ""
    # With Secure Boot only the firmware itself may write its variables, in System Management Mode.
    secure: bool = False

    def options(self, folder: Path) -> list[str]:
        """QEMU's options; what the firmware writes stays in the folder."""
        if not self.code:
            return []
        variables = shutil.copy(OVMF / self.variables, folder / VARIABLES)
        options = []
        for file, access in ((OVMF / self.code, "readonly=on"), (variables, "readonly=off")):
            options += ["-drive", f"if=pflash,format=raw,{access},file={file}"]
        if self.secure:
            options += ["-machine", "smm=on", "-global", "driver=cfi.pflash01,property=secure,value=on"]
        return options


BIOS = Firmware("bios")
UEFI = Firmware("uefi", "OVMF_CODE_4M.fd", "OVMF_VARS_4M.fd")
# Its variables have Microsoft's keys, with one of which Debian's shim is signed.
SECURE_BOOT = Firmware("secure-boot", "OVMF_CODE_4M.secboot.fd", "OVMF_VARS_4M.ms.fd", secure=True)


def system_image(series: str = paths.SERIES) -> Path:
    """The system as tools/root-system made it, which it has to have done."""
    command = [paths.TOOLS / "root-system", series]
    return Path(subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip())


def layer(image: Path, folder: Path) -> Disk:
    """A disk with a system on it, whose changes go to the file `disk.qcow2` in the folder."""
    file = folder / "disk.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", image, file], check=True)
    return Disk(blockdev={"driver": "qcow2", "file": {"driver": "file", "filename": str(file)}})


class SystemGuest(Guest):
    """A system that boots as it does on its own; a context manager that boots and ends it."""

    POWEROFF = "systemctl poweroff"

    def __init__(
        self,
        log_dir: Path,
        controllers: Sequence[Controller],
        *,
        firmware: Firmware = BIOS,
        smp: int = 2,
        memory: int = 1024,
        allow: Iterable[str] = (),
        boot_timeout: float = 600,
    ) -> None:
        super().__init__(
            log_dir, series=paths.SERIES, module=None, parameters="", allow=allow, boot_timeout=boot_timeout
        )
        self.disks = [disk for controller in controllers for disk in controller.disks]
        self._options = ["-machine", "q35", *firmware.options(log_dir), *processor(kvm_serves())]
        self._options += ["-smp", str(smp), "-m", str(memory), "-serial", "chardev:console"]
        self._options += [*agent_port("pci"), *storage(controllers, "q35")]
        self._machines = itertools.count(1)
        self._new_machine()

    def _new_machine(self) -> None:
        self.machine = QemuProcess(self.log_dir, self._options, console=True)
        self.console = Console(self.machine.sockets["console"])
        self.qmp = self.machine.qmp
        self.agent = self.machine.agent

    def _units(self) -> int:
        return len(self.disks)

    # Life

    def _boot(self) -> None:
        self.machine.connect()
        with self.boots_again(check=False):
            self.qmp("cont")

    def hibernate(self) -> None:
        """The system writes its memory to its disk and switches the machine off; another one, of the same
        kind, goes on with it."""
        self.assert_clean_log()
        self._switched_off("systemctl hibernate")
        self._new_machine()
        self.machine.connect()
        began = time.monotonic()
        with self.qmp.listen("VSERPORT_CHANGE") as events:
            self.qmp("cont")
            if self.wait_for("hibernation exit|login: ", self._boot_timeout).startswith("login"):
                raise self.failure(GuestError, "the system did not go on, but was started anew")
            self._took(time.monotonic() - began)
            self.console.type(f"{BIND_AGENT_AGAIN}\n")
            events.wait(120, lambda event: not event["data"]["open"])
            self._answers(events, 120)

    def power_cycle(self, meanwhile: Callable[[], None]) -> None:
        """Switches the system off and on; `meanwhile` is called while it is off."""
        self.assert_clean_log()
        self._switched_off(self.POWEROFF)
        meanwhile()
        self._new_machine()
        self._boot()

    def _switched_off(self, command: str) -> None:
        """Returns when the machine has ended by this command."""
        self.spawn(command)
        try:
            self.machine.process.wait(self._boot_timeout)
        except subprocess.TimeoutExpired:
            raise self.failure(GuestTimeout, f"still on after: {command}") from None
        self.machine.end()
        number = next(self._machines)
        for log in (self.machine.console, self.machine.log):
            log.rename(log.with_stem(f"{log.stem}-{number}"))

    def enrol(self, certificate: Path) -> None:
        """For `power_cycle`: the owner of the machine trusts a certificate (PEM), as MokManager has it."""
        command = ["virt-fw-vars", "--inplace", self.log_dir / VARIABLES, "--add-mok", OWNER, certificate]
        subprocess.run(command, check=True, capture_output=True)

    @contextmanager
    def boots_again(self, check: bool = True) -> Iterator[None]:
        """Within the block the system is started anew; after it, root is logged in on the console, and the
        agent takes commands."""
        if check:
            self.assert_clean_log()
        began = time.monotonic()
        with self.qmp.listen("VSERPORT_CHANGE") as events:
            yield
            self._log_in()
            self._took(time.monotonic() - began)
            self._answers(events, 120)
        self._checked = 0

    def _took(self, seconds: float) -> None:
        """Keeps how long it was from the start, or from the wish for another, to the login."""
        self.boot_seconds = seconds
        with open(self.log_dir / "boots.log", "a") as log:
            log.write(f"{seconds:.0f} s\n")

    def reboot(self, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Reboots; `meanwhile` may type at the boot menu."""
        with self.boots_again():
            self.spawn("systemctl reboot")
            meanwhile()

    def _answers(self, events: Events, timeout: float) -> None:
        """Waits for the agent."""
        try:
            events.wait(timeout, lambda event: event["data"]["open"])
            if not self.agent.connected:
                self.agent.connect()
            self.agent("guest-ping")
        except ChannelError as error:
            raise self.failure(GuestTimeout, str(error)) from None

    def _log_in(self) -> None:
        self.wait_for("login: ", self._boot_timeout)
        self.console.type("root\n")
        self.wait_for("Password: ")
        self.console.type(f"{PASSWORD}\n")
        self.wait_for("root@system:~# ")

    def wait_for(self, pattern: str, timeout: float = 60) -> str:
        """Waits until the console shows it."""
        try:
            return self.console.wait_for(pattern, timeout, self.machine.alive)[0]
        except ConsoleTimeout as error:
            raise self.failure(GuestError, str(error)) from None

    # The boot menu

    def edits_entry(self, words: str) -> Callable[[], None]:
        """For `reboot`: adds words to the kernel's command line, as a person does it in the menu."""
        menu = self.out("cat /boot/grub/grub.cfg")
        entry = menu[menu.index("\nmenuentry ") + 1 :].splitlines()
        # A line of its own is before the first.
        down = next(number for number, line in enumerate(entry, 1) if line.lstrip().startswith("linux"))

        def edit() -> None:
            self.wait_for("GNU GRUB", self._boot_timeout)
            self.console.type("e")
            self.wait_for("setparams")
            self.console.type(f"{NEXT_LINE * down}{END_OF_LINE} {words}{BOOT}")

        return edit

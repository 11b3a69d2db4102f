# SPDX-License-Identifier: GPL-2.0
"""A guest in QEMU, with Debian's stock kernel: its disks and devices can be plugged, stopped and traced."""

import functools
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from . import initramfs, paths
from .channel import ChannelError, Events
from .disks import Controller, Disk
from .guest import CHUNK, MODULE, OUR_MODULE, Guest, GuestError, GuestTimeout
from .machine import QemuMachine

# With our driver the kernel has nothing to warn of, whatever the device does: guests that do not trust their
# host are run like this. (What lockdep and the log check find is no warning in this sense.)
NO_WARNING = "panic_on_warn=1"
# KASAN takes the fifth level of pages, which the processor has, for wild memory; and the firmware lets only
# a larger kernel have the ports of PCI Express.
FOR_SANITIZED = "no5lvl pcie_ports=native"
# QEMU leaves the slots of PCI Express to the ports' own driver, and to no other. With it a device can go
# unannounced.
NATIVE_HOTPLUG = ("-global", "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off")
# A processor runs into the breakpoint of a kernel that patches its own code, after that has been taken out
# again: a known, rare fault of QEMU's emulation, long before a driver of ours is loaded.
EMULATION_FAULT = "Oops: int3"


class QemuGuest(Guest):
    """A guest in QEMU; a context manager that boots and ends it. `machine` is QEMU's name of another machine
    than q35, or virt for arm64.

    with QemuGuest(log_dir, controllers=[Controller([Disk()])]) as guest:
        guest.run("sg_inq /dev/sg0", check=True)
    """

    machine: QemuMachine

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
        machine: str = "",
        args: Sequence[str] = (),
        files: Mapping[str, bytes | Path] | None = None,
        allow: Iterable[str] = (),
        boot_timeout: float = 180,
        interactive: bool = False,
    ) -> None:
        super().__init__(
            log_dir,
            series=kernel,
            module=module,
            parameters=parameters,
            allow=allow,
            boot_timeout=boot_timeout,
        )
        self.controllers = list(controllers)
        self.disks = [disk for controller in self.controllers for disk in controller.disks]
        kernel_files = paths.Kernel.prepared(kernel)
        options = [append]
        if module == "ours":
            options.append(NO_WARNING)
        if kernel == paths.SANITIZED:
            options.append(FOR_SANITIZED)
        initrd = self._initrd(kernel_files, dict(files or {}))
        self._make_machine = functools.partial(
            QemuMachine,
            kernel_files,
            initrd,
            log_dir,
            smp=smp,
            memory=memory,
            controllers=self.controllers,
            devices=devices,
            append=" ".join(options),
            machine=machine,
            args=[*args, *NATIVE_HOTPLUG] if kernel == paths.SANITIZED else args,
            interactive=interactive,
        )
        self._new_machine()

    def _new_machine(self) -> None:
        self.machine = self._make_machine()
        self.qmp = self.machine.qmp
        self.agent = self.machine.agent

    def _initrd(self, kernel: paths.Kernel, files: dict[str, bytes | Path]) -> Path:
        base = initramfs.base_image(kernel)
        if paths.our_module(self.series).exists():
            files[OUR_MODULE] = paths.our_module(self.series)
        folder = Path(self._temporary.name)
        extra, whole = folder / "extra.cpio", folder / "initrd"
        initramfs.pack_extra(files, extra)
        with open(whole, "wb") as out:
            for part in (base, extra):
                with open(part, "rb") as source:
                    shutil.copyfileobj(source, out, CHUNK)
        return whole

    # Life

    def _boot(self) -> None:
        for tries_left in (2, 1, 0):
            try:
                self._boot_once()
                break
            except GuestError:
                if not tries_left or EMULATION_FAULT not in self.console_log:
                    raise
                self._restart()

    def _boot_once(self) -> None:
        try:
            self.machine.connect()
            with self.qmp.listen("VSERPORT_CHANGE") as events:
                self.qmp("cont")
                self._wait_for_agent(events)
        except ChannelError as error:
            raise self.failure(GuestError, str(error)) from None

    def _restart(self) -> None:
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
        self._took_commands()

    @contextmanager
    def boots_again(self) -> Iterator[None]:
        """Within the block the guest starts another kernel; after it, that one takes commands, and has no
        driver loaded."""
        self.assert_clean_log()
        with self.qmp.listen("VSERPORT_CHANGE") as events:
            yield
            self._wait_for_agent(events)
        self._checked = 0

    # Devices

    def _units(self) -> int:
        """A scripted device's units are none of the disks that QEMU has."""
        return len(self.disks)

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

    def host(self, controller: str = "scsi0") -> int:
        """The kernel's number for a controller, or for that of the only scripted device."""
        names = [each.id for each in self.controllers]
        return self._hosts()[names.index(controller) if names else 0]

# SPDX-License-Identifier: GPL-2.0
"""The device and the guest, in which rounds are played."""

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from guest import paths
from guest.device import DeviceError, TestDevice
from guest.disks import shown_lun
from guest.guest import MODULE, Handle
from guest.uml import REPORT, UmlGuest
from support.uml_bench import PARAMETERS

from .draw import DISKS, QUEUES, UNITS, USUAL, Round, Step

# Of the first device of the command line.
TRANSPORT = "/sys/bus/platform/drivers/virtio-uml"
PLATFORM_DEVICE = "virtio-uml.0"
SCENARIO = {"device": {"request_queues": QUEUES, "config": USUAL}, "unit": UNITS}
HAMMER = paths.BUILD / "campaign-hammer"
# Seconds. Whatever the device did: a command waits for some steps of recovery, several times at worst.
PATIENCE = 60
# Where User-Mode Linux has its memory, and what it allocates of it.
ADDRESSES = 0x6000_0000, 0x9000_0000
HUNG_SECONDS = 30
# A probe that finds a device that lies.
PROBE_SECONDS = 10
COUNTED = ("answers_ruled", "waits", "events_ordered", "offers", "starts", "answers")


def _build_hammer() -> Path:
    """The program that reads and writes, anew only if its source changed."""
    source = Path(__file__).with_name("hammer.c")
    if not HAMMER.exists() or HAMMER.stat().st_mtime < source.stat().st_mtime:
        HAMMER.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", HAMMER, source], check=True)
    return HAMMER


class Rig:
    """A device and a guest; a context manager that boots and ends them. With `leaks` kmemleak is at work,
    which makes all much slower. On a machine that is busy all may take `slack` times as long."""

    def __init__(
        self, folder: Path, variant: str, logs: bool = False, leaks: bool = False, slack: float = 1
    ) -> None:
        self.leaks = leaks
        self.slack = slack
        self.patience = PATIENCE * slack
        self.folder = folder
        self.variant = variant
        self.device = TestDevice(folder, SCENARIO, logs=logs)
        # What the device has counted in lives that are over.
        self._before = dict.fromkeys(COUNTED, 0)
        self.over = False
        self.binds = 0
        self._jobs: list[Handle] = []
        self._stops = 0
        # Of the last round's reads: those that succeeded, and those of them whose memory nobody had written.
        self.reads = self.unread = 0
        self.device.start()
        try:
            self.guest = UmlGuest(
                folder,
                [self.device],
                variant=variant,
                module=MODULE,
                parameters=PARAMETERS if MODULE == "ours" else "",
                # A device that has caused one report goes on to cause them by the thousand.
                append=f"kasan.fault=panic{' kmemleak=on' if leaks else ''}",
                allow=[rf"^(?!.*({REPORT.pattern}))"],
            )
        except BaseException:
            self.device.end()
            raise

    def __enter__(self) -> Self:
        try:
            self.guest.start()
            # What hangs is to be seen within a round.
            hung = int(HUNG_SECONDS * self.slack)
            self.guest.run(f"echo {hung} >/proc/sys/kernel/hung_task_timeout_secs", check=True)
            self.guest.machine.agent.seconds *= self.slack
            self._hammer = self.guest.share(_build_hammer())
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self.guest.end()
        self.device.end()

    # Counts

    def counts(self) -> dict[str, int]:
        now = self._now()
        return {name: self._before[name] + now[name] for name in COUNTED}

    def shows_an_address(self) -> bool:
        """Whether the tag of the last command is an address of the guest's memory."""
        tag: int = self.device("stats")["stats"]["last_tag"]
        return ADDRESSES[0] <= tag < ADDRESSES[1]

    def _now(self) -> dict[str, int]:
        stats = self.device("stats")["stats"]
        return {name: stats[name] for name in COUNTED}

    # What happens to the device and its driver

    def connect(self, features: list[str]) -> None:
        """The driver finds the device anew, with these features, and nothing else is odd."""
        self.device("offers", offers=[{"features": features, "config": USUAL}])
        name = PLATFORM_DEVICE
        self.guest.run(f"echo {name} >{TRANSPORT}/unbind; echo {name} >{TRANSPORT}/bind", self.patience)
        self.guest.settle()
        self.hurry()

    def hurry(self) -> None:
        """Has commands time out after a second, once partitions were looked for."""
        self.guest.run("for node in /dev/sd?; do : <$node; done", timeout=self.patience)
        every = "/sys/bus/scsi/devices/*:*:*:*"
        self.guest.run(
            f"for t in {every}/timeout {every}/eh_timeout; do echo 1 >$t; done 2>/dev/null", self.patience
        )

    def bind_again(self, what: str) -> None:
        """Takes the driver away from the device, or out of the kernel, and puts it back."""
        driver = self.guest.driver
        self.binds += 1
        bind = "for d in /sys/bus/virtio/devices/virtio*; do echo ${d##*/} >bind; done"
        if what == "module":
            # It is in use for as long as a node is open.
            load = f"insmod {self.guest.share_module()} {self.guest.parameters}"
            tries = f"for i in 1 2 3 4 5 6 7 8; do rmmod {driver.name} && {load} && exit || sleep 0.1; done"
            bind = f"{tries}; {bind}"
        self.guest.run(
            f"cd {driver.sysfs}; for d in virtio*; do test -e $d && echo $d >unbind; done; {bind}",
            self.patience,
        )

    def node(self, target: int, lun: int, kind: str = "block") -> str:
        """The node of a unit, or one that does not exist if there is none."""
        listed = f"ls /sys/bus/scsi/devices/*:0:{target}:{shown_lun(lun)}/{kind} 2>/dev/null"
        name = self.guest.run(listed, self.patience).stdout.split()
        return f"/dev/{name[-1] if name else 'none'}"

    # I/O

    @contextmanager
    def io(self, depth: int) -> Iterator[None]:
        """Reads and writes within the block, which may fail, and whose units may go."""
        self._stops += 1
        stop = f"/tmp/stop-{self._stops}"
        folders = " ".join(
            f"'/sys/bus/scsi/devices/*:0:{target}:{shown_lun(lun)}/block'" for target, lun in DISKS
        )
        hammer = depth and self.guest.spawn(f"{self._hammer} {stop} {depth} {self._stops} {folders}")
        try:
            yield
        finally:
            self.behave()
        self.guest.run(f"touch {stop}", self.patience)
        for job in self._jobs:
            job.kill()
        for job in self._jobs:
            job.wait(self.patience)
        self._jobs.clear()
        self.reads = self.unread = 0
        if hammer:
            said = hammer.wait(self.patience, check=True).stdout.split()
            self.reads, self.unread = (int(word) for word in said)

    def behave(self) -> None:
        """The device does what it should again, answers what it has kept, and has the units that it had."""
        device = self.device
        for order in ("clear_rules", "end_events", "release"):
            device(order)
        device("offers", offers=[])
        device("set_config", config=USUAL, notify=False)
        for queue in range(QUEUES + 2):
            device("ignore_kicks", queue=queue, count=0)
            device("queue", queue=queue, run=True)
        device("eventq", consume=True)
        for unit in ({"target": t, "lun": lun} for t in (6, 7) for lun in (0, 1, 2, 300)):
            self._order("remove_unit", **unit)
        for unit in UNITS:
            self._order("add_unit", unit=unit)
        self._order("resize", target=3, lun=300, blocks=(16 << 20) // 512)

    def _order(self, order: str, **fields: Any) -> None:
        """An order that may make no sense now: no driver is there, or no such unit."""
        try:
            self.device(order, **fields)
        except DeviceError:
            if self.device.process is None or self.device.process.poll() is not None:
                raise

    # Rounds

    def play(self, round_: Round) -> None:
        """Plays a round; when it ends, the device behaves, and nothing is checked yet."""
        (self.folder / "round.json").write_text(json.dumps(round_.data(), indent=1))
        self.connect(round_.features)
        with self.io(round_.depth):
            for step in round_.steps:
                self.step(step)
                if self.over:
                    return

    def step(self, step: Step) -> None:
        if "rule" in step:
            self.device("add_rule", rule=step["rule"], first=True)
        elif "order" in step:
            self._order(step["order"], **step["fields"])
        elif "pause" in step:
            time.sleep(step["pause"])
        elif "run" in step:
            self._run(step["run"], *step["unit"])
        elif "probes" in step:
            self._probe(step["probes"], step["wait"])
        elif "resets" in step:
            generic = self.node(0, 0, "scsi_generic")
            command = f"for i in $(seq {step['resets']}); do sg_reset -H -N {generic}; done"
            self.guest.run(command, self.patience * 2)
        elif "bind" in step:
            self.bind_again(step["bind"])
        else:
            self._die(step["death"])

    def _run(self, command: str, target: int, lun: int) -> None:
        unit, generic = self.node(target, lun), self.node(target, lun, "scsi_generic")
        host = "/sys/class/scsi_host/host*"
        filled = command.replace("{unit}", unit).replace("{generic}", generic).replace("{host}", host)
        self._jobs.append(self.guest.spawn(f"{{ {filled}; }} >/dev/null 2>&1"))

    def _probe(self, offers: list[dict[str, Any]], wait: float) -> None:
        self.device("offers", offers=offers)
        name = PLATFORM_DEVICE
        cycle = f"echo {name} >{TRANSPORT}/unbind; echo {name} >{TRANSPORT}/bind"
        if wait:
            cycle += f"; sleep {wait}"
        loop = f"for i in $(seq {len(offers)}); do {cycle}; done 2>/dev/null"
        self.guest.run(loop, PROBE_SECONDS * self.slack * len(offers))

    def _die(self, how: str) -> None:
        """The device is gone for good: virtio_uml has no way to find it again."""
        self.over = True
        if how == "disconnect":
            self.device("disconnect")
            return
        for name, count in self._now().items():
            self._before[name] += count
        self.device.crash()
        self.device.start_again()

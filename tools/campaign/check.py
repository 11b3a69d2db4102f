# SPDX-License-Identifier: GPL-2.0
"""What has to be true after a round, when the device behaves again: without a reboot the driver works, has
nothing left over from the round, and the kernel's log has no report and not too many lines."""

import re
import time
from collections.abc import Iterable
from pathlib import Path

from guest import sysfs
from guest.device import DeviceError
from guest.disks import shown_lun
from guest.guest import MODULE, GuestError
from guest.uml import REPORT
from support.known_lines import OUR_DRIVER
from support.uml_bench import STUCK

from .draw import UNITS, Round, claims_data
from .rig import Rig

# The units, as sysfs names them after the host's number.
ADDRESSES = {f"0:{unit['target']}:{shown_lun(unit['lun'])}" for unit in UNITS}
# Seconds until all is well again.
SOON = 40
# The driver may log so many lines in a round of a device that lies, for each five seconds and each probe.
LINES, LINES_SECONDS, LINES_PROBE = 20, 5, 12


# Reports of the kernel about itself, from their first line on. scsi_report_lun_scan() believes any length of
# the list of LUNs, and asks the allocator for so much. sd believes what a page of INQUIRY data says of atomic
# writes, and the block layer warns of limits that make no sense. User-Mode Linux flushes what it translates
# without a lock when the memory of asynchronous I/O goes, which has nothing to do with SCSI.
KNOWN = (
    r"WARNING: mm/page_alloc.c:.*__scsi_scan_target",
    r"WARNING: block/blk-settings.c:.*blk_validate_limits.*sd_revalidate_disk",
    r"WARNING: suspicious RCU usage.*Workqueue: events free_ioctx.*flush_tlb_mm",
)
# virtio_uml warns of a connection that has ended.
GONE = (r"WARNING: arch/um/drivers/virtio_uml.c:",)
# What the reports begin with that tell of lost commands.
LOST = ("queue: ", "in flight: ", "counters: ")
# What a finding begins with, before a colon.
KINDS = ("panic", "warning", "hang", "lost", "wrong data", "address", "leak", "log", "device")


# The C driver's warning of a length of sense data ends no guest, or nothing else would be seen of it.
OF_C = r"WARNING: drivers/scsi/virtio_scsi.c:\d+ at virtscsi_complete_cmd"


class Finding(Exception):
    """Something is wrong, and it is the driver's fault or the campaign's."""

    def __init__(self, kind: str, what: str) -> None:
        assert kind in KINDS
        super().__init__(f"{kind}: {what}")


class Checks:
    """Looks at the state of a rig."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.guest = rig.guest
        self.log_lines = 0
        # How often the driver had to be bound anew because the kernel had believed what a device said.
        self.renewed = 0
        # Reports of faults that are the kernel's own.
        self.known = 0
        # Reads that succeeded where a response tells of one that has not, those of them that had read
        # nothing, and rounds after which a tag was an address.
        self.reads = self.unread = self.addresses = 0
        # Warnings of the C driver that end no guest.
        self.warnings = 0
        self._place = 0
        self._works_program = rig.guest.share(Path(__file__).with_name("works"))

    def after(self, round_: Round, began: float) -> None:
        """Finding if anything is wrong after a round."""
        name = round_.name
        if self.rig.over:
            self._gone()
        else:
            self._works(name)
        probes = sum(len(step.get("probes", [])) + ("bind" in step) for step in round_.steps)
        self.log(name, time.monotonic() - began, probes)
        self._secrets(round_)

    def _secrets(self, round_: Round) -> None:
        """What nobody is to see: memory that nobody has written, and addresses. The C driver shows both all
        the time, which is counted."""
        unread = 0
        if not claims_data(round_):
            self.reads += self.rig.reads
            unread = self.rig.unread
        self.unread += unread
        if unread and MODULE == "ours":
            raise Finding("wrong data", f"{unread} of {self.rig.reads} reads succeeded that had read nothing")
        shows = not self.rig.over and self.rig.shows_an_address()
        self.addresses += shows
        if shows and MODULE == "ours":
            raise Finding("address", "a tag is one")

    def log(self, name: str, seconds: float, probes: int) -> None:
        """What was logged since the last time."""
        self.guest.run("busybox dmesg -r -c >/tmp/log", self.rig.patience, check=True)
        log = self.guest.pull("/tmp/log").decode(errors="replace")
        with open(self.rig.folder / "kernel.log", "a") as file:
            file.write(f"--- {name}\n{log}")
        known = (*KNOWN, *(GONE if self.rig.over else ()))
        if MODULE != "ours":
            warnings = len(re.findall(OF_C, log))
            self.warnings += warnings
            self.known -= warnings
            known = (*known, OF_C)
        bad, others = _reports(log, known)
        self.known += others
        if bad:
            raise Finding("warning", "the kernel reports: " + " | ".join(bad[:5]))
        if self.rig.variant == "lockdep":
            self.guest.assert_lockdep_works()
        ours = [line for line in log.splitlines() if re.search(OUR_DRIVER, line)]
        self.log_lines += len(ours)
        most = LINES * (1 + seconds / LINES_SECONDS) + LINES_PROBE * (1 + probes)
        if MODULE == "ours" and len(ours) > most:
            raise Finding(
                "log", f"the driver has logged {len(ours)} lines, more than {most:g}, in {seconds:.0f} s"
            )

    def _gone(self) -> None:
        """The device is gone for good: nothing waits for it, and nothing of it is left."""
        self._until(f"! ls -d {self.guest.driver.sysfs}/virtio*", "the device is still bound")
        self._until("! ls -d /sys/class/scsi_host/host*", "the SCSI host is still there")
        self.nobody_is_stuck()
        self._until(f"rmmod {self.guest.driver.name}", "the module cannot be removed")

    def nobody_is_stuck(self) -> None:
        self._until(f"! {STUCK}", "a task is stuck")

    def _until(self, command: str, otherwise: str) -> None:
        try:
            self.guest.wait_until(command, SOON * self.rig.slack)
        except GuestError as error:
            # With KASAN the kernel reports itself if it reads the stack of another task.
            stack = "" if self.rig.variant == "kasan" else "$p/stack"
            stacks = (
                f"for p in /proc/[0-9]*; do grep -q ' D ' $p/stat && cat $p/comm {stack}; done 2>/dev/null"
            )
            said = self.guest.run(f"{stacks}; cat /sys/kernel/debug/virtio_scsi_rs/*/*").stdout
            (self.rig.folder / "state.log").write_text(f"{said}\n{error}")
            raise Finding("hang", f"{otherwise}; see state.log") from None

    def _works(self, name: str) -> None:
        """Tries gently first: as an administrator would, who does not know what has happened."""
        if self._comes_back():
            problem = self._problem()
            if problem is None:
                return
        else:
            problem = "units are missing"
        # The mid-layer keeps what it was told of units, of lies in INQUIRY data for example.
        self.renewed += 1
        (self.rig.folder / "renewed.log").open("a").write(f"{name}: {problem}\n")
        self.rig.connect(["version_1", "hotplug", "change"])
        problem = self._problem()
        if problem is not None:
            kind = "hang"
            if "not what was written" in problem:
                kind = "wrong data"
            elif problem.startswith(LOST):
                kind = "lost"
            raise Finding(kind, f"after the device was bound anew: {problem}")

    def _comes_back(self) -> bool:
        """Waits until the units are there, and has those work again that were taken offline."""
        online = (
            'for s in *:*:*:*/state; do read r <$s; test "$r" = running || echo running >$s; done 2>/dev/null'
        )
        deadline = time.monotonic() + SOON * self.rig.slack
        asked = 0.0
        while time.monotonic() < deadline:
            names = self.guest.run(
                f"cd /sys/bus/scsi/devices; {online}; echo host* *:*:*:*", self.rig.patience
            ).stdout
            if {name.partition(":")[2] for name in names.split()} >= ADDRESSES:
                self.rig.hurry()
                return True
            if "host*" in names.split():
                return False
            if time.monotonic() > asked + 3:
                asked = time.monotonic()
                self.guest.spawn("echo '- - -' >/sys/class/scsi_host/host*/scan")
            time.sleep(0.2)
        return False

    def _problem(self) -> str | None:
        """What does not work, if anything."""
        self._place = (self._place + 1) % 64
        self.nobody_is_stuck()
        said = self.guest.out(f"{self._works_program} {self._place}", self.rig.patience).splitlines()
        problems = [line for line in said if line.startswith("problem")]
        if problems:
            return "; ".join(problems)
        deadline = time.monotonic() + SOON * self.rig.slack
        while (problem := _left_over(said)) and time.monotonic() < deadline:
            time.sleep(0.5)
            said = self.guest.out(f"{self._works_program} {self._place}", self.rig.patience).splitlines()
        return problem

    def at_the_end(self) -> None:
        """When the guest is not needed any more: the module goes, and leaves nothing behind."""
        if not self.rig.over:
            self._until(f"rmmod {self.guest.driver.name}", "the module cannot be removed")
        if self.rig.leaks:
            leaks = self.guest.leaks()
            if leaks:
                (self.rig.folder / "leaks.log").write_text(leaks)
                raise Finding("leak", leaks[:600])
        self.log("the end", 60, 10)


def _reports(log: str, known: Iterable[str]) -> tuple[list[str], int]:
    """The lines of a log that report something, and how many reports are known."""
    bad: list[str] = []
    others = 0
    for part in re.split(r"\[ cut here \]|={20,}\n", log):
        lines = [line for line in part.splitlines() if REPORT.search(line)]
        if any(re.search(pattern, part, re.S) for pattern in known):
            others += 1
            lines = [line for line in lines if not re.search(r"WARNING: |Call Trace", line)]
        bad += lines
    return bad, others


def _left_over(said: list[str]) -> str | None:
    """What the mid-layer and the driver's own reports say of commands that nobody has got back. The C driver
    has no reports."""
    if busy := [line for line in said if re.fullmatch(r"host_busy [1-9]\d*", line)]:
        return f"in flight: {busy[0]}"
    if MODULE != "ours":
        return None
    reports: dict[str, list[str]] = {}
    for line in said:
        file, _, rest = line.partition(" ")
        reports.setdefault(file, []).append(rest)
    if reports["state"][0] != "state live":
        return reports["state"][0]
    for line in reports["queues"]:
        queue = sysfs.pairs(line)
        if queue["in_flight"] != "0" or queue["sent"] != queue["completed"] or queue["ring"] != "works":
            return f"queue: {line}"
    if "in_flight" in reports:
        return f"in flight: {reports['in_flight']}"
    wrong = [
        line for line in reports["counters"] if re.fullmatch(r"(waiting|failed_device_resets) [1-9]\d*", line)
    ]
    return f"counters: {wrong}" if wrong else None


def dead(rig: Rig, error: Exception) -> str:
    """What has happened to a guest that takes no commands, or not in time."""
    try:
        console = rig.guest.console_log
    except OSError:
        console = ""
    reports = [line for line in console.splitlines() if REPORT.search(line)]
    what = " | ".join(reports[:4]) or str(error).splitlines()[0][:300]
    if not rig.guest.machine.alive() or "Kernel panic" in console:
        return f"panic: {what}"
    return f"device: {what}" if isinstance(error, DeviceError) and not reports else f"hang: {what}"

# SPDX-License-Identifier: GPL-2.0
"""The settings of recovery at run time: of the module, and of each host in sysfs."""

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from guest import QemuGuest, sysfs
from guest.device import Mark, TestDevice, doors
from guest.guest import Handle
from support.boots import Boots
from support.known_lines import MISBEHAVING

pytestmark = [
    pytest.mark.device,
    pytest.mark.ours("it is about attributes of our driver"),
]


TIMEOUT = 2
PARAMETERS = "/sys/module/virtio_scsi_rs/parameters"
DEFAULTS = {
    "recovery_wait": "0",
    "recovery_step": "10",
    "recovery_patience": "0",
    "recovery_failfast": "0",
    "recovery_refused": "120",
    "recovery_report": "0",
    "recovery_panic": "0",
}
# What a number of seconds must not be.
WRONG = ("", "-1", "1.5", "ten", "2147484", "4294967296", "3 4", "0x3c")


@dataclass
class Bench:
    devices: list[TestDevice]
    guest: QemuGuest
    hosts: list[int]

    @property
    def device(self) -> TestDevice:
        return self.devices[0]

    def attribute(self, name: str, which: int = 0) -> str:
        return f"/sys/class/scsi_host/host{self.hosts[which]}/{name}"

    def settings(self, which: int) -> dict[str, str]:
        return {name: self.guest.out(f"cat {self.attribute(name, which)}") for name in DEFAULTS}

    def write(self, path: str, text: object, check: bool = True) -> str:
        """Returns what the shell said."""
        return self.guest.run(f"echo '{text}' >{path}", check=check).stderr

    def change(self, name: str, text: object, which: int = 0) -> None:
        self.write(self.attribute(name, which), text)

    def node(self, which: int = 0) -> str:
        return "/dev/" + self.guest.out(f"ls /sys/bus/scsi/devices/{self.hosts[which]}:0:0:0/block")

    def read(self, which: int = 0) -> Handle:
        return self.guest.spawn(f"dd if={self.node(which)} of=/dev/null bs=4k count=1 skip=5 iflag=direct")

    def time_out_after(self, seconds: int) -> None:
        path = f"/sys/bus/scsi/devices/{self.hosts[0]}:0:0:0/timeout"
        self.guest.run(f"echo {seconds} >{path}", check=True)

    def hold_a_read(self) -> Handle:
        """The device keeps it until it is released, and says so."""
        self.device.rule("held", {"opcode": "READ_10"}, hold="held")
        self.time_out_after(TIMEOUT)
        job = self.read()
        self.device.wait_for(lambda: self.device.held("held"), why="a read")
        return job

    def name(self, which: int = 0) -> str:
        """The device on the virtio bus."""
        path = f"/sys/bus/virtio/devices/virtio*/host{self.hosts[which]}"
        return self.guest.out(f"basename $(dirname {path})")

    def functions(self, mark: Mark) -> set[str]:
        """The task management functions that the first device was sent."""
        return {line["name"] for line in self.device.since(mark, "tmf")}

    def wait_for_functions(self, mark: Mark, *names: str) -> None:
        why = f"was not sent {names[-1]}"
        self.device.wait_for(lambda: self.functions(mark) >= set(names), 4 * TIMEOUT, why)

    def works(self) -> None:
        self.guest.wait_until(f"dd if={self.node()} of=/dev/null bs=4k count=1 skip=9 iflag=direct")

    def release(self) -> None:
        self.device("remove_rule", name="held")
        self.device("release", name="held")


@pytest.fixture(scope="module")
def shared(serve_shared: Callable[..., TestDevice], boot_shared: Boots) -> Bench:
    devices = [serve_shared({"unit": [{"size": "1M"}]}) for _ in range(2)]
    guest = boot_shared(**doors("test", *devices), allow=MISBEHAVING, smp=2, append="hung_task_panic=0")
    sysfs.wait_for_units(guest, 2)
    guest.settle()
    return Bench(devices, guest, guest._hosts())


@pytest.fixture
def bench(shared: Bench) -> Iterator[Bench]:
    yield shared
    for device in shared.devices:
        device("clear_rules")
    for which in range(2):
        for name in DEFAULTS:
            shared.change(name, "default", which)
    for name, value in DEFAULTS.items():
        shared.write(f"{PARAMETERS}/{name}", value)


def test_a_host_has_the_settings_of_the_module_until_it_has_its_own(bench: Bench) -> None:
    assert [bench.settings(which) for which in range(2)] == [DEFAULTS, DEFAULTS]
    bench.change("recovery_patience", 60)
    assert bench.settings(0) == {**DEFAULTS, "recovery_patience": "60"}
    assert bench.settings(1) == DEFAULTS
    for name in DEFAULTS:
        bench.write(f"{PARAMETERS}/{name}", 1)
    ones = dict.fromkeys(DEFAULTS, "1")
    assert bench.settings(1) == ones
    assert bench.settings(0) == {**ones, "recovery_patience": "60"}
    bench.change("recovery_patience", "default")
    assert bench.settings(0) == ones
    bench.write(f"{PARAMETERS}/recovery_patience", 2)
    assert bench.settings(0) == {**ones, "recovery_patience": "2"}


@pytest.mark.parametrize("where", ["module", "host"])
def test_what_is_wrong_is_refused_and_changes_nothing(bench: Bench, where: str) -> None:
    wrong = {
        **dict.fromkeys(DEFAULTS, WRONG),
        "recovery_wait": ("2", *WRONG),
        "recovery_step": ("0", "3601", *WRONG),
    }
    with bench.guest.allowing(r"virtio_scsi_rs: recovery_\w+=\d+ is not from \d to \d+"):
        for name, texts in wrong.items():
            path = bench.attribute(name) if where == "host" else f"{PARAMETERS}/{name}"
            for text in texts:
                said = bench.write(path, text, check=False)
                assert "Invalid argument" in said or "out of range" in said, (name, text, said)
    assert bench.settings(0) == DEFAULTS
    if where == "module":
        assert "recovery_step=3601 is not from 1 to 3600" in bench.guest.dmesg()


def test_patience_that_ends_while_a_command_is_waited_for_ends_the_waiting(bench: Bench) -> None:
    """On the host that has this setting, and not on the other."""
    mark = bench.device.mark()
    job = bench.hold_a_read()
    bench.wait_for_functions(mark, "query_task")
    bench.change("recovery_patience", 1, which=1)
    time.sleep(1.5)
    assert bench.functions(mark) == {"query_task"}
    bench.change("recovery_patience", 1)
    bench.wait_for_functions(mark, "query_task", "abort_task")
    bench.release()
    job.wait(60)
    bench.works()


def test_waiting_without_limit_begins_and_ends_while_a_command_is_held(bench: Bench) -> None:
    """As long as it lasts, no function is sent, however often the command times out."""
    bench.change("recovery_wait", 1)
    mark = bench.device.mark()
    job = bench.hold_a_read()

    def time_outs() -> int:
        return sysfs.counters(bench.guest, bench.name())["timeouts"]

    before = time_outs()
    bench.device.wait_for(lambda: time_outs() >= before + 3, 10 * TIMEOUT, "it does not time out")
    assert bench.functions(mark) == set()
    bench.change("recovery_wait", 0)
    bench.wait_for_functions(mark, "query_task")
    bench.change("recovery_wait", 1)
    bench.change("recovery_patience", 1)
    before = time_outs()
    bench.device.wait_for(lambda: time_outs() >= before + 2, 10 * TIMEOUT, "it does not time out")
    assert "abort_task" not in bench.functions(mark)
    bench.change("recovery_wait", "default")
    bench.wait_for_functions(mark, "query_task", "abort_task")
    bench.release()
    job.wait(60)
    bench.works()


@pytest.mark.parametrize("waits", [False, True], ids=["recovers", "waits"])
def test_an_old_command_is_logged_once_with_what_is_known_of_it(bench: Bench, waits: bool) -> None:
    bench.change("recovery_wait", int(waits))
    bench.change("recovery_report", 1)
    said = len(bench.guest.dmesg())

    def lines(about: str) -> list[str]:
        return re.findall(rf"{bench.name()}: {about}: (.*)", bench.guest.dmesg()[said:])

    job = bench.hold_a_read()
    bench.device.wait_for(lambda: lines("a command is old"), 3 * TIMEOUT, "it was not logged")
    time.sleep(1.5 * TIMEOUT)
    (line,), (queue,) = lines("a command is old"), lines("its request queue")
    known = sysfs.pairs(line)
    (now,) = sysfs.report(bench.guest, "in_flight", bench.name())
    assert list(known) == list(now)
    same = ("target", "lun", "queue", "tag", "timeout_ms", "retries", "cdb", "place")
    assert [known[name] for name in same] == [now[name] for name in same]
    assert 1000 <= int(known["age_ms"]) < int(now["age_ms"])
    assert f"queue {known['queue']} " in queue and "in_flight 1 ring works" in queue
    bench.release()
    job.wait(60, check=True)


def test_a_command_that_ends_in_time_is_not_logged(bench: Bench) -> None:
    """It times out, and is younger than the age to be logged at."""
    bench.change("recovery_report", 30)
    said = len(bench.guest.dmesg())
    job = bench.hold_a_read()
    time.sleep(2 * TIMEOUT)
    bench.release()
    job.wait(60, check=True)
    assert "a command is old" not in bench.guest.dmesg()[said:]


def test_a_command_whose_own_time_is_longer_is_not_logged(bench: Bench) -> None:
    """It is as old as another that has timed out, which is logged."""
    bench.change("recovery_report", 1)
    said = len(bench.guest.dmesg())
    bench.device.rule("format", {"opcode": "TEST_UNIT_READY"}, hold="format")
    generic = bench.guest.out(f"ls /sys/bus/scsi/devices/{bench.hosts[0]}:0:0:0/scsi_generic")
    long = bench.guest.spawn(f"sg_raw -t 60 /dev/{generic} 00 00 00 00 00 00")
    bench.device.wait_for(lambda: bench.device.held("format"), why="a command")
    job = bench.hold_a_read()
    old = "a command is old: .* cdb "
    bench.device.wait_for(
        lambda: re.search(f"{old}28", bench.guest.dmesg()[said:]), 3 * TIMEOUT, "the read was not logged"
    )
    time.sleep(1)
    assert not re.search(f"{old}00", bench.guest.dmesg()[said:])
    bench.release()
    bench.device("remove_rule", name="format")
    bench.device("release", name="format")
    job.wait(60, check=True)
    long.wait(60, check=True)


def test_a_command_gets_older_although_the_device_is_reset_for_it(
    serve: Callable[..., TestDevice], boot: Boots
) -> None:
    """On a device that is dead no try gets as old as that."""
    device = serve({"unit": [{"size": "1M"}]})
    guest = boot(**device.door("test"), parameters="recovery_step=1 recovery_report=9", allow=MISBEHAVING)
    sysfs.wait_for_units(guest, 1)
    guest.settle()
    bench = Bench([device], guest, [guest.host()])
    bench.time_out_after(TIMEOUT)
    device.rule("functions", {"on": "tmf"}, drop=True)
    device.rule("reads", {"opcode": "READ_10"}, drop=True)
    bench.read()
    found = device.wait_for(
        lambda: re.search(r"a command is old: (.*)", guest.dmesg()), 40, "no command was logged"
    )
    known = sysfs.pairs(found[1])
    assert int(known["age_ms"]) >= 9000 and known["retries"] == "1"
    # The second try was sent after the first one had timed out.
    assert int(known["sent_ms"]) < int(known["age_ms"]) - TIMEOUT * 1000
    device("clear_rules")


def test_the_user_resets_the_device(bench: Bench) -> None:
    """By an attribute of the midlayer, with I/O under way."""
    path = bench.attribute("host_reset")

    def resets() -> int:
        state = sysfs.report(bench.guest, "state", bench.name())
        return int(next(line["resets"] for line in state if "resets" in line))

    before = resets()
    node = bench.node()
    job = bench.guest.spawn(f"dd if={node} of=/dev/null bs=4k count=256 iflag=direct")
    for number in range(1, 4):
        bench.write(path, "adapter")
        assert resets() == before + number
    job.wait(60)
    assert "not supported" in bench.write(path, "firmware", check=False)
    assert resets() == before + 3
    bench.works()


def test_an_unbinding_that_waits_for_a_command_ends_when_the_user_wants_no_more_waiting(
    serve: Callable[..., TestDevice], boot: Boots
) -> None:
    device = serve({"unit": [{"size": "1M"}]})
    guest = boot(**device.door("test"), parameters="recovery_wait=1 recovery_step=1", allow=MISBEHAVING)
    sysfs.wait_for_units(guest, 1)
    guest.settle()
    name = sysfs.virtio_name(guest)
    device.rule("held", {"opcode": "READ_10"}, hold="held")
    job = guest.spawn(f"dd if={sysfs.unit_node(guest, 0, 0)} of=/dev/null bs=4k count=1 iflag=direct")
    device.wait_for(lambda: device.held("held"), why="a read")
    unbinding = guest.spawn(f"echo {name} >{guest.driver.sysfs}/unbind")
    time.sleep(4)
    assert not unbinding.done() and not job.done()
    guest.run(f"echo 0 >{PARAMETERS}/recovery_wait", check=True)
    assert unbinding.wait(20).rc == 0
    assert job.wait(20).rc != 0


def test_an_old_command_has_the_kernel_panic(serve: Callable[..., TestDevice], boot: Boots) -> None:
    """Of the host that is set so, with the command in the log before."""
    device = serve({"unit": [{"size": "1M"}]})
    guest = boot(**device.door("test"), allow=MISBEHAVING)
    sysfs.wait_for_units(guest, 1)
    guest.settle()
    bench = Bench([device], guest, [guest.host()])
    bench.change("recovery_panic", 1)
    device.rule("held", {"opcode": "READ_10"}, hold="held")
    guest.agent_may_be_lost()
    bench.time_out_after(TIMEOUT)
    bench.read()
    reason = (
        r"Kernel panic - not syncing: virtio_scsi_rs virtio\d+: a command is [1-9] s old, and recovery_panic"
    )
    device.wait_for(lambda: re.search(reason, guest.console_log), 30, "no panic")
    assert re.search(r"a command is old: target 0 lun 0 .* stage \w+ cdb 28", guest.console_log)

# SPDX-License-Identifier: GPL-2.0
"""Actions of the scripted device that no other file tests: each is seen to act in the guest."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from guest import MEGABYTE, QemuGuest, fio, images, make_iso, numbered, sysfs
from guest.device import DeviceError, Mark, TestDevice
from guest.guest import Handle
from guest.numbered import BLOCK
from support.boots import Boots
from support.known_lines import IO_ERROR, OUR_DRIVER, UNIT

pytestmark = [pytest.mark.device, pytest.mark.compare]


ALLOW = (OUR_DRIVER, UNIT, IO_ERROR)
FEATURES = ["hotplug", "change", "indirect_desc", "event_idx", "version_1"]
# Longer than the timeout of a command and of every step of recovery together.
PATIENCE = 60

Serve = Callable[..., TestDevice]


@dataclass
class Shared:
    device: TestDevice
    guest: QemuGuest
    disk: str

    def block(self, number: int) -> str:
        return numbered.compare(self.disk, number)

    def reads(self) -> None:
        for number in range(4):
            self.guest.run(self.block(number), timeout=PATIENCE, check=True)

    def act(self, name: str, match: dict[str, Any], command: str, **action: Any) -> tuple[int, str]:
        """Runs a command that a rule is for. Returns its code and what it printed."""
        mark = self.device.mark()
        self.device.rule(name, {**match, "times": 1}, **action)
        result = self.guest.run(command, timeout=PATIENCE)
        self.device("remove_rule", name=name)
        assert self.device.since(mark, "answer", rule=name), "the rule did not act"
        return result.rc, result.stdout + result.stderr


@pytest.fixture(scope="module")
def shared(serve_shared: Serve, boot_shared: Boots) -> Shared:
    device = serve_shared({"unit": [{"size": "8M"}]})
    guest = boot_shared(**device.door("test"), parameters="recovery_step=1", allow=ALLOW)
    guest.wait_until("test -e /dev/sda && test -e /dev/sg0")
    guest.run("echo 2 >/sys/block/sda/device/timeout; blockdev --setra 0 /dev/sda", check=True)
    guest.run(numbered.fill("/dev/sda", 32), check=True)
    return Shared(device, guest, "/dev/sda")


READ = {"opcode": "READ_10"}
SG_READ = "sg_raw -r 512 /dev/sg0 28 00 00 00 00 00 00 00 01 00"


def test_held_commands_are_released_by_their_name(shared: Shared) -> None:
    device = shared.device
    for name in ("first", "second"):
        device.rule(name, {**READ, "lba": [8, 15] if name == "first" else [16, 23]}, hold=name)
    shared.guest.run("echo 60 >/sys/block/sda/device/timeout", check=True)
    jobs = {name: shared.guest.spawn(shared.block(i + 1)) for i, name in enumerate(("first", "second"))}
    device.wait_for(lambda: device.held("first") and device.held("second"), why="held commands")
    assert device("release", name="second")["released"] == 1
    assert jobs["second"].wait(PATIENCE).rc == 0
    assert len(device.held("first")) == 1
    assert not jobs["first"].done()
    assert device("release")["released"] == 1
    assert jobs["first"].wait(PATIENCE).rc == 0
    for name in jobs:
        device("remove_rule", name=name)
    shared.guest.run("echo 2 >/sys/block/sda/device/timeout", check=True)


def test_data_of_a_rule_is_read(shared: Shared) -> None:
    rc, said = shared.act("data", READ, SG_READ, data="c0 ff ee" + " 00" * 509)
    assert rc == 0
    assert re.search(r"00 +c0 ff ee 00", said), said


def test_a_response_without_data_leaves_the_buffer_as_it_was(shared: Shared) -> None:
    """The device says that all is well and leaves the buffer as it was, which nobody can notice: here it
    still has the block before."""
    blocks = f"dd if={shared.disk} bs={BLOCK} count=2 skip=5 iflag=direct 2>/dev/null"
    compare = f"{blocks} | cmp - <(for i in 5 5; do yes $i | head -c {BLOCK}; done)"
    assert shared.act("response", {**READ, "lba": [48, 55]}, compare, write="response") == (0, "")
    assert shared.guest.run(compare).rc != 0


def test_sense_by_its_codes_reaches_the_user(shared: Shared) -> None:
    sense = {"key": 4, "asc": 0x44, "ascq": 0}
    rc, said = shared.act("sense", READ, SG_READ, status="check_condition", sense=sense, status_qualifier=7)
    assert (rc, "Internal target failure" in said) == (3, True), said


def test_a_corrupted_response_code_is_an_error(shared: Shared) -> None:
    """Response code 0 becomes 9, FAILURE."""
    rc, said = shared.act("bad", READ, SG_READ, corrupt={"part": "response", "offset": 11, "xor": 9})
    assert (rc, "DID_ERROR" in said) == (99, True), said


def test_a_read_succeeds_after_a_completion_with_a_wrong_id(shared: Shared) -> None:
    mark = shared.device.mark()
    shared.device.rule("id", {**READ, "times": 1}, id=5000)
    shared.reads()
    shared.device("remove_rule", name="id")
    assert [line["id"] for line in shared.device.since(mark, "answer", rule="id")] == [5000]


@contextmanager
def cached(guest: QemuGuest, disk: str) -> Iterator[None]:
    """As long as somebody has a disk open, its pages stay in the cache."""
    holder = guest.spawn(f"exec 9<{disk}; echo open >/tmp/holder; sleep 600")
    guest.wait_until("test -e /tmp/holder")
    yield
    holder.kill()
    guest.run("rm /tmp/holder; echo 3 >/proc/sys/vm/drop_caches", check=True)


def test_data_changes_in_the_page_cache_only(shared: Shared) -> None:
    """It changes in the page cache, and only there."""
    look = f"dd if={shared.disk} bs={BLOCK} count=1 skip=24 2>/dev/null | od -An -c -N2"
    mark = shared.device.mark()
    scribble = {"part": "data_in", "offset": 0, "bytes": "58", "after_ms": 300}
    shared.device.rule("scribble", {**READ, "lba": [192, 199], "times": 1}, scribble=scribble)
    with cached(shared.guest, shared.disk):
        assert shared.guest.out(look).split() == ["2", "4"]
        done = shared.device.wait_for(lambda: shared.device.since(mark, "scribble"), why="bytes written")
        assert done[0]["done"]
        assert shared.guest.out(look).split() == ["X", "4"]
    shared.device("remove_rule", name="scribble")
    assert shared.guest.out(look).split() == ["2", "4"]


def test_data_can_change_between_two_looks(shared: Shared) -> None:
    """The page stays in the cache, so two looks can differ."""
    look = f"dd if={shared.disk} bs={BLOCK} count=1 skip=25 2>/dev/null | head -c1"
    flip = {"part": "data_in", "offset": 0, "for_ms": 4000}
    shared.device.rule("flip", {**READ, "lba": [200, 207], "times": 1}, flip=flip)
    with cached(shared.guest, shared.disk):
        seen = shared.guest.out(f"for i in {{1..100}}; do {look}; done | od -An -v -tx1 -w1 | sort | uniq -c")
        # Once the page is in other hands, nobody may change it any more.
        shared.device.wait_for(lambda: shared.device("stats")["flipping"] == 0, why="it keeps changing")
        assert shared.guest.out(look) == "2"
    shared.device("remove_rule", name="flip")
    assert {line.split()[1] for line in seen.splitlines()} == {"32", "cd"}, seen


@pytest.mark.parametrize("entry", ["of no request", "out of range", "index ahead"])
def test_io_survives_forged_entries_of_the_used_ring(shared: Shared, entry: str) -> None:
    """Nobody asked for them; I/O goes on, with a new start of the device if need be."""
    mark = shared.device.mark()
    job = shared.guest.spawn(
        fio.command(
            shared.disk, rw="randread", bs="4k", ioengine="libaio", iodepth=8, direct=1, size="4M", loops=3
        )
    )
    shared.device.wait_for(lambda: len(shared.device.since(mark, "request")) > 50, why="no I/O")
    for queue in (2, 3):
        if entry == "index ahead":
            shared.device("used_jump", queue=queue, by=7)
        else:
            shared.device("used", queue=queue, id=100 if entry == "of no request" else 70000, len=12)
    assert fio.Job.of(job.wait(PATIENCE, check=True)).error == 0
    shared.reads()
    # Each of them breaks a queue for good, so the device was set up anew.
    assert shared.device.since(mark, "queue_start", queue=2)


@pytest.mark.parametrize("queue", range(4))
def test_io_goes_on_when_the_device_reports_an_error_of_a_queue(shared: Shared, queue: int) -> None:
    """The front-end hears of it; nothing else changes."""
    if "error" in (refused := _order(shared.device, "vring_error", queue=queue)):
        assert "no descriptor" in refused["error"], refused
        pytest.skip("this front-end does not listen for errors of queues")
    shared.reads()


def _order(device: TestDevice, cmd: str, **fields: Any) -> dict[str, Any]:
    try:
        return device(cmd, **fields)
    except DeviceError as error:
        return {"error": str(error)}


@pytest.mark.parametrize("cpu", range(2))
def test_a_lost_notification_is_repeated_and_counted(shared: Shared, cpu: int) -> None:
    """The command is not seen until the driver notifies the device again, which it does after the time-out;
    no function is sent. This is logged once in the driver's life, and counted."""
    before = sysfs.counters(shared.guest)
    mark = shared.device.mark()
    for queue in (2, 3):
        shared.device("ignore_kicks", queue=queue)
    read = f"taskset -c {cpu} dd if={shared.disk} bs={BLOCK} count=1 skip=3 iflag=direct"
    shared.guest.run(f"{read} | cmp - <(yes 3 | head -c {BLOCK})", timeout=PATIENCE, check=True)
    for queue in (2, 3):
        shared.device("ignore_kicks", queue=queue, count=0)
    ignored = [line["queue"] for line in shared.device.since(mark, "kick_ignored")]
    used = [line["queue"] for line in shared.device.since(mark, "request")]
    assert len(ignored) == 1 and set(ignored) == set(used)
    assert shared.device.since(mark, "tmf") == []
    assert shared.guest.out("dmesg | grep -c 'notification was lost'") == "1"
    assert sysfs.counters(shared.guest)["lost_notifications"] == before["lost_notifications"] + 1


def test_the_driver_kept_to_the_rules(shared: Shared) -> None:
    assert shared.device.lines("violation") == []


# Devices of their own


def ready(device: TestDevice, guest: QemuGuest, units: int = 1) -> None:
    sysfs.wait_for_units(guest, units)


def goes_on(device: TestDevice, job: Handle, since: Mark) -> None:
    """Waits until the device has answered for a job after some line of the log."""
    device.wait_for(lambda: job.done() or len(device.since(since, "answer")) > 50, why="no I/O")
    assert not job.done(), f"the job has ended: {job.wait().stderr}"


@pytest.mark.parametrize("end", ["disconnect", "die"])
def test_no_write_is_lost_when_the_device_goes_and_comes_back(
    serve: Serve, boot: Callable[..., QemuGuest], scratch: Path, end: str
) -> None:
    """QEMU connects again, behind the one door where it can. No write that was acknowledged is lost."""
    image = images.make(scratch / "disk.img", 16 * MEGABYTE)
    device = serve({"unit": [{"file": image}]})
    guest = boot(**device.door("scsi", reconnect=True), parameters="recovery_step=1", allow=ALLOW)
    ready(device, guest)
    guest.run("echo 2 >/sys/block/sda/device/timeout", check=True)
    options = fio.write_options("libaio", "8M", iodepth=4, time_based=True, runtime=8)
    job = guest.spawn(fio.command("/dev/sda", **options))
    for _ in range(2):
        goes_on(device, job, device.mark())
        since = device.mark()
        if end == "die":
            device.crash()
            device.start_again()
            since = Mark(device.log)
        else:
            device("disconnect")
        goes_on(device, job, since)
        assert device.since(since, "connected"), "it was not looked for again"
    done = fio.Job.of(job.wait(120, check=True))
    assert done.error == 0
    data = images.pattern(end, MEGABYTE)
    guest.push("/tmp/data", data)
    guest.run("dd if=/tmp/data of=/dev/sda bs=64k oflag=direct conv=fsync", check=True)
    assert images.part(image, 0, MEGABYTE // images.BLOCK) == data
    assert device.lines("violation") == []


def test_a_disk_reads_and_writes_its_file(
    serve: Serve, boot: Callable[..., QemuGuest], scratch: Path
) -> None:
    """What the file holds is read, what is written gets there."""
    data, fresh = images.pattern("data", MEGABYTE), images.pattern("fresh", MEGABYTE)
    image = images.make(scratch / "disk.img", 8 * MEGABYTE, data)
    locked = images.make(scratch / "locked.img", 4 * MEGABYTE, data)
    device = serve({"unit": [{"file": image}, {"lun": 1, "file": locked, "read_only": True}]})
    guest = boot(**device.door("scsi"), allow=ALLOW)
    ready(device, guest, 2)
    disk, read_only = (sysfs.unit_node(guest, 0, lun) for lun in (0, 1))
    guest.push("/tmp/data", data)
    guest.push("/tmp/fresh", fresh)
    for node in (disk, read_only):
        guest.run(f"dd if={node} bs=64k count=16 iflag=direct | cmp - /tmp/data", check=True)
    assert guest.out(f"blockdev --getsize64 {disk}") == str(8 * MEGABYTE)
    guest.run(f"dd if=/tmp/fresh of={disk} bs=64k seek=32 oflag=direct conv=fsync", check=True)
    assert images.part(image, 2 * MEGABYTE // images.BLOCK, MEGABYTE // images.BLOCK) == fresh
    assert guest.out(f"blockdev --getro {read_only}") == "1"
    assert guest.run("sg_raw -s 512 -i /tmp/data /dev/sg1 2a 00 00 00 00 00 00 00 01 00").rc != 0
    assert images.part(locked, 0, MEGABYTE // images.BLOCK) == data


def test_media_changes_of_a_cdrom_are_reported(
    serve: Serve, boot: Callable[..., QemuGuest], scratch: Path
) -> None:
    data = images.pattern("cd", 3 * MEGABYTE)
    iso = make_iso(scratch / "cd.iso", {"data.bin": data})
    device = serve({"unit": [{"kind": "cdrom", "file": iso}]})
    guest = boot(**device.door("test"), allow=[*ALLOW, r"sr0: ", "isofs"])
    ready(device, guest)
    guest.push("/tmp/data", data)
    mount = "mount -t iso9660 -o ro /dev/sr0 /mnt"
    guest.run(f"{mount} && cmp /mnt/data.bin /tmp/data && umount /mnt", check=True)
    assert images.digest(iso) == guest.out("sha256sum </dev/sr0").split()[0]
    guest.run("rm -f /tmp/uevents", check=True)
    monitor = guest.spawn("udevadm monitor --kernel --property --subsystem-match=scsi >/tmp/uevents")
    guest.wait_until("grep -q 'the kernel uevent' /tmp/uevents")
    told = "grep -c SDEV_MEDIA_CHANGE=1 /tmp/uevents"
    device("medium", loaded=False)
    guest.wait_until(f"test $({told}) = 1")
    assert guest.run(mount).rc != 0
    assert "Medium not present" in guest.run("sg_raw /dev/sr0 00 00 00 00 00 00").stderr
    device("medium", loaded=True)
    guest.wait_until(f"test $({told}) = 2")
    guest.wait_until(mount)
    guest.run("cmp /mnt/data.bin /tmp/data && umount /mnt", check=True)
    monitor.kill()
    assert device.lines("violation") == []


AN_QUERY, AN_SUBSCRIBE = {"on": "an_query"}, {"on": "an_subscribe"}
# What a device says of its events, and for what the driver subscribes then; None: it does not.
NOTIFICATIONS: dict[str, tuple[dict[str, Any], dict[str, Any], int | None]] = {
    "all that is wanted": (AN_QUERY, {"event_actual": 18}, 18),
    "media changes": (AN_QUERY, {"event_actual": 16}, 16),
    "everything": (AN_QUERY, {"event_actual": 0xFFFFFFFF}, 18),
    "none": (AN_QUERY, {"event_actual": 0}, None),
    "only others": (AN_QUERY, {"event_actual": 0xFFFFFFED}, None),
    "query fails": (AN_QUERY, {"response": "failure"}, None),
    "query is not for this unit": (AN_QUERY, {"response": "incorrect_lun"}, None),
    "query is not answered": (AN_QUERY, {"drop": True}, None),
    "subscription is answered twice": ({**AN_SUBSCRIBE, "times": 1}, {"repeat": 2}, 16),
    "query without a response": (AN_QUERY, {"write": "nothing"}, None),
    "subscription fails": (AN_SUBSCRIBE, {"response": "failure"}, 16),
    "subscription is not answered": (AN_SUBSCRIBE, {"drop": True}, 16),
}


@pytest.fixture(scope="module")
def drives(serve_shared: Serve, boot_shared: Boots) -> Shared:
    device = serve_shared({"device": {"async_events": 16}, "unit": [{"size": "1M"}]})
    guest = boot_shared(**device.door("test"), parameters="recovery_step=1", allow=ALLOW)
    ready(device, guest)
    return Shared(device, guest, "")


@pytest.mark.parametrize("answer", NOTIFICATIONS)
def test_a_drive_works_whatever_it_says_of_notifications(drives: Shared, answer: str) -> None:
    """Whatever the device says of notifications, the drive works."""
    match, action, wanted = NOTIFICATIONS[answer]
    device, guest = drives.device, drives.guest
    target = 1 + list(NOTIFICATIONS).index(answer)
    mark = device.mark()
    device.rule("an", {**match, "target": target}, **action)
    device("add_unit", unit={"target": target, "kind": "cdrom", "size": "1M"})
    found = f"ls /sys/bus/scsi/devices/*:0:{target}:0/block"
    guest.wait_until(found)
    asked = device.wait_for(lambda: device.since(mark, "an", subscribe=False), why="no query")
    assert asked[0]["requested"] == 18
    # The next unit's questions come after all of this one's.
    device("add_unit", unit={"target": 100 + target, "kind": "cdrom", "size": "1M"})
    last = {"unit": f"{100 + target}:0", "subscribe": True}
    device.wait_for(lambda: device.since(mark, "an", **last), why="the next unit was not asked")
    asked = device.since(mark, "an", unit=f"{target}:0", subscribe=True)
    # What breaks the queue has the device reset, which ends the subscription, so it is renewed.
    times = 0 if wanted is None else action.get("repeat", 1)
    assert [line["requested"] for line in asked] == times * [wanted]
    guest.run(f"dd if=/dev/$({found}) bs=2k count=16 iflag=direct of=/dev/null", check=True)
    device("remove_rule", name="an")
    for each in (target, 100 + target):
        device("remove_unit", target=each)
    guest.wait_until(f"! {found}")


def test_resets_end_though_each_subscription_breaks_the_queue(drives: Shared) -> None:
    """It would be renewed, break the queue and have the device reset for ever; but that ends soon."""
    device, guest = drives.device, drives.guest
    mark = device.mark()
    device.rule("an", {**AN_SUBSCRIBE, "target": 60}, repeat=2)
    device("add_unit", unit={"target": 60, "kind": "cdrom", "size": "1M"})
    found = "ls /sys/bus/scsi/devices/*:0:60:0/block"
    guest.wait_until(found)

    def resets() -> int:
        return len(device.since(mark, "queue_start", queue=0))

    device.wait_for(resets, why="no reset")
    before = -1
    deadline = time.monotonic() + 40
    while before != resets():
        assert time.monotonic() < deadline, f"{resets()} resets, and no end"
        before = resets()
        time.sleep(4)
    assert 1 < before < 10
    device("remove_rule", name="an")
    guest.run(f"dd if=/dev/$({found}) bs=2k count=16 iflag=direct of=/dev/null", check=True)
    device("remove_unit", target=60)

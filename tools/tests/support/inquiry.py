# SPDX-License-Identifier: GPL-2.0
"""Nonsense as the answer to INQUIRY, and the checks of a unit that gives it."""

import functools
import os
import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import pytest

from guest import Guest, sysfs
from guest.device import Mark, TestDevice
from support.events import RESCAN, TRANSPORT_RESET, all_handled

# How the unit may turn out.
DISK, NOTHING, EITHER = "disk", "nothing", "either"


# A unit that is added next to one with nonsense is there after so many seconds,
PROMPT = 5


# and the one with nonsense has been sent so many INQUIRYs at the most.
MOST = 200


HEAD = bytes([0, 0, 6, 0x12, 91, 0, 0, 2])


STANDARD = HEAD + b"TRIAL   " + b"MALFORMED       " + b"0001" + bytes(60)


STANDARD_DATA = 256


NAA = bytes.fromhex("01030008500000000000abcd")


def page(code: int, length: int, body: bytes) -> bytes:
    """A page of vital product data that claims a length."""
    return bytes([0, code]) + length.to_bytes(2) + body


def designator(text: str) -> bytes:
    body = bytes.fromhex(text)
    return page(0x83, len(body), body)


PAGES = bytes([0, 0x80, 0x83, 0xB0, 0xB1, 0xB2])


# Those whose list of pages is longer than INQUIRY can ask for, or goes on and on.
ENDLESS: dict[str, tuple[int, bytes]] = {
    "page 00 claims ffff": (0, page(0, 0xFFFF, PAGES)),
    "page 00 has all pages": (0, page(0, 252, bytes(range(252)))),
    "page 00 is standard data": (0, STANDARD),
}


PAGES_WRONG: dict[str, tuple[int, bytes]] = {
    **ENDLESS,
    "page 00 claims 0": (0, page(0, 0, b"")),
    "page 00 has one byte": (0, b"\0"),
    "page 00 has nothing": (0, b""),
    "page 80 claims 0": (0x80, page(0x80, 0, b"")),
    "page 80 claims ffff": (0x80, page(0x80, 0xFFFF, b"SER")),
    "page 80 is cut short": (0x80, page(0x80, 200, b"SER")),
    "page 80 is standard data": (0x80, STANDARD),
    "page 80 is another page": (0x80, page(0x83, len(NAA), NAA)),
    "page 80 is binary": (0x80, page(0x80, 20, bytes(range(236, 256)))),
    "page 83 claims 0": (0x83, page(0x83, 0, b"")),
    "page 83 claims ffff": (0x83, page(0x83, 0xFFFF, NAA)),
    "page 83 has a designator too long": (0x83, designator("010300fc500000000000abcd")),
    "page 83 has empty designators": (0x83, designator("010300000100000001000000")),
    "page 83 has many too long": (0x83, designator("020100ff" * 62)),
    "page 83 has a name unended": (0x83, page(0x83, 16, bytes.fromhex("0301000c") + b"iqn.12345678")),
    "page 83 is standard data": (0x83, STANDARD),
    "page b0 claims 0": (0xB0, page(0xB0, 0, b"")),
    "page b0 claims ffff": (0xB0, page(0xB0, 0xFFFF, bytes(8))),
    "page b0 is all ones": (0xB0, page(0xB0, 0x3C, b"\xff" * 60)),
    "page b0 allows one block": (0xB0, page(0xB0, 0x3C, bytes(4) + (1).to_bytes(4) + bytes(52))),
    "page b0 is standard data": (0xB0, STANDARD),
    "page b1 is all ones": (0xB1, page(0xB1, 0x3C, b"\xff" * 60)),
    "page b2 claims 0": (0xB2, page(0xB2, 0, b"")),
    "page b2 is all ones": (0xB2, page(0xB2, 4, b"\xff" * 4)),
    "page b2 claims ffff": (0xB2, page(0xB2, 0xFFFF, b"\xff" * 4)),
}


STANDARD_WRONG: dict[str, tuple[int, bytes]] = {
    "5 bytes": (STANDARD_DATA, STANDARD[:5]),
    "1 byte": (STANDARD_DATA, STANDARD[:1]),
    "nothing": (STANDARD_DATA, b""),
    "claims 0": (STANDARD_DATA, STANDARD[:4] + b"\0" + STANDARD[5:36]),
    "claims ff": (STANDARD_DATA, STANDARD[:4] + b"\xff" + STANDARD[5:36]),
    "all ones": (STANDARD_DATA, b"\xff" * 96),
    "type 1f": (STANDARD_DATA, b"\x1f" + STANDARD[1:]),
    "qualifier 1": (STANDARD_DATA, b"\x20" + STANDARD[1:]),
    "qualifier 3": (STANDARD_DATA, b"\x7f" + STANDARD[1:]),
}


CASES = {**PAGES_WRONG, **{f"standard data: {name}": case for name, case in STANDARD_WRONG.items()}}


LONG = bool(os.environ.get("LONG"))


GROUPS = {"endless": list(ENDLESS), "others": [name for name in CASES if name not in ENDLESS]}


def wanted(name: str) -> str:
    """Pages that are wrong are done without. What is no disk by its standard data is nothing, and too little
    of that may be either."""
    if name in PAGES_WRONG:
        return DISK
    what = name.removeprefix("standard data: ")
    if what in ("all ones", "type 1f", "qualifier 1", "qualifier 3"):
        return NOTHING
    return EITHER if what in ("1 byte", "nothing") else DISK


# What sd says when a disk goes that may have something in its cache.
GOES = r"sd \d+:0:\d+:0: rejecting I/O to offline device"


SECTORS = 8192


# The driver logs ten lines of those that a device can cause, and no more for so long.
LIMIT_SECONDS = 5


# The units with nonsense, those that are added beside them, and those that have always been there.
ODD, BESIDE, OLD = 9, 10, 0


@dataclass
class Shared:
    device: TestDevice
    guest: Guest

    def answers(self, name: str, target: int, lun: int = 0) -> None:
        """From now on a unit answers as a case has it."""
        code, data = CASES[name]
        self.device.rule(name, {"target": target, "lun": lun, "page": code}, execute=False, data=data.hex())

    def add(self, target: int, lun: int = 0) -> None:
        unit = {"target": target, "lun": lun, "size": "4M", "power_on_attention": False}
        self.device("add_unit", unit=unit)

    def adds_another(self, target: int = BESIDE) -> float:
        """A good unit is added, has a node and is read; returns after how many seconds."""
        began = time.monotonic()
        self.add(target)
        self.device.wait_for(lambda: self.states(target) == {target: DISK}, 60, "no other unit")
        return time.monotonic() - began

    def states(self, *targets: int, lun: int = 0) -> dict[int, str]:
        """What units are for the guest: a disk of its size that can be read, nothing that is used, or else.
        A processor that is emulated takes long to start a program, so there are few."""
        script = f"""
            state() {{
                cd /sys/bus/scsi/devices/*:0:$1:{lun} 2>/dev/null && [ "$(<type)" = 0 ] || {{
                    s={NOTHING}; return
                }}
                # No driver takes what has a peripheral qualifier.
                [ -e driver ] || {{ s=unused; return; }}
                nodes=(block/*/size)
                [ -e ${{nodes[0]}} ] || {{ s="no node"; return; }}
                [ "$(<${{nodes[0]}})" = {SECTORS} ] || {{ s="wrong size"; return; }}
                node=${{nodes[0]#block/}}
                dd if=/dev/${{node%/size}} of=/dev/null bs=4k count=4 iflag=direct status=none || {{
                    s=unreadable; return
                }}
                [ "$(<state)" = running ] && s={DISK} || s="not running"
            }}
            for target in {" ".join(map(str, targets))}; do
                state $target; echo "$target $s"
            done"""
        lines = self.guest.run(script).stdout.splitlines()
        return {int(target): state for target, _, state in (line.partition(" ") for line in lines)}

    def settle(self, wanted: dict[int, str], lun: int = 0) -> dict[int, str]:
        """Waits until units are what they may be."""
        may_be = {DISK: {DISK}, NOTHING: {NOTHING, "unused"}, EITHER: {DISK, NOTHING, "unused"}}
        deadline = time.monotonic() + 10
        while True:
            states = self.states(*wanted, lun=lun)
            bad = {
                target: states[target] for target in wanted if states[target] not in may_be[wanted[target]]
            }
            if not bad:
                return states
            assert time.monotonic() < deadline, f"{bad}, and not {wanted}"
            time.sleep(0.1)

    def are_there(self, targets: Iterable[int]) -> None:
        """Waits until targets have units that are disks."""
        self.settle(dict.fromkeys(targets, DISK))

    def remove(self, *targets: int) -> None:
        for target in targets:
            self.device("remove_unit", target=target)
        self.device.wait_for(
            lambda: not any(target in targets for target, _ in sysfs.units(self.guest)), 20, "units stay"
        )

    def inquiries(self, mark: Mark, target: int) -> int:
        return len(self.device.since(mark, "request", name="INQUIRY", unit=f"{target}:0"))

    def let_the_driver_speak(self) -> None:
        """Waits until the next line of the driver is not over the limit of ten in five seconds: the tests
        before have had it say more than that."""
        lines = [line for line in self.guest.dmesg().splitlines() if "virtio_scsi_rs" in line]
        now = float(self.guest.out("cut -d' ' -f1 /proc/uptime"))
        last = float(lines[-1].split("[", 1)[1].split("]")[0]) if lines else 0
        time.sleep(max(0, last + LIMIT_SECONDS + 1 - now))

    def pages_asked_for(self, mark: Mark, target: int) -> list[str]:
        """The CDBs that asked a unit for pages of vital product data."""
        asked = self.device.since(mark, "request", name="INQUIRY", unit=f"{target}:0")
        return [line["cdb"] for line in asked if int(line["cdb"][2:4], 16) & 1]


SCENARIO: dict[str, Any] = {
    # So that looking for units is over soon.
    "device": {"request_queues": 1, "config": {"max_target": 60}},
    "unit": [{"size": "4M"}, {"lun": 1, "size": "4M"}],
}


@pytest.mark.parametrize("name", CASES if LONG else ENDLESS)
def test_a_unit_with_nonsense_delays_nobody(
    shared: Shared, name: str, record_property: Callable[[str, object], None]
) -> None:
    """One with nonsense is added, then one without: that is there soon, whatever becomes of the other."""
    mark = shared.device.mark()
    shared.answers(name, ODD)
    shared.add(ODD)
    took = shared.adds_another()
    outcome = shared.settle({ODD: wanted(name)})[ODD]
    assert shared.device.since(mark, "answer", rule=name), "it was not asked"
    asked = shared.inquiries(mark, ODD)
    record_property("outcome", f"{outcome}, {asked} INQUIRYs, another after {took:.1f} s")
    assert asked < MOST
    assert took < PROMPT
    shared.device("remove_rule", name=name)
    shared.remove(ODD, BESIDE)


@pytest.mark.skipif(not LONG, reason="is done with KASAN")
@pytest.mark.parametrize("which", GROUPS)
def test_a_unit_stays_when_its_data_becomes_nonsense(shared: Shared, which: str) -> None:
    """Units that are there say that their INQUIRY data has changed, to nonsense: they stay, but for
    those that are no disks any more. Each case has its own unit: it may never be asked for pages again."""
    with shared.guest.allowing(GOES):
        data_changes(shared, which)


def data_changes(shared: Shared, which: str) -> None:
    where = {name: 20 + number for number, name in enumerate(GROUPS[which])}
    for target in where.values():
        shared.add(target)
    shared.are_there(where.values())
    for name, target in where.items():
        mark = shared.device.mark()
        shared.answers(name, target)
        shared.device("event", event=3, reason=0x033F, target=target, wait=True)
        # Standard data is read when a unit is found, and never again; the list of pages always is.
        about = {"rule": name} if name in PAGES_WRONG else {}
        asked = functools.partial(shared.device.since, mark, "answer", **about)
        shared.device.wait_for(asked, 5, f"{name}: not asked")
        if which == "endless":
            assert shared.adds_another() < PROMPT, name
            assert shared.inquiries(mark, target) < MOST, name
            shared.remove(BESIDE)
        shared.device("remove_rule", name=name)
    assert shared.adds_another() < PROMPT
    shared.settle({target: EITHER if wanted(name) == NOTHING else DISK for name, target in where.items()})
    shared.remove(*where.values(), BESIDE)


@pytest.mark.skipif(not LONG, reason="is done with KASAN")
@pytest.mark.parametrize("which", GROUPS)
def test_units_recover_from_nonsense(shared: Shared, which: str) -> None:
    """All units of all cases at once, when events were missed; and then all of them in order again. One that
    was found anew while it was no disk by its standard data may stay so: that is read when it is found."""
    where = {name: 20 + number for number, name in enumerate(GROUPS[which])}
    for target in where.values():
        shared.add(target)
    shared.are_there(where.values())
    mark = shared.device.mark()
    for name, target in where.items():
        shared.answers(name, target)
    shared.device("event", event=0, missed=True, wait=True)
    # The nonsense is not over before all have been asked.
    last = f"{max(where.values())}:0"
    shared.device.wait_for(lambda: shared.device.since(mark, "request", unit=last), 20, "not looked at")
    assert shared.adds_another() < PROMPT
    for name, target in where.items():
        assert 0 < shared.inquiries(mark, target) < MOST, name
    shared.settle(dict.fromkeys(where.values(), EITHER))
    for name in where:
        shared.device("remove_rule", name=name)
    shared.device("event", event=0, missed=True, wait=True)
    # Units must not go while they are read again.
    all_handled(shared.device)
    shared.settle({target: EITHER if wanted(name) == NOTHING else DISK for name, target in where.items()})
    shared.remove(*where.values(), BESIDE)


def test_a_malformed_list_is_noticed_while_the_unit_is_offline(shared: Shared) -> None:
    """When the user sets it online, the midlayer reads its pages without asking the driver: by then it has to
    be known that there is no end to them. An event about the unit is the occasion to find that out."""
    name = "page 00 claims ffff"
    state = f"/sys/bus/scsi/devices/*:0:{ODD}:0/state"
    shared.add(ODD)
    shared.are_there([ODD])
    shared.let_the_driver_speak()
    said = len(shared.guest.dmesg())
    mark = shared.device.mark()
    shared.answers(name, ODD)
    with shared.guest.allowing(GOES):
        shared.guest.run(f"echo offline >{state}", check=True)
        shared.device("event", event=TRANSPORT_RESET, reason=RESCAN, target=ODD, wait=True)
        all_handled(shared.device)
    assert shared.device.since(mark, "answer", rule=name), "it was not asked"
    mark = shared.device.mark()
    shared.guest.run(f"echo running >{state}", check=True)
    assert shared.device.since(mark, "request", unit=f"{ODD}:0"), "it was not read again"
    assert shared.pages_asked_for(mark, ODD) == []
    assert "malformed list of VPD pages" in shared.guest.dmesg()[said:]
    shared.are_there([ODD])
    shared.device("remove_rule", name=name)
    shared.remove(ODD)


def test_random_data_delays_nobody(shared: Shared) -> None:
    """Any bytes as the answer to any INQUIRY."""
    chance = random.Random(27)
    for number in range(10 if LONG else 4):
        data = bytearray(chance.randbytes(256))
        if number % 2:
            data[:4] = bytes([0, 0, 5, 2])
        shared.device.rule("random", {"target": ODD, "opcode": "INQUIRY"}, execute=False, data=data.hex())
        mark = shared.device.mark()
        shared.add(ODD)
        took = shared.adds_another()
        asked = shared.inquiries(mark, ODD)
        assert (took < PROMPT, 0 < asked < MOST) == (True, True), f"{took:.1f} s, {asked}, {data[:8].hex()}"
        shared.device("remove_rule", name="random")
        shared.remove(ODD, BESIDE)


def test_the_driver_kept_to_the_rules(shared: Shared) -> None:
    assert shared.device.lines("violation") == []

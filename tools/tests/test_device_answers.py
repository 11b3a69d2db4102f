# SPDX-License-Identifier: GPL-2.0
"""Every answer that a device can give, and the result that the driver reports for it.

Response codes, statuses, sense data, residuals and used lengths, right and wrong.

Commands are sent through /dev/sg, which shows the result as the driver gave it to the midlayer.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from guest import QemuGuest
from guest.device import TestDevice
from support.boots import Boots

pytestmark = [pytest.mark.device, pytest.mark.compare]


# What is logged for answers that no device should give, and what the midlayer says of failed commands.
ALLOW = [
    r"invalid response \d+ to a command",
    r"reservation conflict",
    r"FAILED Result",
    r"CDB: ",
    r"Sense Key",
    r"Add\. Sense",
]

COMMANDS = {
    "none": ("TEST_UNIT_READY", "sg_raw -t 40 {node} 00 00 00 00 00 00"),
    "in": ("READ_10", "sg_raw -t 40 -r 512 {node} 28 00 00 00 00 00 00 00 01 00"),
    "out": ("WRITE_10", "sg_raw -t 40 -s 512 -i /dev/zero {node} 2a 00 00 00 00 00 00 00 01 00"),
}

SENSE = "70 00 03 00 00 00 00 0a 00 00 00 00 11 04 00 00 00 00"


@dataclass
class Shared:
    device: TestDevice
    guest: QemuGuest

    def send(self, direction: str, **action: object) -> tuple[int, str]:
        """Sends a command that the device answers so. Returns the exit code and what was printed."""
        name, command = COMMANDS[direction]
        mark = self.device.mark()
        self.device.rule("it", {"opcode": name, "times": 1}, **action)
        result = self.guest.run(command.format(node="/dev/sg0"))
        self.device("remove_rule", name="it")
        assert self.device.since(mark, "answer", rule="it"), "the rule did not act"
        return result.rc, result.stdout + result.stderr


@pytest.fixture(scope="module")
def shared(serve_shared: Callable[..., TestDevice], boot_shared: Boots) -> Shared:
    device = serve_shared({"unit": [{"size": "8M"}]})
    guest = boot_shared(**device.door("scsi"), allow=ALLOW)
    guest.wait_until("test -e /dev/sg0 && sg_turs /dev/sg0")
    return Shared(device, guest)


def host_status(said: str) -> str | None:
    found = re.search(r"Host_status=\S+ \[(\w+)\]", said)
    return found[1] if found else None


RESPONSES = {
    0: None,
    1: "DID_ERROR",
    2: "DID_RESET",
    3: "DID_BAD_TARGET",
    4: "DID_RESET",
    5: None,  # as the status BUSY: it is sent again
    6: "DID_TRANSPORT_DISRUPTED",
    9: "DID_ERROR",
    10: "DID_ERROR",
    11: "DID_ERROR",
    12: "DID_BAD_TARGET",
    13: "DID_ERROR",
    127: "DID_ERROR",
    255: "DID_ERROR",
}


@pytest.mark.parametrize("direction", COMMANDS)
@pytest.mark.parametrize("code", RESPONSES)
def test_response_becomes_a_host_status(shared: Shared, code: int, direction: str) -> None:
    rc, said = shared.send(direction, response=code)
    # The midlayer tries TEST UNIT READY again after a reset, and only that command.
    if RESPONSES[code] is None or (direction == "none" and RESPONSES[code] == "DID_RESET"):
        assert rc == 0, said
    else:
        assert (rc, host_status(said)) == (99, RESPONSES[code]), said


@pytest.mark.parametrize("direction", COMMANDS)
def test_target_and_nexus_failure_are_told_apart(shared: Shared, direction: str) -> None:
    """TARGET_FAILURE is an error that no other path mends; NEXUS_FAILURE is a reservation conflict."""
    rc, said = shared.send(direction, response="target_failure")
    assert (rc, "Internal target failure" in said) == (3, True), said
    rc, said = shared.send(direction, response="nexus_failure")
    assert (rc, "Reservation Conflict" in said) == (24, True), said


STATUSES = {
    "good": (0, "Good"),
    "condition_met": (99, "Condition Met"),
    # The midlayer sends these again.
    "busy": (0, "Good"),
    "task_set_full": (0, "Good"),
    "intermediate": (99, "Intermediate"),
    "reservation_conflict": (24, "Reservation Conflict"),
    "command_terminated": (98, "Command terminated"),
    "aca_active": (99, "ACA Active"),
    "task_aborted": (99, "Task Aborted"),
    "0x7e": (98, "Unknown status [0x7e]"),
}


@pytest.mark.parametrize("status", STATUSES)
def test_status_reaches_the_user(shared: Shared, status: str) -> None:
    rc, said = shared.send("in", status=int(status, 0) if status.startswith("0x") else status)
    assert rc == STATUSES[status][0], said
    assert f"SCSI Status: {STATUSES[status][1]}" in said, said


@pytest.mark.parametrize(
    "length", [*range(0, 20), 31, 32, 33, 64, 95, 96, 97, 128, 251, 252, 253, 0xFFFFFFFF]
)
def test_sense_is_no_longer_than_its_room(shared: Shared, length: int) -> None:
    """Sense data is what the device says is there, and no more than there is room for."""
    rc, said = shared.send("in", status="check_condition", sense=SENSE, sense_len=length)
    assert "SCSI Status: Check Condition" in said, said
    if length >= 14:
        assert (rc, "Unrecovered read error" in said) == (3, True), said
    elif length >= 3:
        assert rc == 3, said
    else:
        # Nothing that names a sense key: the midlayer asks the unit itself, or is told of none.
        assert rc == 20, said


RESIDUALS = {"zero": "Received 512 bytes", "half": "Received 256 bytes"}
RESIDUALS |= dict.fromkeys(["full", "beyond", "max"], "No data received")


@pytest.mark.parametrize("direction", COMMANDS)
@pytest.mark.parametrize("residual", RESIDUALS)
def test_residual_reaches_the_user(shared: Shared, residual: str, direction: str) -> None:
    rc, said = shared.send(direction, residual=residual)
    assert rc == 0, said
    if direction == "in":
        assert RESIDUALS[residual] in said, said


@pytest.mark.parametrize("direction", COMMANDS)
@pytest.mark.parametrize("used", ["zero", "half", "full", "beyond", "max"])
def test_used_length_decides_nothing(shared: Shared, used: str, direction: str) -> None:
    """The used length decides nothing: vhost-scsi always says 0."""
    rc, said = shared.send(direction, used_len=used)
    assert rc == 0, said
    if direction == "in":
        assert "Received 512 bytes" in said, said


@pytest.mark.parametrize("direction", COMMANDS)
def test_a_completion_without_a_response_is_an_error(shared: Shared, direction: str) -> None:
    """A device that completes a command without a response did not do it."""
    rc, said = shared.send(direction, write="nothing")
    assert (rc, host_status(said)) == (99, "DID_ERROR"), said


def test_data_without_a_response_is_an_error(shared: Shared) -> None:
    rc, said = shared.send("in", write="data")
    assert (rc, host_status(said)) == (99, "DID_ERROR"), said


def test_the_device_changes_data_both_ways(shared: Shared) -> None:
    """The device's own means to change data do so, both ways."""
    shared.guest.run("dd if=/dev/zero of=/dev/sda bs=4k count=1 oflag=direct", check=True)
    shared.device.rule("bad", {"opcode": "READ_10", "times": 1}, corrupt={"offset": 5, "length": 2})
    read = "dd if=/dev/sda bs=4k count=1 iflag=direct 2>/dev/null | od -An -tx1 -N8"
    assert shared.guest.out(read).split() == "00 00 00 00 00 ff ff 00".split()
    assert shared.guest.out(read).split() == ["00"] * 8
    shared.device("remove_rule", name="bad")
    shared.device.rule("bad", {"opcode": "WRITE_10", "times": 1}, corrupt={"part": "data_out", "xor": 0x55})
    shared.guest.run("dd if=/dev/zero of=/dev/sda bs=4k count=1 oflag=direct", check=True)
    assert shared.guest.out(read).split()[0] == "55"
    shared.device("remove_rule", name="bad")


# ATA PASS-THROUGH of IDENTIFY DEVICE with CK_COND, which asks for the registers whether it failed or not.
PASS_THROUGH = {
    "ATA_PASS_THROUGH_16": "85 08 2e 00 00 00 01 00 00 00 00 00 00 00 ec 00",
    "ATA_PASS_THROUGH_12": "a1 08 2e 00 01 00 00 00 00 ec 00 00",
}
# RECOVERED ERROR, 00/1D, and the ATA Status Return descriptor (SAT).
REGISTERS = "72 01 00 1d 00 00 00 0e 09 0c 00 12 34 56 78 9a bc de f0 17 40 50"


@pytest.mark.parametrize("name", PASS_THROUGH)
def test_sense_data_of_a_command_that_succeeded_reaches_the_user(shared: Shared, name: str) -> None:
    """It gets to the user to the last byte, and so does the data; nothing is logged or sent again."""
    cdb = PASS_THROUGH[name]
    data = bytes(range(256)) * 2
    lines = len(shared.guest.dmesg())
    mark = shared.device.mark()
    shared.device.rule(
        "it",
        {"opcode": int(cdb[:2], 16)},
        execute=False,
        data=data.hex(),
        status="check_condition",
        sense=REGISTERS,
    )
    result = shared.guest.run(f"sg_raw -vvv -t 40 -r 512 -o /tmp/ata /dev/sg0 {cdb}")
    shared.device("remove_rule", name="it")
    said = result.stdout + result.stderr
    assert result.rc == 21, said  # recovered error
    shown = re.search(r"Sense (?:Buffer|Information|data).*?in hex[^\n]*\n((?:[ 0-9a-f]+\n)+)", said, re.I)
    assert shown, said
    assert REGISTERS in re.sub(r"\s+", " ", shown[1]), said
    assert shared.guest.pull("/tmp/ata") == data
    assert len(shared.device.since(mark, "answer", rule="it")) == 1
    assert shared.device.since(mark, "tmf") == []
    assert len(shared.guest.dmesg()) == lines, shared.guest.dmesg()[lines:]


def test_the_driver_kept_to_the_rules(shared: Shared) -> None:
    assert shared.device.lines("violation") == []
    statistics = shared.device("stats")
    assert statistics["stats"]["units"]["0:0"]["in_flight"] == 0
    assert statistics["stats"]["units"]["0:0"]["most"] <= 128

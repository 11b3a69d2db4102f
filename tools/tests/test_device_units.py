# SPDX-License-Identifier: GPL-2.0
"""Units of the scripted device that QEMU's own device cannot have: coming and going, reserved, protected."""

from collections.abc import Callable

import pytest

from guest import QemuGuest
from guest.device import TestDevice
from support.known_lines import OUR_DRIVER, UNIT

pytestmark = [pytest.mark.device, pytest.mark.compare]


ALLOW = (OUR_DRIVER, UNIT, r"reservation conflict")


def units(guest: QemuGuest) -> set[str]:
    """Target and LUN of each unit the guest has."""
    out = guest.out("ls /sys/bus/scsi/devices | grep -E '^[0-9]+:0:' || :")
    return {line.split(":", 2)[2] for line in out.split()}


def settles(device: TestDevice, guest: QemuGuest, wanted: set[str]) -> None:
    device.wait_for(lambda: units(guest) == wanted, 30, f"units {wanted}")


def test_units_come_and_go(serve: Callable[..., TestDevice], boot: Callable[..., QemuGuest]) -> None:
    device = serve({"unit": [{"size": "4M"}]})
    # A unit may go while its partition table is read.
    guest = boot(**device.door("scsi"), allow=[*ALLOW, r"I/O error,? (on )?dev sd"])
    settles(device, guest, {"0:0"})
    assert device.lines("event_buffer")

    device("add_unit", unit={"lun": 1, "size": "2M"})
    device("add_unit", unit={"target": 7, "lun": 300, "size": "2M"})
    settles(device, guest, {"0:0", "0:1", "7:16684"})
    device("remove_unit", lun=1)
    device("remove_unit", target=7, lun=300)
    settles(device, guest, {"0:0"})
    device("resize", blocks=32768)
    guest.wait_until("test $(cat /sys/block/sda/size) -eq 32768")

    # Events that find no buffer, and the flag that says so
    device("eventq", consume=False)
    for lun in range(1, 20):
        device("add_unit", unit={"lun": lun, "size": "1M"})
    assert device("stats")["stats"]["events_missed"] == 19
    device("eventq", consume=True)
    settles(device, guest, {f"0:{lun}" for lun in range(20)})
    assert len(device.lines("event", missed=True)) == 1
    assert device.lines("violation") == []


def test_reservations_are_made_and_respected(
    serve: Callable[..., TestDevice], boot: Callable[..., QemuGuest]
) -> None:
    """sg_persist's whole round, and a reservation of somebody else."""
    device = serve({"unit": [{"size": "4M"}]})
    guest = boot(**device.door("scsi"), allow=[*ALLOW, "I/O error"])
    settles(device, guest, {"0:0"})
    persist = "sg_persist -n --no-inquiry"
    guest.run(f"{persist} --out --register --param-sark=0xabc /dev/sg0", check=True)
    assert "0xabc" in guest.out(f"{persist} --in --read-keys /dev/sg0")
    guest.run(f"{persist} --out --reserve --param-rk=0xabc --prout-type=5 /dev/sg0", check=True)
    assert "Write Exclusive, registrants only" in guest.out(f"{persist} --in --read-reservation /dev/sg0")
    guest.run("dd if=/dev/zero of=/dev/sda bs=4k count=1 oflag=direct", check=True)
    guest.run(f"{persist} --out --release --param-rk=0xabc --prout-type=5 /dev/sg0", check=True)
    guest.run(f"{persist} --out --clear --param-rk=0xabc /dev/sg0", check=True)

    device("reserve", key=7, type="write_exclusive")
    assert guest.run("dd if=/dev/zero of=/dev/sda bs=4k count=1 oflag=direct").rc != 0
    guest.run("dd if=/dev/sda of=/dev/null bs=4k count=1 iflag=direct", check=True)
    assert device.lines("answer", status=0x18)
    device("reserve", key=0)
    guest.run("dd if=/dev/zero of=/dev/sda bs=4k count=1 oflag=direct", check=True)


# Type of protection information: what the kernel calls its format (2 is 1 with longer CDBs), the commands
# that carry it, and whether its reference tag counts the blocks.
PROTECTION = {
    1: ("T10-DIF-TYPE1-CRC", "READ_10", "WRITE_10", True),
    2: ("T10-DIF-TYPE1-CRC", "READ_32", "WRITE_32", True),
    3: ("T10-DIF-TYPE3-CRC", "READ_10", "WRITE_10", False),
}
# Where the number of blocks is in the CDB.
COUNT = {"10": slice(7, 9), "32": slice(28, 32)}


@pytest.mark.parametrize("kind", PROTECTION)
def test_protection_information_is_checked_on_both_sides(
    serve: Callable[..., TestDevice], boot: Callable[..., QemuGuest], kind: int
) -> None:
    """T10_PI: the bytes travel with reads and writes, and wrong ones are found on both sides."""
    features = ["hotplug", "change", "indirect_desc", "event_idx", "version_1", "t10_pi"]
    device = serve({"device": {"features": features}, "unit": [{"size": "4M", "protection": kind}]})
    guest = boot(
        **device.door("test"), allow=[*ALLOW, "I/O error", "guard tag", "ref tag", "protection error"]
    )
    form, read, write, counts = PROTECTION[kind]
    settles(device, guest, {"0:0"})
    assert int(device("stats")["acked"], 16) & 8
    assert form in guest.out("cat /sys/block/sda/integrity/format")
    mark = device.mark()
    guest.run("dd if=/dev/urandom of=/tmp/d bs=64k count=8", check=True)
    guest.run("dd if=/tmp/d of=/dev/sda bs=64k oflag=direct", check=True)
    guest.run("dd if=/dev/sda bs=64k count=8 iflag=direct | cmp - /tmp/d", check=True)
    for name, direction in ((write, "pi_out"), (read, "pi_in")):
        sent = device.since(mark, "request", name=name)
        assert sent, f"no {name}"
        for line in sent:
            cdb = bytes.fromhex(line["cdb"])
            assert line[direction] == 8 * int.from_bytes(cdb[COUNT[name[-2:]]])
            buffers = line["in" if direction == "pi_in" else "out"]
            # Beside the header or the response there is just the information and the data.
            assert sum(buffers) - (59 if direction == "pi_out" else 108) == line[direction] // 8 * 520
    broken: dict[str, list[dict[str, object]]] = {
        read: [{"part": "pi_in"}, {"part": "data_in"}],
        write: [{"part": "pi_out"}, {"part": "data_out"}],
    }
    if counts:
        broken[read].append({"part": "pi_in", "offset": 7})
        broken[write].append({"part": "pi_out", "offset": 7})
    command = {
        read: "dd if=/dev/sda of=/dev/null bs=4k count=1 iflag=direct",
        write: "dd if=/tmp/d of=/dev/sda bs=4k count=1 oflag=direct",
    }
    for name, ways in broken.items():
        for corrupt in ways:
            device.rule("bad", {"opcode": name}, corrupt=corrupt)
            assert guest.run(command[name]).rc != 0, (name, corrupt)
            device("remove_rule", name="bad")
            guest.run(command[name], check=True)
    assert device.lines("violation") == []

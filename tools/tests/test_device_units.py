# SPDX-License-Identifier: GPL-2.0
"""Units of the scripted device that QEMU's own device cannot have: coming and going, reserved, protected."""

from collections.abc import Callable

from guest import Guest
from guest.device import TestDevice

ALLOW = [r"virtio_scsi_rs virtio\d+: ", r"sd \d+:\d+:\d+:\d+: ", r"scsi \d+:", r"reservation conflict"]


def units(guest: Guest) -> set[str]:
    """Target and LUN of each unit the guest has."""
    out = guest.out("ls /sys/bus/scsi/devices | grep -E '^[0-9]+:0:' || :")
    return {line.split(":", 2)[2] for line in out.split()}


def settles(device: TestDevice, guest: Guest, wanted: set[str]) -> None:
    device.wait_for(lambda: units(guest) == wanted, 30, f"units {wanted}")


def test_units_come_and_go(serve: Callable[..., TestDevice], boot: Callable[..., Guest]) -> None:
    device = serve({"unit": [{"size": "4M"}]})
    guest = boot(**device.door("scsi"), allow=ALLOW)
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


def test_reservations(serve: Callable[..., TestDevice], boot: Callable[..., Guest]) -> None:
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


def test_protection_information(serve: Callable[..., TestDevice], boot: Callable[..., Guest]) -> None:
    """T10_PI: the bytes travel with reads and writes, and wrong ones are found on both sides."""
    features = ["hotplug", "change", "indirect_desc", "event_idx", "version_1", "t10_pi"]
    device = serve({"device": {"features": features}, "unit": [{"size": "4M", "protection": 1}]})
    guest = boot(
        **device.door("test"), allow=[*ALLOW, "I/O error", "guard tag", "ref tag", "protection error"]
    )
    settles(device, guest, {"0:0"})
    assert int(device("stats")["acked"], 16) & 8
    assert "T10-DIF-TYPE1-CRC" in guest.out("cat /sys/block/sda/integrity/format")
    mark = device.mark()
    guest.run("dd if=/dev/urandom of=/tmp/d bs=64k count=8", check=True)
    guest.run("dd if=/tmp/d of=/dev/sda bs=64k oflag=direct", check=True)
    guest.run("dd if=/dev/sda bs=64k count=8 iflag=direct | cmp - /tmp/d", check=True)
    for name, direction in (("WRITE_10", "pi_out"), ("READ_10", "pi_in")):
        for line in device.since(mark, "request", name=name):
            blocks = int(line["cdb"][14:18], 16)
            assert line[direction] == blocks * 8
    broken = {
        "READ_10": [{"part": "pi_in"}, {"part": "pi_in", "offset": 7}, {"part": "data_in"}],
        "WRITE_10": [{"part": "pi_out"}, {"part": "pi_out", "offset": 7}, {"part": "data_out"}],
    }
    command = {
        "READ_10": "dd if=/dev/sda of=/dev/null bs=4k count=1 iflag=direct",
        "WRITE_10": "dd if=/tmp/d of=/dev/sda bs=4k count=1 oflag=direct",
    }
    for name, ways in broken.items():
        for corrupt in ways:
            device.rule("bad", {"opcode": name}, corrupt=corrupt)
            assert guest.run(command[name]).rc != 0, (name, corrupt)
            device("remove_rule", name="bad")
            guest.run(command[name], check=True)
    assert device.lines("violation") == []

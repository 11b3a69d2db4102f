# SPDX-License-Identifier: GPL-2.0
"""Units that answer INQUIRY with nonsense: the unit is a disk as ever or is not there, nothing crashes, and
other units come, work and go meanwhile. Units that claim to be of SCSI-2 get their CDBs as others do.

Under QEMU these are the answers that have the midlayer ask for more than there is; LONG=1 has all of them,
as does test_uml_inquiry.py with a sanitizer."""

from collections.abc import Callable

import pytest

from guest import sysfs
from guest.device import TestDevice
from support import inquiry
from support.boots import Boots
from support.inquiry import CASES, DISK, SCENARIO, STANDARD_DATA, Shared

pytestmark = [pytest.mark.device, pytest.mark.compare]


assert len(CASES) == 37


# Of a whole target of SCSI-2, and of one whose LUN 0 is of a later standard.
SCSI_2 = {2: (0, 1), 3: (1, 7, 9)}
SCSI_2_DATA = bytes([0, 0, 2, 2, 31, 0, 0, 2]) + b"TRIAL   " + b"OLD DISK        " + b"0001"


@pytest.fixture(scope="module")
def shared(serve_shared: Callable[..., TestDevice], boot_shared: Boots) -> Shared:
    device = serve_shared(SCENARIO)
    shared = Shared(device, boot_shared(**device.door("test")))
    sysfs.wait_for_units(shared.guest, len(SCENARIO["unit"]))
    return shared


def test_cdbs_for_scsi_2_units_have_no_lun(shared: Shared) -> None:
    """Their LUN is in the request's header and not in the CDB, where later standards have other fields."""
    shared.add(3)
    for target, luns in SCSI_2.items():
        for lun in luns:
            match = {"page": STANDARD_DATA, "target": target, "lun": lun}
            shared.device.rule(f"old {target}:{lun}", match, execute=False, data=SCSI_2_DATA.hex())
            shared.add(target, lun)
    there = {(target, lun) for target, luns in SCSI_2.items() for lun in luns}
    shared.device.wait_for(lambda: there <= sysfs.units(shared.guest), 20, "units are missing")
    marked: dict[str, set[str]] = {}
    for target, lun in sorted(there):
        level = shared.guest.out(f"cat /sys/bus/scsi/devices/*:0:{target}:{lun}/scsi_level")
        assert level == "3", "the kernel does not take it for a unit of SCSI-2"
        shared.guest.wait_until(f"ls /sys/bus/scsi/devices/*:0:{target}:{lun}/block", 20)
        node = sysfs.unit_node(shared.guest, target, lun)
        shared.guest.run(f"dd if={node} of=/dev/null bs=4k count=1 iflag=direct")
        sent = shared.device.lines("request", unit=f"{target}:{lun}")
        assert any(line["name"] == "READ_10" for line in sent)
        marked[f"{target}:{lun}"] = {line["name"] for line in sent if int(line["cdb"][2:4], 16) >> 5}
    assert all(not names for names in marked.values()), marked
    for target, lun in there:
        shared.settle({target: DISK}, lun=lun)
        shared.device("remove_rule", name=f"old {target}:{lun}")
    for target, lun in sorted({*there, (3, 0)}, reverse=True):
        shared.device("remove_unit", target=target, lun=lun)
    shared.device.wait_for(lambda: sysfs.units(shared.guest) == {(0, 0), (0, 1)}, 20, "units stay")


@pytest.mark.ours("the kernel warns with the C driver")
@pytest.mark.parametrize("is_honest", [True, False], ids=["residual", "no residual"])
@pytest.mark.parametrize("claimed", ["ffffffff", "00500000"])
def test_a_list_of_units_that_claims_too_much_is_brought_down(
    shared: Shared, claimed: str, is_honest: bool
) -> None:
    """By its length the kernel allocates memory for the next try, and warns if there can never be as much."""
    entries = ["0000000000000000", "0003000000000000"]
    data = "".join([claimed, "00000000", *entries])
    # Of the 4,096 bytes that the kernel asks for at first.
    residual = 4096 - len(bytes.fromhex(data)) if is_honest else 0
    match = {"target": 5, "opcode": "REPORT_LUNS"}
    shared.device.rule("list", match, execute=False, data=data, residual=residual)
    for lun in (3, 0):
        unit = {"target": 5, "lun": lun, "size": "4M", "power_on_attention": False}
        shared.device("add_unit", unit=unit, event=False)
    shared.guest.run("echo '0 5 -' >/sys/class/scsi_host/host*/scan", check=True)
    assert {(5, 0), (5, 3)} <= sysfs.units(shared.guest)
    said = f"target 5 lun 0: a list of {int(claimed, 16)} bytes, taken for one of {4096 - residual - 8}"
    assert said in shared.guest.dmesg()
    shared.device("remove_rule", name="list")
    for lun in (3, 0):
        shared.device("remove_unit", target=5, lun=lun)
    shared.device.wait_for(lambda: sysfs.units(shared.guest) == {(0, 0), (0, 1)}, 20, "units stay")


@pytest.mark.ours("with the C driver the kernel gets the list as it is")
@pytest.mark.parametrize("claimed, kept", [(0xFFFF, 28), (0x0101, 28), (0x0100, 0x0100)])
def test_a_list_of_pages_that_claims_too_much_is_brought_down(
    shared: Shared, claimed: int, kept: int
) -> None:
    """The kernel reads a page for each entry, and has the list again after the driver has looked at it."""
    pages = bytes([0, 0]) + claimed.to_bytes(2) + bytes(28)
    match = {"target": 0, "lun": 1, "page": 0}
    shared.device.rule("pages", match, execute=False, data=pages.hex())
    node = sysfs.unit_node(shared.guest, 0, 1)
    read = shared.guest.out(f"sg_raw -b -r 32 {node} 12 01 00 00 20 00 2>/dev/null | od -An -tx1 | head -n 1")
    shared.device("remove_rule", name="pages")
    assert bytes.fromhex(read) == bytes([0, 0]) + kept.to_bytes(2) + bytes(12)
    said = f"target 0 lun 1: a list of {claimed} bytes, taken for one of 28"
    assert (said in shared.guest.dmesg()) == (kept != claimed)


test_a_unit_with_nonsense_delays_nobody = inquiry.test_a_unit_with_nonsense_delays_nobody
test_a_unit_stays_when_its_data_becomes_nonsense = inquiry.test_a_unit_stays_when_its_data_becomes_nonsense
test_units_recover_from_nonsense = inquiry.test_units_recover_from_nonsense
test_a_malformed_list_is_noticed_while_the_unit_is_offline = (
    inquiry.test_a_malformed_list_is_noticed_while_the_unit_is_offline
)
test_random_data_delays_nobody = inquiry.test_random_data_delays_nobody
test_the_driver_kept_to_the_rules = inquiry.test_the_driver_kept_to_the_rules

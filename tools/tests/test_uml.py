# SPDX-License-Identifier: GPL-2.0
"""Our module in kernels with sanitizers: first that each sanitizer works, then the module's life."""

import errno
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from guest import LogNotClean, sysfs
from guest import uml as bench
from guest.device import TestDevice
from guest.uml import VARIANTS, UmlGuest
from support.uml_bench import CI, DRIVER, SCENARIO

pytestmark = [pytest.mark.main, pytest.mark.uml]


Uml = Callable[..., UmlGuest]
Serve = Callable[..., TestDevice]

# SG_SCSI_RESET of a unit and of a host, with nothing else if that fails (include/scsi/sg.h).
RESET_UNIT, RESET_HOST = 0x101, 0x103

# Which fault of tools/faults is told by what, in which kernel. A report of lockdep is its last one.
BOTH = {
    "list": "WARNING: lib/list_debug.c",
    "timer": "WARNING: lib/debugobjects.c",
    "work": "WARNING: lib/debugobjects.c",
    "sleep": "BUG: (sleeping function called from invalid context|scheduling while atomic)",
}
PLANTED = {
    "kasan": {
        "use_after_free": "BUG: KASAN: slab-use-after-free in use_after_free",
        "out_of_bounds": "BUG: KASAN: slab-out-of-bounds in out_of_bounds",
        **BOTH,
    },
    "lockdep": {
        "rcu": "WARNING: suspicious RCU usage",
        **BOTH,
    },
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_planted_faults_are_caught(uml: Uml, variant: str) -> None:
    """Each fault, and no other, is in the log; the log's check says so."""
    # A fault leaves the kernel damaged, on purpose.
    guest = uml(variant, module=None, append="oops=continue kmemleak=on")
    if variant == "lockdep":
        guest.assert_lockdep_works()
    guest.assert_clean_log()
    for name, report in PLANTED[variant].items():
        guest.insert_fault(name)
        with pytest.raises(LogNotClean, match=report):
            guest.assert_clean_log()
    guest.agent_may_be_lost()


@pytest.mark.parametrize(
    ("fault", "report"),
    [
        ("order", "WARNING: possible circular locking dependency detected"),
        ("context", "WARNING: inconsistent lock state"),
    ],
)
def test_planted_lock_faults_are_caught(uml: Uml, fault: str, report: str) -> None:
    """Lockdep ends with its first report, and the bench notices."""
    guest = uml("lockdep", module=None)
    guest.insert_fault(fault)
    with pytest.raises(LogNotClean, match=report):
        guest.assert_clean_log()
    with pytest.raises(Exception, match="switched itself off"):
        guest.assert_lockdep_works()
    guest.agent_may_be_lost()


def test_planted_hang_and_leak_are_caught(uml: Uml) -> None:
    guest = uml("kasan", module=None, append="kmemleak=on")
    guest.run("echo 1 >/proc/sys/kernel/hung_task_timeout_secs", check=True)
    guest.insert_fault("leak")
    guest.insert_fault("hang")
    with pytest.raises(LogNotClean, match="blocked for more than 1 seconds"):
        guest.assert_clean_log()
    assert "planted leak" in guest.leaks()
    guest.agent_may_be_lost()


def test_planted_allocation_failure_is_injected(uml: Uml) -> None:
    guest = uml("kasan", module=None)
    planted = guest.fault_module("planted")
    # The kernel tells of what it could not allocate for the module itself.
    with guest.misbehaving("Call Trace"):
        codes = guest.fail_allocations(
            f"insmod {planted} fault=allocate", undo="test $code != 0 || rmmod planted"
        )
    assert len(codes) > 10
    assert codes[-1] == 0
    assert errno.ENOMEM in codes


@pytest.mark.parametrize("variant", VARIANTS)
def test_our_rust_code_is_instrumented(uml_module: Callable[[str], Path], variant: str) -> None:
    """KASAN sees what the Rust parts do, and with debug assertions they check themselves."""
    module = uml_module(variant)
    rust = module.with_name("virtio_scsi_rs_main.o")
    symbols = subprocess.run(["nm", rust], check=True, capture_output=True, text=True).stdout
    assert bool(re.search(r" U __asan_(report_)?load", symbols)) == (variant == "kasan")


def nodes(guest: UmlGuest) -> dict[str, str]:
    """The block device of each unit, by target and LUN."""
    found = guest.out("ls -d /sys/bus/scsi/devices/*:*/block/*").splitlines()
    return {Path(node).parts[5].split(":", 2)[2]: f"/dev/{Path(node).name}" for node in found}


def write_and_verify(guest: UmlGuest, node: str, size: int = 1 << 20) -> None:
    guest.push("/tmp/data", os.urandom(size))
    guest.run(f"dd if=/tmp/data of={node} bs=128k oflag=direct conv=fsync", check=True)
    guest.run(f"dd if={node} bs=64k count={size >> 16} iflag=direct | cmp - /tmp/data", check=True)


@pytest.mark.parametrize("variant", VARIANTS)
def test_disks_work(serve: Serve, uml: Uml, variant: str) -> None:
    device = serve(SCENARIO)
    guest = uml(variant, [device])
    found = nodes(guest)
    assert set(found) == {"0:0", "0:1", "3:16684", "5:0"}
    for unit in ("0:0", "0:1", "3:16684"):
        write_and_verify(guest, found[unit])
    disk = found["0:0"]
    guest.run(f"mke2fs -q -t ext4 {disk} && mkdir -p /mnt/a && mount -o discard {disk} /mnt/a", check=True)
    guest.run("cp /tmp/data /mnt/a/a && sync && cmp /mnt/a/a /tmp/data && rm /mnt/a/a", check=True)
    guest.run(f"fstrim /mnt/a || :; umount /mnt/a && e2fsck -fn {disk}", check=True)
    guest.unload()
    guest.poweroff()
    assert device.lines("violation") == []


@pytest.mark.parametrize("rounds", [2 if CI else 15])
@pytest.mark.parametrize("variant", VARIANTS)
def test_works_after_many_loads_and_binds(serve: Serve, uml: Uml, variant: str, rounds: int) -> None:
    device = serve(SCENARIO)
    guest = uml(variant, [device])
    insmod = f"insmod {guest.share(bench.module_file(variant))}"
    name = guest.out(f"basename {DRIVER}/virtio*")
    # Partition tables may just be read when their units go.
    with guest.misbehaving():
        # Leave after units were looked for, and while they are.
        for _ in range(rounds):
            guest.run(f"rmmod virtio_scsi_rs && {insmod}", check=True)
            guest.settle()
            guest.run(f"for i in 1 2 3; do rmmod virtio_scsi_rs && {insmod} || exit 1; done", check=True)
            guest.settle()
            again = f"echo {name} >{DRIVER}/unbind && echo {name} >{DRIVER}/bind"
            guest.run(f"for i in 1 2 3; do {again} || exit 1; done", check=True)
            guest.settle()
    write_and_verify(guest, nodes(guest)["0:0"])
    guest.unload()
    assert device.lines("violation") == []


@pytest.mark.parametrize("variant", VARIANTS)
def test_power_off_with_the_driver_loaded_is_clean(serve: Serve, uml: Uml, variant: str) -> None:
    """User-Mode Linux takes its devices away at the very end, after they were shut down."""
    guest = uml(variant, [serve(SCENARIO)])
    write_and_verify(guest, nodes(guest)["0:0"])
    guest.poweroff()


def test_nothing_is_leaked(serve: Serve, uml: Uml) -> None:
    device = serve(SCENARIO)
    guest = uml("kasan", [device], append="kmemleak=on", parameters="recovery_step=1")
    disk = nodes(guest)["0:0"]
    write_and_verify(guest, disk)
    guest.run("sg_reset -d /dev/sg0 && sg_reset -H /dev/sg0", check=True)
    with guest.misbehaving():
        guest.run(f"echo 1 >/sys/block/{disk.removeprefix('/dev/')}/device/timeout", check=True)
        device.rule("dropped", {"opcode": "READ_10", "times": 1}, drop=True)
        guest.run(f"dd if={disk} of=/dev/null bs=4k count=1 iflag=direct", check=True)
        for event, reason in (("transport_reset", "rescan"), ("param_change", 0x2A09), ("async_notify", 16)):
            device("event", event=event, reason=reason, target=0, lun=1, times=100, wait=True)
        device("add_unit", unit={"target": 6, "size": "1M"})
        device("remove_unit", target=6, lun=0)
    name = guest.out(f"basename {DRIVER}/virtio*")
    guest.run(f"echo {name} >{DRIVER}/unbind && echo {name} >{DRIVER}/bind", check=True)
    guest.settle()
    guest.unload()
    found = guest.leaks()
    assert found == ""


# Units are looked for in other tasks, whose allocations do not fail here.
NO_SCAN = "scsi_mod.scan=manual"
# What User-Mode Linux has no memory to read is zeroes, which the driver may find wrong.
NO_MEMORY = {errno.ENOMEM, errno.EINVAL}


def scan(guest: UmlGuest) -> None:
    guest.run("echo '- - -' >/sys/class/scsi_host/host*/scan", check=True)
    guest.settle()


@pytest.mark.parametrize("variant", VARIANTS)
def test_probe_survives_each_failed_allocation(serve: Serve, uml: Uml, variant: str) -> None:
    guest = uml(variant, [serve(SCENARIO)], module=None, append=NO_SCAN)
    guest.run(f"insmod {guest.share(bench.module_file(variant))}", check=True)
    name = guest.out(f"basename {DRIVER}/virtio*")
    guest.run(f"echo {name} >{DRIVER}/unbind", check=True)
    with guest.misbehaving("Call Trace"):
        codes = guest.fail_allocations(
            f"write {name} {DRIVER}/bind",
            f"test $code != 0 || echo {name} >{DRIVER}/unbind",
            # There are hundreds of them. The other kernel does others.
            first=1 + VARIANTS.index(variant),
            step=8 if CI else 1,
        )
    assert codes[-1] == 0
    # What the kernel itself can do without does not fail at all.
    assert set(codes) <= {0, *NO_MEMORY}
    assert codes.count(errno.ENOMEM) > (10 if CI else 100)
    guest.run(f"echo {name} >{DRIVER}/bind", check=True)
    scan(guest)
    write_and_verify(guest, nodes(guest)["0:0"])
    guest.unload()


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_device_reset_survives_each_failed_allocation(serve: Serve, uml: Uml, variant: str) -> None:
    """It is tried again, and succeeds. What fails before the driver is asked for it is ENOMEM; and virtio_uml
    makes zeros of a field of the configuration that it has no memory to read, which is an error."""
    device = serve(SCENARIO)
    guest = uml(variant, [device], module=None, append=NO_SCAN)
    guest.run(f"insmod {guest.share(bench.module_file(variant))} recovery_step=1", check=True)
    name = guest.out(f"basename {DRIVER}/virtio*")
    # Units on the way away or to be read again are waited for: they are in the way of the next reset.
    find = "echo 0 0 0 >$(echo /sys/class/scsi_host/host*)/scan; until test -e /dev/sg0; do sleep 0.02; done"
    guest.run(find, check=True)
    again = f"echo {name} >{DRIVER}/unbind && echo {name} >{DRIVER}/bind && {{ {find}; }}"
    with guest.misbehaving("Call Trace"):
        codes = guest.fail_allocations(
            f"reset {RESET_HOST:#x} /dev/sg0", f"test $code != {errno.EIO} || {{ {again}; }}"
        )
    assert codes[-1] == 0
    assert set(codes) <= {0, errno.EIO, errno.ENOMEM}
    said = guest.dmesg()
    given_up = said.count("could not be set up again and is given up")
    assert given_up == said.count("the device cannot be served") < 5
    # One allocation is of the sg driver, which says so in the same way.
    assert codes.count(errno.EIO) <= given_up + 1
    assert codes.count(0) > 20
    scan(guest)
    write_and_verify(guest, nodes(guest)["0:0"])
    guest.unload()


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_device_reset_survives_short_memory(serve: Serve, uml: Uml, variant: str) -> None:
    """For a moment: the reset takes longer. For good: the device is given up, and can be bound again."""
    device = serve(SCENARIO)
    guest = uml(variant, [device])
    guest.settle()
    reset = f"reset {RESET_HOST:#x} /dev/sg0"
    with guest.misbehaving("Call Trace"):
        assert guest.short_of_memory(reset, 6000, 2) == 0
        assert sysfs.counters(guest)["failed_device_resets"] == 0
        write_and_verify(guest, nodes(guest)["0:0"])

        assert guest.short_of_memory(reset, 6000, 10000) == errno.EIO
        assert sysfs.counters(guest)["failed_device_resets"] == 1
        name = guest.out(f"basename {DRIVER}/virtio*")
        guest.run(f"echo {name} >{DRIVER}/unbind && echo {name} >{DRIVER}/bind", check=True)
    guest.settle()
    write_and_verify(guest, nodes(guest)["0:0"])
    guest.unload()


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_function_survives_each_failed_allocation(serve: Serve, uml: Uml, variant: str) -> None:
    """The driver needs no memory to reset a logical unit: what fails does so before it is asked."""
    device = serve(SCENARIO)
    guest = uml(variant, [device])
    codes = guest.fail_allocations(f"reset {RESET_UNIT:#x} /dev/sg0", "true")
    assert codes[-1] == 0
    assert len(codes) > 1
    assert len(device.lines("tmf", name="logical_unit_reset")) == codes.count(0)
    write_and_verify(guest, nodes(guest)["0:0"])

# SPDX-License-Identifier: GPL-2.0
"""Reads and writes for each second, and how long they take, measured by fio in one guest that has both
drivers, each on a controller of its own, and a virtio-blk disk beside them."""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from guest import QemuGuest, fio
from guest.disks import Controller, Disk
from guest.guest import DRIVERS
from guest.machine import kvm_serves

from .guests import LOGS, SIZE

PROCESSORS = 2
# Seconds that are measured each time, and those before them.
SECONDS, RAMP = 1, 0.3
BLOCK = "virtio-blk"
CONTENDERS = (*DRIVERS, BLOCK)
BLOCK_DISK = {"driver": "null-co", "node-name": "block0", "size": SIZE, "read-zeroes": True}
RANDOM = {"norandommap": True, "randrepeat": 0}
CELLS: dict[str, dict[str, Any]] = {
    "4 KiB read, depth 1": {"rw": "randread", "bs": "4k", "iodepth": 1, **RANDOM},
    "4 KiB read, depth 32": {"rw": "randread", "bs": "4k", "iodepth": 32, **RANDOM},
    "4 KiB write, depth 32": {"rw": "randwrite", "bs": "4k", "iodepth": 32, **RANDOM},
    "256 KiB sequential read, depth 4": {"rw": "read", "bs": "256k", "iodepth": 4},
}
PERCENTILES = ("50", "99")


@dataclass(frozen=True)
class Sample:
    """What fio measured: I/Os for each second, and microseconds that they take, by percentile."""

    iops: float
    latency: dict[str, float]

    @classmethod
    def of(cls, output: str) -> "Sample":
        """From fio's output."""
        start = output.find("{\n")
        job = json.loads(output[start:])["jobs"][0] if start >= 0 else {"error": 1}
        if job["error"]:
            raise ValueError(f"fio failed: {output[:1000]}")
        one = max((job["read"], job["write"]), key=lambda each: each["total_ios"])
        times = one["lat_ns"]["percentile"]
        return cls(one["iops"], {each: times[f"{each}.000000"] / 1000 for each in PERCENTILES})


class PairedGuest(QemuGuest):
    """Two controllers, alike but for their driver."""

    def __init__(self) -> None:
        properties = {"num_queues": PROCESSORS}
        controllers = [Controller([Disk(size=SIZE)], properties, id=f"scsi{i}") for i in range(2)]
        block = {"driver": "virtio-blk-pci", "drive": BLOCK_DISK["node-name"], "num-queues": PROCESSORS}
        args = ["-blockdev", json.dumps(BLOCK_DISK), "-device", json.dumps(block)]
        super().__init__(LOGS / "wall", controllers, module=None, smp=PROCESSORS, args=args)

    def prepare(self) -> None:
        """Loads both drivers; the C driver has the first controller."""
        self.load("c")
        folder = DRIVERS["c"].sysfs
        self.devices = self.out(f"ls {folder} | grep virtio | sort -V").split()
        self.run(f"echo {self.devices[1]} >{folder}/unbind", check=True)
        self.load("ours")
        self.run("modprobe virtio_blk", check=True)
        self.wait_until("test -b /dev/vda")
        self.of = dict(zip(("c", "ours"), self.devices, strict=True))

    def change_over(self) -> None:
        """Each driver has the other one's controller from now on."""
        for driver, device in self.of.items():
            self.run(f"echo {device} >{DRIVERS[driver].sysfs}/unbind", check=True)
        self.of = dict(zip(self.of, reversed(self.of.values()), strict=True))
        for driver, device in self.of.items():
            self.run(f"echo {device} >{DRIVERS[driver].sysfs}/bind", check=True)
        self.settle()

    def node_of(self, contender: str) -> str:
        if contender == BLOCK:
            return "/dev/vda"
        units = f"/sys/bus/virtio/devices/{self.of[contender]}/host*/target*/*:*/block"
        return f"/dev/{self.out(f'ls {units}')}"

    def sample(self, contender: str, options: dict[str, Any]) -> Sample:
        times = {"runtime": SECONDS, "ramp_time": RAMP, "time_based": True, "size": "256m", "direct": 1}
        # From before the submission: an emulated device may be done with it before that returns.
        times |= {"lat_percentiles": 1, "clat_percentiles": 0}
        command = fio.command(self.node_of(contender), ioengine="io_uring", **options, **times)
        return Sample.of(self.run(command, 120, check=True).stdout)


# By cell and contender, one for each round.
Samples = dict[str, dict[str, list[Sample]]]


def run(pairs: int) -> Iterator[Samples]:
    """So many rounds of all cells; in each round all contenders take their turn, in an order that differs.
    After each round, what has been measured so far."""
    found: Samples = {cell: {each: [] for each in CONTENDERS} for cell in CELLS}
    order = random.Random(12)
    with PairedGuest() as guest:
        guest.prepare()
        for number in range(pairs):
            if number == pairs // 2:
                guest.change_over()
            print(f"   paired runs, {number + 1} of {pairs}", flush=True)
            for cell, options in CELLS.items():
                for contender in order.sample(CONTENDERS, len(CONTENDERS)):
                    found[cell][contender].append(guest.sample(contender, options))
            yield found


def accelerator() -> str:
    return "KVM" if kvm_serves() else "TCG (emulated)"

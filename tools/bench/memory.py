# SPDX-License-Identifier: GPL-2.0
"""The memory that a driver has allocated when a controller is bound, or that was allocated on its behalf: for
each command, each queue and the rest. The kernel's own events of allocations tell, with the stack of each."""

import re
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass

from guest import QemuGuest
from guest.disks import Controller
from guest.guest import DRIVERS

from .guests import LOGS

TRACING = "/sys/kernel/tracing"
ALLOCATIONS = ("kmalloc", "kmem_cache_alloc", "mm_page_alloc")
RELEASES = ("kfree", "kmem_cache_free", "mm_page_free")
BUFFER_KILOBYTES = 40960
PAGE = 4096
# Pages for objects are counted as objects.
FOR_OBJECTS = {"allocate_slab", "new_slab", "___slab_alloc", "alloc_slab_page"}
# Descriptors of a queue, and queues.
FEW, MANY = 128, 256
# What the midlayer is told to keep for each command and host.
HOST_ALLOC = "f:bench/host scsi_host_alloc command=sht->cmd_size:u32 host=privsize:s32"

EVENT = re.compile(r"^\s*(?P<task>\S.*-\d+)\s+\[(?P<cpu>\d+)\] .*?: (?P<name>\w+): (?P<fields>.*)$")
STACK = re.compile(r"^\s*(?P<task>\S.*-\d+)\s+\[(?P<cpu>\d+)\] .*?: <stack trace>$")
FRAME = re.compile(r"^ => (?P<function>\S+)")


@dataclass
class Event:
    """A line of the trace, and the functions that led there."""

    name: str
    fields: dict[str, str]
    stack: list[str]


def events(trace: str) -> Iterator[Event]:
    """A stack follows its event, on the same processor."""
    last: dict[str, Event] = {}
    found: list[Event] = []
    frames: list[str] | None = None
    for line in trace.splitlines():
        if frame := FRAME.match(line):
            if frames is not None:
                frames.append(frame["function"].partition("+")[0])
        elif stack := STACK.match(line):
            event = last.get(stack["cpu"])
            frames = event.stack if event else None
        elif event_line := EVENT.match(line):
            frames = None
            fields = dict(re.findall(r"(\w+)=(\S+)", event_line["fields"]))
            event = Event(event_line["name"], fields, [])
            last[event_line["cpu"]] = event
            found.append(event)
    yield from found


def _bytes(event: Event) -> int:
    if event.name == "mm_page_alloc":
        return PAGE << int(event.fields["order"])
    return int(event.fields["bytes_alloc"])


def live(seen: Iterable[Event], functions: Set[str]) -> int:
    """Bytes that were allocated under one of these functions, and not released again."""
    kept: dict[tuple[str, str], int] = {}
    for event in seen:
        pages = event.name.startswith("mm_page")
        key = ("page", event.fields.get("pfn", "")) if pages else ("object", event.fields.get("ptr", ""))
        if event.name in RELEASES:
            kept.pop(key, None)
        elif event.name not in ALLOCATIONS or functions.isdisjoint(event.stack):
            continue
        elif not (pages and FOR_OBJECTS & set(event.stack)):
            kept[key] = _bytes(event)
    return sum(kept.values())


class TracedGuest(QemuGuest):
    """A guest with one controller without units."""

    def __init__(self, queues: int, size: int) -> None:
        properties = {"num_queues": queues, "virtqueue_size": size}
        super().__init__(LOGS / f"memory-{queues}-{size}", [Controller([], properties)], module=None)

    def bound(self, driver: str) -> tuple[int, dict[str, int]]:
        """Binds the controller; the bytes that live then, and what the midlayer was told to keep."""
        name, folder = DRIVERS[driver].name, DRIVERS[driver].sysfs
        self.load(driver)
        device = self.out(f"ls {folder} | grep virtio")
        self.run(f"echo {device} >{folder}/unbind", check=True)
        lines = [
            f"cd {TRACING}",
            f"echo {BUFFER_KILOBYTES} >buffer_size_kb",
            "echo >trace",
            f"echo '{HOST_ALLOC}' >dynamic_events",
            *(f"echo stacktrace >events/kmem/{each}/trigger" for each in ALLOCATIONS),
            *(f"echo 1 >events/kmem/{each}/enable" for each in (*ALLOCATIONS, *RELEASES)),
            "echo 1 >events/bench/enable",
            f"echo {device} >{folder}/bind",
            "echo 0 >events/bench/enable",
            "echo 0 >events/kmem/enable",
            *(f"echo '!stacktrace' >events/kmem/{each}/trigger" for each in ALLOCATIONS),
            "grep overrun: per_cpu/cpu*/stats | grep -qv ': 0$' && exit 3",
            "cat trace >/tmp/trace",
            "echo >dynamic_events",
        ]
        self.run("\n".join(("set -e", *lines[:-3], "set +e", *lines[-3:])), timeout=300, check=True)
        trace = self.pull("/tmp/trace").decode(errors="replace")
        (self.log_dir / f"{driver}.trace").write_text(trace)
        seen = list(events(trace))
        functions = set(self.out(f"grep -F '[{name}]' /proc/kallsyms | cut -f 1 | cut -d ' ' -f 3").split())
        self.unload(driver)
        told = next(event.fields for event in seen if event.name == "host")
        return live(seen, functions), {"command": int(told["command"]), "host": int(told["host"])}


def run() -> dict[str, dict[str, float]]:
    """By driver: bytes of the midlayer's private areas, and all bytes for each command, queue and host."""
    found: dict[str, dict[tuple[int, int], int]] = {driver: {} for driver in DRIVERS}
    told: dict[str, dict[str, int]] = {}
    for queues, size in ((1, FEW), (1, MANY), (2, FEW)):
        with TracedGuest(queues, size) as guest:
            for driver in DRIVERS:
                print(f"   memory, {queues} queues of {size}: {DRIVERS[driver].name}", flush=True)
                found[driver][queues, size], areas = guest.bound(driver)
                told.setdefault(driver, areas)
    return {driver: shares(found[driver], told[driver]) for driver in DRIVERS}


def shares(by_shape: dict[tuple[int, int], int], told: dict[str, int]) -> dict[str, float]:
    """The bytes of each command, queue and host, from those of three controllers."""
    command = (by_shape[1, MANY] - by_shape[1, FEW]) / (MANY - FEW)
    queue = by_shape[2, FEW] - by_shape[1, FEW]
    return {
        "private area of a command": told["command"],
        "private area of a host": told["host"],
        "each further command": command,
        f"each further queue of {FEW}": queue,
        f"a controller with one queue of {FEW}": by_shape[1, FEW],
    }

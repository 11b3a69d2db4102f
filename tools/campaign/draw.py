# SPDX-License-Identifier: GPL-2.0
"""A seed becomes rounds. A round is data, so that it can be written down, played again and shrunk.

A step has one of these keys:

rule     a rule of the device
order    an order of its control socket, with its `fields`
run      a command in the guest, which nobody waits for: {unit} is a unit's node, {generic} its /dev/sg, and
         {host} the folder of the SCSI host
probes   offers, for each of which the device is found anew; `wait` is how many seconds lie between
resets   how often the SCSI host is reset
bind     "driver" or "module": what is taken away and put back
death    how the device goes for good: "disconnect" or "die"
pause    seconds
"""

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from support.misbehaviour import ACTIONS, TMF_ANSWERS
from support.uml_bench import IO

Step = dict[str, Any]

# How many request queues the device serves.
QUEUES = 3
UNITS: list[dict[str, Any]] = [
    {"target": 0, "lun": 0, "size": "32M", "thin": True},
    {"target": 0, "lun": 1, "size": "16M", "block_size": 4096},
    {"target": 3, "lun": 300, "size": "16M"},
    {"target": 5, "lun": 0, "kind": "cdrom", "size": "4M"},
]
DISKS = [(0, 0), (0, 1), (3, 300)]
TARGETS = (0, 0, 0, 3, 5, 6, 7, 255)
LUNS = (0, 0, 1, 2, 255, 256, 300, 0x3FFF)
WIDE = (0, 1, 2, 3, 7, 8, 64, 255, 256, 4096, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)
NARROW = (0, 1, 7, 255, 256, 0x7FFF, 0xFFFF)
FIELDS = {
    **dict.fromkeys(("num_queues", "seg_max", "max_sectors", "cmd_per_lun", "event_info_size"), WIDE),
    **dict.fromkeys(("sense_size", "cdb_size", "max_lun"), WIDE),
    **dict.fromkeys(("max_channel", "max_target"), NARROW),
}
# The configuration that the device behaves with. Few targets, so that looking for units is over soon.
USUAL = {
    "num_queues": QUEUES, "seg_max": 126, "max_sectors": 0xFFFF, "cmd_per_lun": 128, "event_info_size": 16,
    "sense_size": 96, "cdb_size": 32, "keeps_sizes": False, "max_channel": 0, "max_target": 7,
    "max_lun": 16383,
}  # fmt: skip
OPTIONAL = ["hotplug", "change", "indirect_desc", "event_idx", "ring_packed", "in_order"]
# Those that the driver does not know, or that make no sense here. Not access_platform, which stands for a
# DMA API that User-Mode Linux has not.
STRANGE: list[str | int] = [
    "inout",
    "t10_pi",
    "notify_on_empty",
    "any_layout",
    "order_platform",
    5,
    22,
    45,
    60,
    63,
]
STATUSES = (0, 2, 4, 8, 0x10, 0x14, 0x18, 0x22, 0x28, 0x30, 0x40, 0x7E, 0xFF)
CODES = (*range(15), 99, 200, 254, 255)
AMOUNTS = ("zero", "half", "full", "beyond", "max", 1, 3, 107, 511, 4095, 0x7FFFFFFF, 0x80000000)
REASONS = (0, 1, 2, 3, 4, 0x2A, 0x92A, 0x12A, 0x33F, 0x73F, 0x0E3F, 0x738, 0xFFFF, 0xFFFFFFFF)
IDS = ("stale", "out_of_range", "not_head", 0, 1, 0x7FFF, 0xFFFF, 0x10000, 0xFFFFFFFF)
COMMANDS = (
    "sg_inq {generic}; sg_vpd -p 0x83 {generic}; sg_readcap -l {generic}",
    "sg_luns {generic}; sg_luns -s 2 {generic}; sg_turs -n 20 {generic}",
    "sg_raw -r 4096 {generic} 12 01 00 ff ff 00; sg_raw -r 1 {generic} a0 00 00 00 00 00 00 00 ff ff 00 00",
    "sg_raw -r 65536 {generic} 28 00 00 00 00 00 00 00 10 00; sg_raw {generic} ee 00 00 00 00 00",
    "sg_modes -a {generic}; sg_logs -a {generic}; sg_opcodes {generic}; sg_requests {generic}",
    "sg_unmap -l 8 -n 16 {generic}; sg_write_same -l 64 -n 8 -i /dev/zero --xferlen=512 {generic}",
    "sg_sync {generic}; sg_verify -l 0 -c 64 {generic}; sg_start 1 {generic}; sg_prevent -a {generic}",
    "for n in 1 2 3; do echo 1 >/sys/class/scsi_generic/$(basename {generic})/device/rescan; done",
    "echo '- - -' >{host}/scan",
    "sg_reset -d -N {generic}",
    "sg_reset -t -N {generic}",
    "sg_reset -H -N {generic}",
    "blockdev --rereadpt {unit}; dd if={unit} of=/dev/null bs=1M count=4 iflag=direct",
    "cat /sys/kernel/debug/virtio_scsi_rs/*/*; cat /sys/class/scsi_host/host*/recovery_*",
)


@dataclass
class Round:
    """What is done, and how the device looks when it begins."""

    name: str
    features: list[str]
    depth: int
    steps: list[Step] = field(default_factory=list)

    def data(self) -> dict[str, Any]:
        return asdict(self)


def soft_action(chance: random.Random) -> dict[str, Any]:
    """A lie in an answer, which costs the command that it is about, and nothing else."""
    pick = chance.choice
    actions: list[dict[str, Any]] = [
        {"response": pick(CODES), "execute": pick((True, False))},
        {"response": chance.randrange(256)},
        {"status": pick(STATUSES)},
        {"status": chance.randrange(256), "status_qualifier": chance.randrange(65536)},
        {"status": "check_condition", **sense(chance)},
        {"status": "check_condition", **sense(chance)},
        {"residual": pick(AMOUNTS), "execute": True},
        {"used_len": pick(AMOUNTS)},
        {"used_len": pick(AMOUNTS), "write": pick(("response", "data", "nothing"))},
        {"write": pick(("response", "data", "nothing"))},
        {"fuzz": {"part": "response", "bytes": pick((1, 2, 8, 200)), "seed": chance.randrange(1 << 30)}},
        {"fuzz": {"part": "response", "bytes": 4, "within": 12, "seed": chance.randrange(1 << 30)}},
        {"corrupt": {"part": "data_in", "offset": chance.randrange(4096), "length": 64, "xor": 255}},
        {"reorder": pick((2, 3, 7))},
        {"delay_ms": pick((1, 5, 30))},
        {"interrupt": True},
        {
            "scribble": {
                "part": "response",
                "bytes": "ff" * 108,
                "after_ms": pick((0, 9)),
            }
        },
        {"flip": {"part": "response", "offset": chance.randrange(12), "for_ms": pick((1, 5))}},
    ]
    return pick(actions)


def sense(chance: random.Random) -> dict[str, Any]:
    """Sense data: of any key, malformed, longer or shorter than it says."""
    known = (2, 4), (3, 0x11), (5, 0x20), (6, 0x29), (6, 0x2A), (6, 0x3F), (11, 0), (14, 0x1D)
    key, asc = chance.choice(known)
    usual = {"key": key, "asc": asc, "ascq": chance.randrange(16)}
    unusual = {"key": chance.randrange(16), "asc": chance.randrange(256), "ascq": chance.randrange(256)}
    data = chance.randbytes(chance.choice((0, 1, 7, 18, 96, 252))).hex()
    result: dict[str, Any] = {"sense": chance.choice((usual, unusual, data, f"72{key:02x}{asc:02x}00"))}
    if chance.random() < 0.5:
        result["sense_len"] = chance.choice((0, 1, 7, 8, 18, 95, 96, 97, 252, 255, 256, 0xFFFF, 0xFFFFFFFF))
    return result


def hard_action(chance: random.Random) -> dict[str, Any]:
    """What costs a queue, or time."""
    pick = chance.choice
    actions: list[dict[str, Any]] = [
        *ACTIONS.values(),
        {"id": pick(IDS)},
        {"id": chance.randrange(1 << 16)},
        {"repeat": chance.randrange(2, 6)},
        {"used_jump": pick((1, 2, 100, 255, 256, 257, 0x7FFF, 0x8000, 0xFFFF))},
        {"hold": "held", "used_len": pick(AMOUNTS)},
        {"drop": True},
        {"delay_ms": pick((300, 1200, 2500))},
    ]
    return pick(actions)


def soft_rule(chance: random.Random, number: int) -> Step:
    kind = chance.random()
    match: dict[str, Any] = dict(IO) if kind < 0.7 else {}
    if kind > 0.85:
        match = {"target": chance.choice((0, 3, 5))}
    match |= {"probability": chance.choice((0.05, 0.3, 0.7)), "seed": chance.randrange(1 << 30)}
    action = soft_action(chance)
    if "flip" in action:
        # Each keeps a processor busy.
        match["probability"] = 0.05
    return {"rule": {"name": f"{number}", "match": match, "action": action}}


def hard_rule(chance: random.Random, number: int) -> Step:
    match: dict[str, Any] = dict(IO) if chance.random() < 0.8 else {}
    match |= {"probability": chance.choice((0.002, 0.02, 0.2)), "times": chance.choice((1, 2, 6))}
    match |= {"seed": chance.randrange(1 << 30)}
    return {"rule": {"name": f"{number}", "match": match, "action": hard_action(chance)}}


def function_rule(chance: random.Random, number: int) -> Step:
    """How task management functions are answered."""
    match: dict[str, Any] = {"on": "tmf", "probability": chance.choice((0.3, 1.0)), "seed": number}
    if chance.random() < 0.5:
        match["subtype"] = chance.choice(
            ("abort_task", "logical_unit_reset", "i_t_nexus_reset", "query_task")
        )
    action = chance.choice(
        [*TMF_ANSWERS.values(), {"repeat": 2}, {"id": chance.choice(IDS)}, {"fuzz": {"part": "response"}}]
    )
    return {"rule": {"name": f"{number}", "match": match, "action": action}}


def event_step(chance: random.Random, most: int = 1500) -> Step:
    """Events of any kind, as many as the driver takes."""
    pick = chance.choice
    event: dict[str, Any] = {
        "event": pick((0, 1, 1, 1, 2, 3, 3, 4, 7, 0x7FFFFFFF, chance.randrange(1 << 31))),
        "reason": pick(REASONS),
        "target": pick(TARGETS),
        "lun": pick(LUNS),
        "missed": chance.random() < 0.1,
        "times": chance.randrange(most // 4, most),
        "interval_ms": pick((0, 0, 0, 0, 1)),
        "wait": True,
    }
    if chance.random() < 0.3:
        event["lun_bytes"] = chance.randbytes(8).hex()
    if chance.random() < 0.4:
        event["used_len"] = pick((0, 1, 8, 15, 17, 4096, 0x7FFFFFFF, 0xFFFFFFFF))
    return {"order": "event", "fields": event}


def config(chance: random.Random) -> dict[str, Any]:
    """Some fields have a value that makes little sense, or none."""
    odd = chance.sample(list(FIELDS), chance.choice((0, 1, 1, 2, 3, len(FIELDS))))
    if chance.random() < 0.9:
        # Looking for units at so many addresses takes most of a probe.
        odd = [name for name in odd if FIELDS[name] is WIDE]
    values = {name: chance.choice(FIELDS[name]) for name in odd}
    return {**USUAL, **values, "keeps_sizes": chance.random() < 0.3}


def features(chance: random.Random) -> list[str]:
    return ["version_1", *(name for name in OPTIONAL if chance.random() < 0.6)]


def offer(chance: random.Random) -> Step:
    """What one probe finds."""
    offered: list[str | int] = [*features(chance)]
    if chance.random() < 0.3:
        offered += chance.sample(STRANGE, chance.randrange(1, 4))
    if chance.random() < 0.05:
        offered.remove("version_1")
    return {"features": offered, "config": config(chance)}


def odd_order(chance: random.Random) -> list[Step]:
    """Something besides rules and events."""
    pick = chance.choice
    queue = pick(range(QUEUES + 2))
    number = chance.randrange(1 << 16)
    unit = {"target": pick((6, 7)), "lun": pick((0, 1, 2, 300)), "size": "1M"}
    orders: list[list[tuple[str, dict[str, Any]]]] = [
        [("interrupt", {"queue": queue, "times": pick((1, 50, 500))})],
        [("used", {"queue": queue, "id": pick((0, 300, number, 0xFFFFFFFF)), "len": pick((0, 0xFFFFFFFF))})],
        [("used_jump", {"queue": queue, "by": pick((1, 3, 256, 0x8000, 0xFFFF))})],
        [("set_config", {"config": config(chance)}), ("notify_config", {"times": pick((1, 20))})],
        [("ignore_kicks", {"queue": queue, "count": pick((1, 3))})],
        [("attention", {"lun": pick((0, 1)), "asc": pick((0x29, 0x2A, 0x3F)), "ascq": pick((0, 9, 14))})],
        [("add_unit", {"unit": unit})],
        [("remove_unit", {"target": unit["target"], "lun": unit["lun"], "event": pick((True, False))})],
        [("eventq", {"consume": False}), ("eventq", {"consume": True})],
        [("resize", {"target": 3, "lun": 300, "blocks": pick((1, 2048, 32768, 1 << 40))})],
        [("queue", {"queue": queue, "run": False})],
        [("queue", {"queue": queue, "run": True})],
        [("release", {})],
    ]  # fmt: skip
    return [{"order": name, "fields": fields} for name, fields in pick(orders)]


def pause(chance: random.Random) -> Step:
    return {"pause": round(chance.uniform(0.05, 0.4), 2)}


def storm(chance: random.Random, number: int) -> list[Step]:
    """Answers that lie, as many as there can be."""
    rules = [soft_rule(chance, number + index) for index in range(chance.randrange(2, 8))]
    return [*rules, {"pause": chance.choice((5, 8, 12))}]


def siege(chance: random.Random, number: int) -> list[Step]:
    """Queues break, commands and functions are lost."""
    steps: list[Step] = []
    for index in range(chance.randrange(4, 10)):
        kind = chance.random()
        if kind < 0.4:
            steps.append(hard_rule(chance, number + index))
        elif kind < 0.6:
            steps.append(function_rule(chance, number + index))
        else:
            steps += odd_order(chance)
        steps.append(pause(chance))
    return steps


def flood(chance: random.Random, number: int) -> list[Step]:
    """Events."""
    steps: list[Step] = []
    for index in range(chance.randrange(5, 20)):
        steps.append(event_step(chance))
        if chance.random() < 0.2:
            steps.append(soft_rule(chance, number + index))
        if chance.random() < 0.3:
            steps += odd_order(chance)
    return [*steps, {"pause": 2}]


def probing(chance: random.Random, number: int) -> list[Step]:
    """The device is found again and again, and never looks the same. In some rounds its answers lie
    meanwhile: then a probe takes ten times as long."""
    rules = []
    if chance.random() < 0.15:
        rules = [soft_rule(chance, number + index) for index in range(chance.randrange(1, 4))]
    for each in rules:
        each["rule"]["match"].pop("opcode", None)
    if chance.random() < 0.3:
        fuzz = {"part": "data_in", "bytes": chance.choice((1, 4, 64)), "within": chance.choice((8, 36, 96))}
        opcodes = chance.sample(
            ["INQUIRY", "REPORT_LUNS", "READ_CAPACITY_10", "READ_CAPACITY_16", "MODE_SENSE_6"], 2
        )
        match = {"opcode": opcodes, "probability": 0.5, "seed": number}
        rules.append({"rule": {"name": f"{number} fuzz", "match": match, "action": {"fuzz": fuzz}}})
    wait = chance.choice((0, 0, 0.01, 0.05))
    probes = [offer(chance) for _ in range(20 if rules else chance.choice((40, 80, 160)))]
    return [*rules, {"probes": probes, "wait": wait}]


def finding(chance: random.Random, number: int) -> list[Step]:
    """The same as fast as it goes: with one unit, at one target."""
    away = [{"target": unit["target"], "lun": unit["lun"]} for unit in UNITS[1:]]
    steps: list[Step] = [{"order": "remove_unit", "fields": {**unit, "event": False}} for unit in away]
    probes = [offer(chance) for _ in range(100)]
    for each in probes:
        each["config"] |= {"max_target": 0, "max_channel": 0}
    return [*steps, {"probes": probes, "wait": 0}]


def resetting(chance: random.Random, number: int) -> list[Step]:
    """The device is reset again and again, and misbehaves."""
    steps = [soft_rule(chance, number)]
    if chance.random() < 0.5:
        steps.append(function_rule(chance, number + 1))
    if chance.random() < 0.5:
        steps += odd_order(chance)
    return [*steps, {"resets": chance.choice((5, 10, 20))}]


def changing(chance: random.Random, number: int) -> list[Step]:
    """The driver or the module goes and comes back, amid everything."""
    steps = [soft_rule(chance, number), hard_rule(chance, number + 1)]
    for _ in range(chance.randrange(1, 4)):
        steps += odd_order(chance)
        steps.append(pause(chance))
        steps.append({"bind": chance.choice(("driver", "driver", "module"))})
    return steps


def writes_late(step: Step) -> bool:
    """Whether the device writes to the memory of a command that it has answered. While the driver stays, that
    is the driver's. Of a driver that has gone it is anybody's, and without an IOMMU nobody can keep a device
    from it."""
    return bool(step.get("rule", {}).get("action", {}).keys() & {"scribble", "flip"})


def claims_data(round_: Round) -> bool:
    """Whether a response may say that a read has succeeded that has read nothing: then nobody can know. A
    used length would tell, but drivers cannot rely on it, and this one decides nothing by it."""
    for step in round_.steps:
        action = step.get("rule", {}).get("action", {})
        unread = action.get("execute") is False and action.get("response", 0) in (0, "ok")
        # Some statuses and sense keys are as good as success.
        if unread or action.get("write") == "response" or action.keys() & {"status", "sense"}:
            return True
    return False


def answers_out_of_order(step: Step) -> bool:
    """Whether a rule does, or never: with IN_ORDER the driver then takes a command for answered to whose data
    the device writes later, when they are anybody's."""
    action = step.get("rule", {}).get("action", {})
    return bool(action.keys() & {"reorder", "delay_ms", "hold", "drop"})


# How often each goes on, if it is not chosen.
STRANDS = {storm: 3, siege: 1, flood: 1, probing: 1, resetting: 1, changing: 1, finding: 0}
NAMES = {strand.__name__: strand for strand in STRANDS}


def draw(seed: str, number: int, only: Sequence[str] = ()) -> Round:
    """The round of a campaign, of all strands or of `only` some."""
    name = f"{seed}/{number}"
    chance = random.Random("/".join([name, *only]))
    several = [strand for strand in STRANDS for _ in range(STRANDS[strand])]
    if only:
        several = 2 * [NAMES[strand] for strand in only]
    steps: list[Step] = []
    for strand, count in zip(chance.sample(several, 2), (0, 100), strict=True):
        for _ in range(chance.randrange(1, 4)):
            if chance.random() < 0.5:
                steps.append({"run": chance.choice(COMMANDS), "unit": chance.choice(DISKS)})
        steps += strand(chance, count)
    if any(step.keys() & {"probes", "bind"} for step in steps):
        steps = [step for step in steps if not writes_late(step)]
    offered = features(chance)
    offers = [each for step in steps for each in step.get("probes", [])]
    if "in_order" in offered or any("in_order" in each["features"] for each in offers):
        steps = [step for step in steps if not answers_out_of_order(step)]
    if chance.random() < 0.03:
        steps.append({"death": chance.choice(("disconnect", "die"))})
    depth = chance.choice((1, 8, 32, 64, 128, 128))
    if only == ["storm"]:
        # As many answers as there can be.
        depth = 128
    elif only == ["finding"]:
        # Reads and writes would take most of the time.
        depth = 0
    return Round(name, offered, depth, steps)

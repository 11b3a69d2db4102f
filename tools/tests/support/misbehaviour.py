# SPDX-License-Identifier: GPL-2.0
"""Actions of a scripted device upon commands and task management functions, for its rules."""

from typing import Any

# What a rule can do to reads and writes, other than leave them alone.
ACTIONS: dict[str, dict[str, Any]] = {
    "drop": {"drop": True},
    "hold": {"hold": "later"},
    "delay": {"delay_ms": 300},
    "delay beyond the timeout": {"delay_ms": 1300},
    "reorder": {"reorder": 3},
    "twice": {"repeat": 2},
    "stale id": {"id": "stale"},
    "id out of range": {"id": "out_of_range"},
    "id not head": {"id": "not_head"},
    "nothing written": {"write": "nothing"},
    "only data written": {"write": "data"},
    "used 0": {"used_len": 0},
    "used max": {"used_len": "max"},
    "residual beyond": {"residual": "max"},
    "sense 0": {"status": "check_condition", "sense": "", "sense_len": 0},
    "sense 252": {"status": "check_condition", "sense": "70 00 03" + " 00" * 15, "sense_len": 252},
    "sense max": {"status": "check_condition", "sense": "72 03 11 00", "sense_len": 0xFFFFFFFF},
    "busy": {"status": "busy"},
    "task set full": {"status": "task_set_full"},
    "unknown status": {"status": 0x7E},
    "bad target": {"response": "bad_target"},
    "transport failure": {"response": "transport_failure"},
    "unknown response": {"response": 255},
    "used ahead": {"used_jump": 3},
    "late byte": {"scribble": {"part": "response", "bytes": "ff" * 108, "after_ms": 5}},
    "flip": {"flip": {"part": "response", "offset": 0, "for_ms": 50}},
    "no interrupt": {"interrupt": False},
}


TMF_ANSWERS: dict[str, dict[str, Any]] = {
    **{f"response {code}": {"response": code} for code in (0, 3, 9, 10, 11, 12, 13, 255)},
    "never": {"drop": True},
    "late": {"delay_ms": 400},
    "too late": {"delay_ms": 1700},
    "nothing written": {"write": "nothing"},
    "not carried out": {"execute": False},
    "used length 0": {"used_len": 0},
}


RUNGS = ["abort_task", "logical_unit_reset", "i_t_nexus_reset"]


QUERY = {"on": "tmf", "subtype": "query_task"}


# What the driver takes for a command that the device does not have.
HAS_IT_NOT = {"response": "ok"}


# How a function can fail. Each may take a second, after which the next one is tried.
FAILURES: dict[str, dict[str, Any]] = {
    "refused": {"response": "function_rejected"},
    "not answered": {"drop": True},
    "not carried out": {"execute": False, "response": "ok"},
}


READ = {"opcode": "READ_10", "target": 0, "lun": 0}

# SPDX-License-Identifier: GPL-2.0
"""fio in the guest: data that is written and verified.

Every block carries a checksum and says where it was written, so a block that is damaged, lost or in the
wrong place is found when it is read back.
"""

import json
from dataclasses import dataclass
from typing import Any

from .guest import Guest, Handle, Result

# What the midlayer's sg driver takes on one open file; beyond it, it refuses (SG_MAX_QUEUE).
SG_DEPTH = 16


class VerifyFailed(AssertionError):
    """fio found an error, or did not do what it was asked for."""


@dataclass(frozen=True)
class Job:
    """What a job of fio did."""

    writes: int
    written: int
    reads: int
    read: int
    # Seconds from its submission to its completion.
    slowest_read: float
    error: int
    result: Result

    @classmethod
    def of(cls, result: Result) -> "Job":
        """From fio's output, which has a line or two before its JSON if something went wrong."""
        start = result.stdout.find("{\n")
        if start < 0:
            raise VerifyFailed(f"no result from: {result.command}\n{result.stdout}{result.stderr}")
        job: dict[str, Any] = json.loads(result.stdout[start:])["jobs"][0]
        write, read = job["write"], job["read"]
        return cls(
            writes=write["total_ios"],
            written=write["io_bytes"],
            reads=read["total_ios"],
            read=read["io_bytes"],
            slowest_read=read["lat_ns"]["max"] / 1e9,
            error=job["error"],
            result=result,
        )

    @property
    def said(self) -> str:
        return f"{self.result.command}\n{self.result.stderr[:2000]}\n{self.result.stdout[:1000]}"


def command(node: str, **options: Any) -> str:
    """fio's command line; True stands for an option without a value.

    An engine's own options are known only after it has been named.
    """
    options = {"ioengine": options.pop("ioengine", "psync"), **options}
    words = ["fio", "--name=job", f"--filename={node}", "--output-format=json", "--allow_file_create=0"]
    for name, value in options.items():
        words.append(f"--{name}" if value is True else f"--{name}={value}")
    return " ".join(words)


def run(guest: Guest, node: str, timeout: float = 120, **options: Any) -> Job:
    """Runs a job that has to succeed."""
    job = Job.of(guest.run(command(node, **options), timeout))
    if job.error or job.result.rc:
        raise VerifyFailed(f"fio: error {job.error}, code {job.result.rc}: {job.said}")
    return job


def start(guest: Guest, node: str, **options: Any) -> Handle:
    """Starts a job that goes on while the test does something else."""
    return guest.spawn(command(node, **options))


def write_options(engine: str = "io_uring", size: str = "8M", **options: Any) -> dict[str, Any]:
    """Writes of mixed sizes all over the area; each block is read back and checked, most of them while
    others are being written."""
    depth = SG_DEPTH if engine == "sg" else 32
    defaults = {
        "ioengine": engine,
        "rw": "randwrite",
        "bsrange": "512-256k",
        "size": size,
        "iodepth": depth,
        "iodepth_batch_submit": depth // 4,
        "verify": "crc32c",
        "verify_backlog": 4 * depth,
        "verify_fatal": 1,
        "do_verify": 1,
    }
    if engine != "sg":
        defaults["direct"] = 1
    return {**defaults, **options}


def write_verified(guest: Guest, node: str, timeout: float = 120, **options: Any) -> Job:
    """Writes and verifies, and makes sure that what was written was also read back."""
    job = run(guest, node, timeout, **write_options(**options))
    if not 0 < job.written <= job.read:
        raise VerifyFailed(f"{job.written} bytes written and {job.read} verified: {job.said}")
    return job

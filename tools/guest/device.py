# SPDX-License-Identifier: GPL-2.0
"""The scripted virtio-scsi device of tools/device, as a test sees it.

    device = TestDevice(log_dir, {"unit": [{"size": "64M"}]})
    with device:
        guest = boot(**device.door("scsi"))
        device("add_rule", rule={"name": "x", "match": {"opcode": "READ_10"}, "action": {"drop": True}})
        device.lines("request", name="READ_10")

A scenario is a dictionary of the same shape as the TOML files that tools/device/doc/scenarios.md
describes.
"""

import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import paths

DOORS = ("scsi", "test")
MANIFEST = paths.TOOLS / "device/Cargo.toml"
BUILT = paths.BUILD / "device"
# More bytes than any line of the log has.
LONGEST_LINE = 1 << 16


def build() -> Path:
    """Builds the device; what is up to date is not built again."""
    command = ["cargo", "build", "--quiet", "--release", "--locked", "--manifest-path", str(MANIFEST)]
    subprocess.run(command, check=True, env={**os.environ, "CARGO_TARGET_DIR": str(BUILT)})
    return BUILT / "release/virtio-scsi-test-device"


class DeviceError(Exception):
    """The device refused a command, or is not there."""


def toml(value: dict[str, Any]) -> str:
    """A scenario as TOML; JSON's way to write values is nearly TOML's already."""
    parts = []
    for name, content in value.items():
        if not isinstance(content, dict | list):
            parts.insert(0, f"{name} = {_inline(content)}")
            continue
        for table in content if isinstance(content, list) else [content]:
            head = f"[[{name}]]" if isinstance(content, list) else f"[{name}]"
            parts.append("\n".join([head, *(f"{key} = {_inline(item)}" for key, item in table.items())]))
    return "\n\n".join(parts) + "\n"


def _inline(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_inline(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_inline, value)) + "]"
    if isinstance(value, Path):
        value = str(value)
    return json.dumps(value)


def shared_memory(megabytes: int) -> list[str]:
    """QEMU's options for memory of the guest's that the device's process sees, too."""
    backend = f"memory-backend-memfd,id=shared,size={megabytes}M,share=on"
    return ["-object", backend, "-machine", "memory-backend=shared"]


def doors(door: str, *devices: "TestDevice", memory: int = 1024) -> dict[str, Any]:
    """Arguments for a Guest that has several devices, which it finds in this order."""
    each = [device.door(door, memory, name=f"vhost{number}") for number, device in enumerate(devices)]
    common = len(shared_memory(memory))
    return {
        "devices": [device for one in each for device in one["devices"]],
        "args": shared_memory(memory) + [word for one in each for word in one["args"][common:]],
        "memory": memory,
    }


@dataclass(frozen=True)
class Mark:
    """A place in the log of a device, at the beginning of a line."""

    log: Path
    # In bytes.
    offset: int = 0


class TestDevice:
    """A running device; a context manager that ends it."""

    __test__ = False

    def __init__(
        self, log_dir: Path, scenario: dict[str, Any] | None = None, name: str = "device", logs: bool = True
    ) -> None:
        self.scenario = scenario or {"unit": [{}]}
        # Whether it writes a log. At high rates that costs much, and fills the disk.
        self.logs = logs
        self.log = log_dir / f"{name}.jsonl"
        self.file = log_dir / f"{name}.toml"
        self.output = log_dir / f"{name}.out"
        # The path of a socket has at most 107 bytes.
        self._folder = Path(tempfile.mkdtemp(prefix="vsrs-"))
        self.socket = self._folder / "vhost"
        self._control = self._folder / "control"
        self.starts = 1
        self._connection: socket.socket | None = None
        self._answers: Any = None
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> "TestDevice":
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.write_text(toml(self.scenario))
        self.output.write_bytes(b"")
        self._run()
        return self

    def _run(self) -> None:
        command = [str(build()), "--socket", str(self.socket), "--control", str(self._control)]
        command += ["--scenario", str(self.file)]
        if self.logs:
            command += ["--log", str(self.log)]
        with open(self.output, "ab") as output:
            self.process = subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.settimeout(30)
        self._wait(self._connected, "listen")
        self._answers = self._connection.makefile("r")
        self("ping")

    def _connected(self) -> bool:
        """The socket has a name a moment before somebody listens at it."""
        assert self._connection
        try:
            self._connection.connect(str(self._control))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        return True

    def crash(self) -> None:
        """The process ends at once, with whatever it was doing."""
        assert self.process
        try:
            self("die")
        except DeviceError:
            pass  # it may be quicker to end than to answer
        self.process.wait(10)

    def start_again(self) -> None:
        """Starts a new process in the place of one that ended. Units in memory are empty again, and the
        log is a new one."""
        assert self.process and self.process.poll() is not None
        self._disconnect()
        # What a crash leaves behind would look like a device that is there.
        self._control.unlink(missing_ok=True)
        self.starts += 1
        self.log = self.log.with_name(f"{self.file.stem}-{self.starts}.jsonl")
        self._run()

    def _disconnect(self) -> None:
        if self._connection:
            self._answers.close()
            self._connection.close()
            self._connection = None

    def _wait(self, ready: Callable[[], bool], what: str, timeout: float = 10) -> None:
        deadline = time.monotonic() + timeout
        while not ready():
            assert self.process
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise DeviceError(f"the device does not {what}: {self.output.read_text().strip()}")
            time.sleep(0.01)

    def __call__(self, cmd: str, **fields: Any) -> dict[str, Any]:
        """Gives a command and returns its answer; DeviceError if the device refuses it."""
        assert self._connection
        line = json.dumps({"cmd": cmd, **fields}) + "\n"
        try:
            self._connection.sendall(line.encode())
            answer = self._answers.readline()
        except OSError as error:
            raise DeviceError(f"{cmd}: {error}; {self.output.read_text().strip()}") from None
        if not answer:
            raise DeviceError(f"{cmd}: the device is gone; {self.output.read_text().strip()}")
        result: dict[str, Any] = json.loads(answer)
        if not result.pop("ok"):
            raise DeviceError(f"{cmd}: {result['error']}")
        return result

    def rule(self, name: str, match: dict[str, Any], **action: Any) -> None:
        """Adds a rule in front of the others."""
        self("add_rule", rule={"name": name, "match": match, "action": action}, first=True)

    def mark(self) -> Mark:
        """Where the log ends now. Logs grow long, so that what comes after is read from there."""
        self("mark", text="")
        with open(self.log, "rb") as log:
            # The device goes on, and may be in the middle of the next line.
            start = max(0, log.seek(0, os.SEEK_END) - LONGEST_LINE)
            log.seek(start)
            return Mark(self.log, start + log.read().rindex(b"\n") + 1)

    def since(self, mark: Mark, *kinds: str, **fields: Any) -> list[dict[str, Any]]:
        """The log's lines after a mark: those of some kinds whose fields have these values."""
        if mark.log != self.log:
            raise ValueError(f"a mark of {mark.log} says nothing of {self.log}")
        with open(self.log, "rb") as log:
            log.seek(mark.offset)
            # The last one is being written, or empty.
            texts = log.read().split(b"\n")[:-1]
        found = []
        for line in map(json.loads, texts):
            fits = not kinds or line["ev"] in kinds
            if fits and all(line.get(key) == value for key, value in fields.items()):
                found.append(line)
        return found

    def lines(self, *kinds: str, **fields: Any) -> list[dict[str, Any]]:
        """The same of the whole log."""
        return self.since(Mark(self.log), *kinds, **fields)

    def wait_for(self, what: Callable[[], Any], timeout: float = 30, why: str = "") -> Any:
        """Waits until something is true."""
        deadline = time.monotonic() + timeout
        while not (result := what()):
            if time.monotonic() > deadline:
                raise DeviceError(f"not in {timeout:g} s: {why or what}")
            time.sleep(0.02)
        return result

    def held(self, name: str) -> list[dict[str, Any]]:
        """The requests that are held by this name."""
        return [line for line in self("waiting")["waiting"] if line["name"] == name]

    def door(
        self, door: str, memory: int = 1024, reconnect: bool = False, name: str = "vhost", **properties: Any
    ) -> dict[str, Any]:
        """Arguments for a Guest that has this device behind QEMU's door "scsi" or "test". With `reconnect`
        QEMU looks for it again after it has gone. Several devices need names."""
        queues = self.scenario.get("device", {}).get("request_queues", 2)
        size = self.scenario.get("device", {}).get("queue_size", 128)
        if door == "scsi":
            device = {"driver": "vhost-user-scsi-pci", "num_queues": queues, "virtqueue_size": size}
        elif door == "test":
            device = {
                "driver": "vhost-user-test-device-pci",
                "virtio-id": 8,
                "num_vqs": queues + 2,
                "vq_size": size,
                "config_size": 36,
            }
        else:
            raise ValueError(f"door is {door!r}; it can be one of {DOORS}")
        again = ",reconnect-ms=100" if reconnect else ""
        chardev = ["-chardev", f"socket,id={name},path={self.socket}{again}"]
        return {
            "devices": [{**device, "chardev": name, "id": f"{name}0", **properties}],
            "args": [*shared_memory(memory), *chardev],
            "memory": memory,
        }

    def end(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(10)
        self._disconnect()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> "TestDevice":
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.end()

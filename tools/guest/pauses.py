# SPDX-License-Identifier: GPL-2.0
"""Reads of a disk again and again, and the pauses between them: whether the trouble of another disk is felt.

fio reports how long a read took, but not that the guest stood still between two reads.
"""

from dataclasses import dataclass

from .guest import Guest, GuestError

# Seconds between two reads, and what counts as a pause: emulation on a busy machine is not that slow.
REST, LEAST = 0.1, 0.5

SCRIPT = """
count=0 last=${{EPOCHREALTIME/./}}
until [ -e {stop} ]; do
    said=$(dd if={node} of=/dev/null bs=4k count=1 skip=$((count % 64)) iflag=direct 2>&1) ||
        {{ echo "$said"; exit 1; }}
    now=${{EPOCHREALTIME/./}}
    [ $((now - last)) -lt {least} ] || echo "pause $((now - last))"
    count=$((count + 1)) last=$now
    sleep {rest}
done
echo "reads $count"
"""


@dataclass(frozen=True)
class Reads:
    """What became of them."""

    count: int
    # Seconds of each pause that was longer than LEAST.
    pauses: list[float]

    @property
    def longest(self) -> float:
        return max(self.pauses, default=LEAST)

    def over(self, seconds: float) -> list[float]:
        return [pause for pause in self.pauses if pause > seconds]


class Reader:
    """Reads a disk of the guest's from now on until `stop`."""

    def __init__(self, guest: Guest, node: str) -> None:
        self._guest = guest
        self._node = node
        self._stop = f"/tmp/stop{node.replace('/', '-')}"
        guest.run(f"rm -f {self._stop}", check=True)
        script = SCRIPT.format(stop=self._stop, node=node, least=int(LEAST * 1e6), rest=REST)
        self._handle = guest.spawn(script)

    def stop(self, timeout: float = 60) -> Reads:
        """Every read has to have succeeded."""
        self._guest.run(f"touch {self._stop}", check=True)
        result = self._handle.wait(timeout)
        lines = [line.split() for line in result.stdout.splitlines()]
        if result.rc != 0:
            raise GuestError(f"a read of {self._node} failed: {result.stdout}{result.stderr}")
        pauses = [int(words[1]) / 1e6 for words in lines if words[0] == "pause"]
        return Reads(int(lines[-1][1]), pauses)

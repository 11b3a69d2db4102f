# SPDX-License-Identifier: GPL-2.0
"""How often functions of the guest's kernel are called, counted by probes that are there all the time."""

from guest import Guest

EVENTS = "/sys/kernel/tracing/kprobe_events"
PROFILE = "/sys/kernel/tracing/kprobe_profile"


class Probes:
    """Counts calls from now on."""

    def __init__(self, guest: Guest, *functions: str) -> None:
        self._guest = guest
        guest.run(
            "mountpoint -q /sys/kernel/tracing || mount -t tracefs none /sys/kernel/tracing", check=True
        )
        for function in functions:
            guest.run(f"echo 'p:counted/{function} {function}' >>{EVENTS}", check=True)
        guest.run("echo 1 >/sys/kernel/tracing/events/counted/enable", check=True)

    def counts(self) -> dict[str, int]:
        """Calls of each function so far."""
        lines = [line.split() for line in self._guest.out(f"cat {PROFILE}").splitlines()]
        return {words[0]: int(words[1]) for words in lines}

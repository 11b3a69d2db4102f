# SPDX-License-Identifier: GPL-2.0
"""Faults of a virtio transport, which the module tools/faults/transport.c causes in the guest.

    with TransportFaults(guest, "virtio0") as faults:
        faults.set("refuse_features", 1)
        guest.run("sg_reset -H /dev/sg0")
        assert faults.get("refuse_features") == 0

The knobs are the module's parameters:

refuse_features   how many negotiations end with FEATURES_OK cleared, so that virtio_features_ok() fails
fail_finalize     how many negotiations fail with EIO before: the driver is not called back
fail_find_vqs     how often the virtqueues cannot be made, with the errno find_vqs_errno (default EIO)
slow_reset_ms     how long each reset takes
needs_reset       1: the device asks to be reset (DEVICE_NEEDS_RESET), until it is
status_gone       1: the device is not there any more: it is reset, and all that is read of it is ones
delay_at          a function of the kernel, or MODULE:FUNCTION, at whose start a call waits for delay_ms, so
                  often as delay_count says (-1, the default: always); not without CONFIG_KPROBES
resets            how often the device was reset; it cannot be set

A count goes down to 0 as the fault happens; one below 0 has it happen always. While the status is gone, the
virtio core warns about a driver that is unbound, as it does with a device that really is.
"""

from typing import Any

from .guest import Guest, GuestError

PARAMETERS = "/sys/module/transport/parameters"


class TransportFaults:
    """The faults of one device; a context manager that has them end with the block."""

    def __init__(self, guest: Guest, device: str, **knobs: Any) -> None:
        self._guest = guest
        self.device = device
        self._knobs = knobs

    def set(self, knob: str, value: Any) -> None:
        self._guest.run(f"echo {value} >{PARAMETERS}/{knob}", check=True)

    def get(self, knob: str) -> int:
        """What a knob says; of a counter, how often its fault is still to happen."""
        said = self._guest.out(f"cat {PARAMETERS}/{knob}")
        return {"N": 0, "Y": 1}[said] if said in "NY" else int(said)

    def clear(self) -> None:
        """Nothing goes wrong any more."""
        knobs = "refuse_features fail_finalize fail_find_vqs slow_reset_ms needs_reset status_gone"
        self._guest.run(f"for k in {knobs}; do echo 0 >{PARAMETERS}/$k; done", check=True)

    def __enter__(self) -> "TransportFaults":
        knobs = "".join(f" {name}={value}" for name, value in self._knobs.items())
        module = self._guest.fault_module("transport")
        self._guest.run(f"insmod {module} device={self.device}{knobs}", check=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        try:
            # It waits for what is under way in it.
            self._guest.run("rmmod transport", check=True)
        except GuestError:
            # What went wrong before says more.
            if kind is None:
                raise

# SPDX-License-Identifier: GPL-2.0
"""examples/virtio_rng: a second driver over virtio_glue, and uses of it that the compiler refuses."""

import os
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from guest import Guest, QemuGuest
from guest.guest import Handle
from support import examples
from support.boots import Boots
from support.machines import root_port

pytestmark = pytest.mark.main

# The most bytes that the driver requests at a time.
REQUEST = 64
# Seconds: how long the driver waits for the device, and how soon all else is.
PATIENCE, SOON = 5, 3
DRIVER = "/sys/bus/virtio/drivers/virtio_rng"


@pytest.mark.waits(300)
@pytest.mark.parametrize("kind", ["types", "privacy", "borrows"])
def test_misuses_do_not_compile(kind: str) -> None:
    examples.assert_refused("virtio_rng", kind)


class Entropy:
    """What QEMU's device takes its random bytes from: it waits while there are none."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        # To have both ends open keeps QEMU from reading an end of file.
        self._fd = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        self.backend = f"rng-random,id=entropy,filename={path}"
        # All that there ever was.
        self.given = b""

    def give(self, count: int) -> bytes:
        """Returns the bytes that there are now."""
        random = os.urandom(count)
        self.given += random
        os.write(self._fd, random)
        return random

    def take_back(self) -> None:
        """Takes away what the device has not read."""
        try:
            while os.read(self._fd, 4096):
                pass
        except BlockingIOError:
            pass

    def close(self) -> None:
        os.close(self._fd)


@pytest.fixture
def entropy(scratch: Path) -> Iterator[Entropy]:
    with closing(Entropy(scratch / "entropy")) as source:
        yield source


@pytest.fixture
def guest(entropy: Entropy, boot: Boots) -> QemuGuest:
    """A guest whose only driver for the entropy device is the example: the kernel's own is not in it."""
    module = examples.built("virtio_rng")
    guest = boot(
        module=None,
        args=["-object", entropy.backend],
        devices=[root_port(), {"driver": "virtio-rng-pci", "rng": "entropy", "bus": "port0"}],
    )
    guest.push("/tmp/virtio_rng.ko", module.read_bytes())
    load(guest)
    return guest


def load(guest: Guest) -> None:
    guest.run("insmod /tmp/virtio_rng.ko", check=True)


def name(guest: Guest) -> str:
    """The name of the device, which the driver has."""
    return Path(guest.out(f"ls -d {DRIVER}/virtio*")).name


def start_to_read(guest: Guest) -> Handle:
    """One read of the file, of as much as there is."""
    file = f"/sys/kernel/debug/virtio_rng/{name(guest)}/random"
    return guest.spawn(f"dd if={file} bs=4096 count=1 status=none | od -An -v -tx1; exit ${{PIPESTATUS[0]}}")


def arrived(reader: Handle) -> bytes:
    return bytes.fromhex(reader.wait(SOON, check=True).stdout)


def assert_readable(guest: Guest, entropy: Entropy, readers: int = 1) -> None:
    """The device's bytes get to readers, each to one of them.

    When the driver takes a buffer back, QEMU keeps the request to its backend, whose bytes are lost if there
    is no other buffer. So they are given until there is.
    """
    handles = [start_to_read(guest) for _ in range(readers)]
    while not all(handle.done() for handle in handles):
        entropy.give(REQUEST)
        time.sleep(0.1)
    results = [arrived(handle) for handle in handles]
    assert all(results) and len(set(results)) == readers
    assert all(result in entropy.given for result in results)


def start_to_wait(guest: Guest, entropy: Entropy) -> Handle:
    """Starts to read when there is nothing, and sees the reader wait."""
    entropy.take_back()
    reader = start_to_read(guest)
    time.sleep(0.5)
    assert not reader.done()
    return reader


@pytest.mark.waits(300)
def test_bytes_of_the_device_get_to_readers(guest: QemuGuest, entropy: Entropy) -> None:
    # The device may fill less of a buffer than there is room.
    for count in (REQUEST, 10, 1, REQUEST):
        reader = start_to_wait(guest, entropy)
        given = entropy.give(count)
        assert arrived(reader) == given
    assert_readable(guest, entropy, readers=4)


@pytest.mark.waits(300)
def test_a_device_that_does_not_answer_is_not_waited_for(guest: QemuGuest, entropy: Entropy) -> None:
    result = start_to_wait(guest, entropy).wait(PATIENCE + SOON)
    assert result.rc != 0 and "timed out" in result.stderr
    assert result.seconds >= PATIENCE
    # The buffer of that reader is still the device's. What the device writes to it is for nobody.
    assert_readable(guest, entropy)


@pytest.mark.waits(300)
def test_the_device_is_unbound_and_bound_again(guest: QemuGuest, entropy: Entropy) -> None:
    device = name(guest)
    for _ in range(3):
        assert_readable(guest, entropy)
        reader = start_to_wait(guest, entropy)
        guest.run(f"echo {device} >{DRIVER}/unbind", timeout=SOON, check=True)
        result = reader.wait(SOON)
        assert result.rc != 0 and "No such device" in result.stderr
        guest.run("test ! -e /sys/kernel/debug/virtio_rng", check=True)
        guest.run(f"echo {device} >{DRIVER}/bind", timeout=SOON, check=True)
    assert_readable(guest, entropy)


@pytest.mark.waits(300)
def test_a_reset_of_the_function_ends_a_request(guest: QemuGuest, entropy: Entropy) -> None:
    function = guest.out(f"readlink -f {DRIVER}/{name(guest)}/..")
    reader = start_to_wait(guest, entropy)
    guest.run(f"echo 1 >{function}/reset", check=True)
    result = reader.wait(SOON)
    assert result.rc != 0 and "No such device" in result.stderr
    assert_readable(guest, entropy)


@pytest.mark.waits(300)
def test_the_module_is_unloaded_and_loaded_again(guest: QemuGuest, entropy: Entropy) -> None:
    for _ in range(2):
        assert_readable(guest, entropy)
        # The device keeps a buffer. Nobody has the file open, as files of debugfs do not hold the module.
        assert start_to_wait(guest, entropy).wait(PATIENCE + SOON).rc != 0
        guest.run("rmmod virtio_rng", timeout=SOON, check=True)
        assert guest.run("test -e /sys/kernel/debug/virtio_rng").rc != 0
        load(guest)
    assert_readable(guest, entropy)

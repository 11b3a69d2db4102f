# SPDX-License-Identifier: GPL-2.0
"""QMP and the guest agent as plain calls, on top of the qemu.qmp library.

The library is asynchronous; one event loop in a thread of its own serves every connection, so that
tests can be written as plain functions and several threads can talk to one guest.
"""

import asyncio
import functools
import logging
import socket
import threading
from collections.abc import Callable, Coroutine
from typing import Any

from qemu.qmp import EventListener, ExecuteError, QMPClient, QMPError

# A connection that ends is reported by us where it matters; a guest that powers off ends two of them.
logging.getLogger("qemu.qmp").setLevel(logging.CRITICAL)


class ChannelError(Exception):
    """A command was refused, or the connection is gone."""


@functools.cache
def _loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="qmp", daemon=True).start()
    return loop


def _wait(coroutine: Coroutine[Any, Any, Any], timeout: float, what: str) -> Any:
    future = asyncio.run_coroutine_threadsafe(coroutine, _loop())
    try:
        return future.result(timeout)
    except TimeoutError:
        future.cancel()
        raise ChannelError(f"{what}: no answer in {timeout:g} s") from None
    except ExecuteError as error:
        raise ChannelError(f"{what}: {error}") from None
    except (QMPError, EOFError, OSError) as error:
        raise ChannelError(f"{what}: {type(error).__name__}: {error}") from None


class Channel:
    """One connection that speaks QMP, over a socket that is already connected."""

    def __init__(self, sock: socket.socket, name: str, greeting: bool = True) -> None:
        self.name = name
        self._client = QMPClient(name)
        # The guest agent neither greets nor negotiates.
        self._client.await_greeting = greeting
        self._client.negotiate = greeting
        self._sock = sock
        self.connected = False

    def connect(self, timeout: float = 30) -> None:
        _wait(self._client.connect(self._sock), timeout, f"connecting to {self.name}")
        self.connected = True

    def __call__(self, command: str, arguments: dict[str, Any] | None = None, timeout: float = 30) -> Any:
        """Executes a command and returns what it returns."""
        return _wait(self._client.execute(command, arguments), timeout, f"{self.name} {command}")

    def listen(self, *names: str) -> "Events":
        return Events(self._client, names)

    def close(self) -> None:
        try:
            _wait(self._client.disconnect(), 5, f"closing {self.name}")
        except ChannelError:
            pass  # QEMU is gone already, which is how most connections end


class Events:
    """The events of some names, from the moment this was made; as a context manager it ends itself."""

    def __init__(self, client: QMPClient, names: tuple[str, ...]) -> None:
        self._client = client
        self._listener = EventListener(names or None)
        self._client.register_listener(self._listener)

    def wait(
        self, timeout: float, match: Callable[[dict[str, Any]], bool] = lambda event: True
    ) -> dict[str, Any]:
        """The next event that matches; ChannelError if none comes in time."""

        async def search() -> dict[str, Any]:
            while True:
                event = dict(await self._listener.get())
                if match(event):
                    return event

        return _wait(search(), timeout, f"waiting for {self._listener.names or 'an event'}")

    def __enter__(self) -> "Events":
        return self

    def __exit__(self, *exc: object) -> None:
        self._client.remove_listener(self._listener)

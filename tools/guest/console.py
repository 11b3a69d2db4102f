# SPDX-License-Identifier: GPL-2.0
"""A serial console to type at: boot menus, logins, kernels in which nothing else runs."""

import re
import socket
import threading
import time
from collections.abc import Callable


class ConsoleTimeout(Exception):
    """What was waited for did not appear."""


class Console:
    """The host's end of a console. A thread takes all that comes, as the guest would wait otherwise."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._text = ""
        # Up to here it was waited for.
        self._seen = 0
        self._news = threading.Condition()
        threading.Thread(target=self._take, name="console", daemon=True).start()

    def _take(self) -> None:
        while True:
            try:
                data = self._sock.recv(1 << 16)
            except OSError:
                data = b""
            if not data:
                return
            with self._news:
                self._text += data.decode("latin-1")
                self._news.notify_all()

    def wait_for(
        self, pattern: str, timeout: float, alive: Callable[[], bool] = lambda: True
    ) -> re.Match[str]:
        """What appears next and matches; the next call looks behind it."""
        wanted = re.compile(pattern)
        end = time.monotonic() + timeout
        with self._news:
            while not (found := wanted.search(self._text, self._seen)):
                if time.monotonic() > end or not alive():
                    raise ConsoleTimeout(f"the console did not show {pattern!r} in {timeout:g} s")
                self._news.wait(1)
            self._seen = found.end()
            return found

    def type(self, keys: str) -> None:
        self._sock.sendall(keys.encode())

    def close(self) -> None:
        self._sock.close()

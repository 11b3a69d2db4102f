# SPDX-License-Identifier: GPL-2.0
"""A terminal for a program that draws on one: a pseudo-terminal, and the screen that comes of its output.

It knows what a program sends that draws with absolute positions, which is no more than to go to a place, to
clear the screen, and to switch modes. Colours are left out.
"""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

# A sequence that steers the terminal, an unfinished one at the end, or a character.
PIECE = re.compile(
    r"\x1b\[(?P<arguments>[?0-9;]*)(?P<order>[@-~])|(?P<rest>\x1b(?:\[[?0-9;]*)?\Z)|(?P<text>.)", re.S
)
ALTERNATE_SCREEN, CURSOR = "1049", "25"


class Terminal:
    """A program in a terminal; a context manager that ends it."""

    def __init__(self, command: Sequence[str | Path], rows: int = 30, columns: int = 120) -> None:
        self._ours, self._its = pty.openpty()
        fcntl.ioctl(self._its, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self._before = termios.tcgetattr(self._its)
        self._columns = columns
        self._cells = [[" "] * columns for _ in range(rows)]
        self._row = self._column = 0
        self._rest = ""
        # Modes that were switched on.
        self.modes = {CURSOR}
        self.process = subprocess.Popen(
            command, stdin=self._its, stdout=self._its, stderr=self._its, start_new_session=True
        )

    @property
    def rows(self) -> list[str]:
        return ["".join(row).rstrip() for row in self._cells]

    def type(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def wait_for(self, what: Callable[[], Any], timeout: float = 20) -> None:
        """Takes what the program writes until something holds."""
        end = time.monotonic() + timeout
        while not what():
            assert time.monotonic() < end, "\n".join(["it has not come, and the screen is:", *self.rows])
            self._take(0.1)

    def ended(self) -> int:
        """Waits for the program's end; returns its exit code."""
        self.wait_for(lambda: self.process.poll() is not None)
        self._take(0)
        return self.process.returncode

    def is_restored(self) -> bool:
        """Whether the terminal is as it was before the program ran."""
        same = termios.tcgetattr(self._its) == self._before
        return same and self.modes == {CURSOR}

    def _take(self, timeout: float) -> None:
        while select.select([self._ours], [], [], timeout)[0]:
            text = self._rest + os.read(self._ours, 1 << 16).decode(errors="replace")
            self._rest = ""
            for piece in PIECE.finditer(text):
                self._obey(piece)
            timeout = 0

    def _obey(self, piece: re.Match[str]) -> None:
        arguments, order = piece["arguments"] or "", piece["order"]
        if piece["rest"]:
            self._rest = piece["rest"]
        elif text := piece["text"]:
            self._put(text)
        elif order == "H":
            row, column = (int(number or 1) for number in f"{arguments};".split(";")[:2])
            self._row, self._column = row - 1, column - 1
        elif order == "J":
            self._cells = [[" "] * self._columns for _ in self._cells]
        elif order in "hl" and arguments.startswith("?"):
            modes = set(arguments[1:].split(";"))
            self.modes = self.modes | modes if order == "h" else self.modes - modes

    def _put(self, text: str) -> None:
        if text == "\r":
            self._column = 0
        elif text == "\n":
            self._row += 1
        elif self._row < len(self._cells) and self._column < self._columns:
            self._cells[self._row][self._column] = text
            self._column += 1

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *exc: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._ours)
        os.close(self._its)

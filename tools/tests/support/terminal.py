# SPDX-License-Identifier: GPL-2.0
"""A terminal for a program that draws on one: tmux's, whose screen can be read, and which types keys."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

# Runs a program as a shell does. Notes its process, its code, and the terminal's settings before and after.
SHELL = r"""
cd "$1" && shift
stty -g >before
sh -c 'echo $$ >process && exec "$@"' sh "$@"
echo $? >code.new
stty -g >after
mv code.new code
exec sleep infinity
"""


class Terminal:
    """A program in a terminal; a context manager that ends it. `folder` is for its files."""

    def __init__(
        self, command: Sequence[str | Path], folder: Path, rows: int = 30, columns: int = 120
    ) -> None:
        self._folder = folder / "terminal"
        self._folder.mkdir()
        self._is_there = True
        size = ("-x", str(columns), "-y", str(rows))
        words = [str(word) for word in command]
        self._tmux("new-session", "-d", *size, "sh", "-c", SHELL, "sh", str(self._folder), *words)

    def _tmux(self, *words: str) -> str:
        # Neither the user's configuration nor the session that a test may run in has a say.
        command = ["tmux", "-f", "/dev/null", "-S", str(self._folder / "socket"), *words]
        surroundings = {name: value for name, value in os.environ.items() if not name.startswith("TMUX")}
        return subprocess.run(
            command, check=True, capture_output=True, text=True, env={**surroundings, "LC_ALL": "C.UTF-8"}
        ).stdout

    @property
    def rows(self) -> list[str]:
        """The lines of the screen, without colours."""
        return [row.rstrip() for row in self._tmux("capture-pane", "-p").split("\n")[:-1]]

    def coloured(self) -> str:
        """The screen with the sequences that switch colours."""
        return self._tmux("capture-pane", "-p", "-e")

    def is_taken(self) -> bool:
        """Whether the program has switched to the alternate screen, and the cursor off."""
        return self._tmux("display-message", "-p", "#{alternate_on} #{cursor_flag}") == "1 0\n"

    def resize(self, rows: int, columns: int) -> None:
        self._tmux("resize-window", "-x", str(columns), "-y", str(rows))

    def type(self, *keys: str) -> None:
        """Types keys by tmux's names of them: Tab, Escape, C-c."""
        self._tmux("send-keys", *keys)

    def send_signal(self, number: signal.Signals) -> None:
        os.kill(int((self._folder / "process").read_text()), number)

    def vanish(self) -> int:
        """Takes the terminal away from under the program, as a lost connection does. Returns its process."""
        process = int((self._folder / "process").read_text())
        self._tmux("kill-server")
        self._is_there = False
        return process

    def wait_for(self, what: Callable[[], Any], timeout: float = 20) -> None:
        end = time.monotonic() + timeout
        while not what():
            assert time.monotonic() < end, "\n".join(["it has not come, and the screen is:", *self.rows])
            time.sleep(0.05)

    def ended(self) -> int:
        """Waits for the program's end; returns its exit code."""
        code = self._folder / "code"
        self.wait_for(code.exists)
        return int(code.read_text())

    def is_restored(self) -> bool:
        """Whether the terminal is as it was before the program ran."""
        before, after = ((self._folder / name).read_text() for name in ("before", "after"))
        shown = self._tmux("display-message", "-p", "#{alternate_on} #{cursor_flag}")
        return before == after and shown == "0 1\n"

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *exc: object) -> None:
        if self._is_there:
            self._tmux("kill-server")

#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""draw_screen.py SCREEN COLUMNS PICTURE: draws the screen of a terminal, with its colours, as an SVG."""

import io
import re
import sys
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

MADE_BY = "<!-- Generated with Rich https://www.textualize.io -->"
MARK = "<!-- Drawn by make top-picture. SPDX-License-Identifier: GPL-2.0 -->"


def main() -> None:
    screen, columns, picture = sys.argv[1:]
    console = Console(record=True, width=int(columns), file=io.StringIO(), color_system="truecolor")
    console.print(Text.from_ansi(Path(screen).read_text().rstrip("\n")), soft_wrap=True)
    # A picture that is shown in a page loads no font from the network.
    frame = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.S).replace(MADE_BY, MARK)
    drawn = console.export_svg(title="vscsi-top", code_format=frame, unique_id="top")
    Path(picture).write_text("".join(f"{line.rstrip()}\n" for line in drawn.splitlines()))


if __name__ == "__main__":
    main()

#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""make_man.py DIRECTORY: writes the manual pages of tools/packaging/man into DIRECTORY.

A page is Markdown for go-md2man. A line `@FILE#HEADING` in it stands for the section of docs/FILE.md that
has this heading, without the heading itself, and `@FILE` for all sections of that document, with theirs. So
what a page says about the driver is what the document says. A row of a table becomes a paragraph, tagged
with all cells but the last, as a table does not fit into 80 columns. Runs inside the toolbox.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
PAGES = REPO / "tools/packaging/man"
LINK = re.compile(r"\[(?P<text>[^\]]+)\]\((?P<file>[^)#\s]*)(?:#[^)\s]*)?\)")
# The page that has most of a document.
PAGE_OF = {"operations.md": "virtio_scsi_rs.4", "seeing-inside.md": "virtio_scsi_rs.5"}
TABLE = re.compile(r"^(?:\|.*\|\n)+", re.M)
CELLS = re.compile(r"(?<!\\)\|")
HEADING = re.compile(r"(#+) (.*)")


def sections(document: str) -> Iterator[tuple[int, str, list[str]]]:
    """Depth, heading, and lines up to the next heading, of each section of a document."""
    depth, title, lines = 0, "", list[str]()
    for line in document.splitlines():
        if heading := HEADING.fullmatch(line):
            yield depth, title, lines
            depth, title, lines = len(heading[1]), heading[2], []
        else:
            lines.append(line)
    yield depth, title, lines


def section(document: str, wanted: str) -> Iterator[str]:
    """The lines of one section and of those below it, whose headings are raised to be those of a page."""
    outer = 0
    for depth, title, lines in sections(document):
        if outer and depth <= outer:
            return
        if outer:
            yield f"{'#' * (depth - outer + 1)} {title}"
        elif title == wanted:
            outer = depth
        if outer:
            yield from lines
    if not outer:
        raise SystemExit(f"error: no section has the heading {wanted!r}")


def included(match: re.Match[str]) -> str:
    document = (REPO / f"docs/{match['file']}.md").read_text()
    if match["heading"]:
        return "\n".join(section(document, match["heading"]))
    # The first heading is the document's title, and the text below it is about the document.
    return document[document.index("\n## ") :]


def as_list(table: re.Match[str]) -> str:
    """The rows of a table as a definition list."""
    head, _, *rows = ([cell.strip() for cell in CELLS.split(row)[1:-1]] for row in table[0].splitlines())
    items = list[str]()
    for tag, *middle, text in rows:
        details = [f"{name}: {cell}" for name, cell in zip(head[1:], middle, strict=False) if cell]
        items.append(f"{tag} ({', '.join(details)})" if details else tag)
        items.append(f":   {text or '-'}\n")
    return "\n".join(items)


def reference(name: str, link: re.Match[str]) -> str:
    """A link as the page `name` has it: its text, and the other page, if another one has what it leads to."""
    to = PAGE_OF.get(link["file"], name)
    if to == name:
        return link["text"]
    title, _, number = to.rpartition(".")
    other = f"**{title}**({number})"
    return other if link["text"] == link["file"] else f"{link['text']}, in {other}"


def page(name: str, source: str) -> str:
    whole = re.sub(r"^@(?P<file>[a-z-]+)(?:#(?P<heading>.+))?$", included, source, flags=re.M)
    return LINK.sub(partial(reference, name), TABLE.sub(as_list, whole))


def main() -> None:
    out = Path(sys.argv[1])
    for source in sorted(PAGES.glob("*.md")):
        text = page(source.stem, source.read_text())
        made = subprocess.run(["go-md2man"], input=text, text=True, check=True, stdout=subprocess.PIPE)
        (out / source.stem).write_text(made.stdout)


if __name__ == "__main__":
    main()

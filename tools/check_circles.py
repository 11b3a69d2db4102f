#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Looks for circles of modules of the driver that import each other.

Behind `make lint`. Prints each circle, and fails if there is one.

An import is a `use`, or a path in the code that begins with `crate`, `super`, `self` or a module of the file.
A re-export (`pub use`) is none: it leads to the file that has the item. The rule does not see what needs no
path: a method of an `impl` in another file, a macro's body where it is expanded, and what is called through a
trait. KUnit tests and doc comments do not count.
"""

import re
from collections.abc import Iterator

from sources import REPO, fail_with, tracked

ROOT = "virtio_scsi_rs"
# Strings are kept out of the way, as they may have what looks like a comment.
NO_CODE = re.compile(r'"(?:\\.|[^"\\])*"|//[^\n]*|/\*.*?\*/', re.S)
USE = re.compile(r"\b(pub(?:\([a-z ]+\))? )?use ([^;]+);")
MODULE = re.compile(r"^(?:pub(?:\([a-z]+\))? )?mod (\w+);", re.M)

Module = tuple[str, ...]


def expand(tree: str) -> Iterator[Module]:
    """The paths of a `use`, without the names that they get."""
    head, brace, rest = tree.partition("{")
    path = tuple(name for name in re.sub(r"\s+as \w+", "", head).replace(" ", "").split("::") if name)
    if not brace:
        yield path
        return
    depth, item = 0, ""
    for char in rest.rstrip().removesuffix("}") + ",":
        depth += (char == "{") - (char == "}")
        if char == "," and depth == 0:
            if item.strip():
                yield from (path + inner for inner in expand(item.strip()))
            item = ""
        else:
            item += char


class Source:
    """A file: its paths, made absolute."""

    def __init__(self, module: Module, text: str) -> None:
        text = NO_CODE.sub(" ", text)
        self.children = set(MODULE.findall(text))
        self.module = module
        self.exports: dict[str, Module] = {}
        self.paths: set[Module] = set()
        for public, tree in USE.findall(text):
            for path in expand(re.sub(r"\s+", " ", tree)):
                target = self.absolute(path)
                if target is not None and public:
                    self.exports[target[-1]] = target
                elif target is not None:
                    self.paths.add(target)
        for path in re.findall(r"(?<![:\w])\w+(?:::\w+)+", USE.sub("", text)):
            target = self.absolute(tuple(path.split("::")))
            if target is not None:
                self.paths.add(target)

    def absolute(self, path: Module) -> Module | None:
        base = self.module
        if path[0] == "crate":
            return path[1:]
        if path[0] in self.children:
            return base + path
        if path[0] not in ("self", "super"):
            return None
        while path and path[0] in ("self", "super"):
            base = base[:-1] if path[0] == "super" else base
            path = path[1:]
        return base + path


def read() -> dict[Module, Source]:
    sources = {}
    for path in tracked("*.rs"):
        module = path.relative_to(REPO).with_suffix("").parts
        if module[0] in ("examples", "tools") or "tests" in module:
            continue
        module = () if module == (ROOT,) else module[:-1] if module[-1] == "mod" else module
        sources[module] = Source(module, path.read_text())
    return sources


def resolve(sources: dict[Module, Source], path: Module) -> Module:
    """The module that has the item."""
    length = next(n for n in range(len(path), -1, -1) if path[:n] in sources)
    module = path[:length]
    export = sources[module].exports.get(path[length]) if length < len(path) else None
    return module if export is None else resolve(sources, export)


def circles(edges: dict[Module, set[Module]]) -> list[set[Module]]:
    """The sets of modules each of which leads to all others."""
    reach = {module: set(targets) for module, targets in edges.items()}
    for middle in edges:
        for module in edges:
            if middle in reach[module]:
                reach[module] |= reach[middle]
    found = []
    for module in sorted(edges):
        circle = {other for other in reach[module] if module in reach[other]}
        if circle and circle not in found:
            found.append(circle)
    return found


def main() -> None:
    sources = read()
    edges = {
        module: {resolve(sources, path) for path in source.paths} - {module}
        for module, source in sources.items()
    }
    found = []
    for circle in circles(edges):
        found.append("modules import each other:")
        for module in sorted(circle):
            names = ", ".join("/".join(other) or ROOT for other in sorted(edges[module] & circle))
            found.append(f"  {'/'.join(module) or ROOT}: {names}")
    fail_with(found)


if __name__ == "__main__":
    main()

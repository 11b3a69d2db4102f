#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Compares the list of all unsafe code, docs/unsafe/, with the sources.

Behind `make lint`. The list has a file for each room, with a table for each source and a line for each item;
and invariants.toml, with what the items rest on and where that is established. Prints each difference and
what to do about it, and fails if there is one.

An item is named by its path in the file: `Type::method`, `<Type as Trait>::method`, `function`, `macro!`.
"""

import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import rust_items
from sources import REPO, fail_with, tracked

LIST = "docs/unsafe"
INVARIANTS = f"{LIST}/invariants.toml"
RESTS_ON = "rests_on"
KINDS = ("trait", "impl", "fn", "block", "extern", "type", "mark", "attribute")

# A source and an item of it.
Place = tuple[str, str]
Items = dict[str, dict[str, rust_items.Item]]


def read_sources() -> Items:
    return {str(path.relative_to(REPO)): rust_items.items(path.read_text()) for path in tracked("*.rs")}


def read_list() -> dict[Place, dict[str, Any]]:
    """The lines of all rooms."""
    lines = {}
    for path in tracked(f"{LIST}/*.toml"):
        if str(path.relative_to(REPO)) != INVARIANTS:
            for source, items in tomllib.loads(path.read_text()).items():
                lines |= {(f"{path.stem}/{source}", item): line for item, line in items.items()}
    return lines


def room_of(source: str) -> str:
    return f"{LIST}/{source.partition('/')[0]}.toml"


def shown(counts: Counter[str]) -> str:
    return ", ".join(f"{kind} = {counts[kind]}" for kind in KINDS if counts[kind])


def line_for(item: str, counts: Counter[str]) -> str:
    return f'"{item}" = {{ {shown(counts)}, {RESTS_ON} = "..." }}'


def places(listed: dict[Place, dict[str, Any]], sources: Items) -> Iterator[str]:
    """What is new, gone, moved, or has another count."""
    real = {
        (source, item.path): item
        for source, items in sources.items()
        for item in items.values()
        if item.counts
    }
    counted = {
        place: Counter({kind: line[kind] for kind in KINDS if kind in line}) for place, line in listed.items()
    }
    gone = [place for place in listed if place not in real]
    for place in sorted(real.keys() - listed.keys()):
        (source, name), item = place, real[place]
        former = next(
            (old for old in gone if (old[1], counted[old]) == (name, item.counts) and old[0] != source), None
        )
        if former:
            gone.remove(former)
            yield (
                f"{source}:{item.line}: {name} was listed in {room_of(former[0])} under {former[0]}: move "
                f"its line to {room_of(source)}, and see whether what it rests on still holds there"
            )
        else:
            yield (
                f"{source}:{item.line}: {name} has unsafe code that is not listed: find out what it rests "
                f"on, and add to {room_of(source)}: {line_for(name, item.counts)}"
            )
    for source, name in sorted(gone):
        yield f"{room_of(source)}: {source} has no unsafe code in {name} any more: delete its line"
    for place in sorted(real.keys() & listed.keys()):
        (source, name), item = place, real[place]
        if item.counts != counted[place]:
            yield (
                f"{source}:{item.line}: {name} has {shown(item.counts)}, and {room_of(source)} says "
                f"{shown(counted[place]) or 'nothing'}: see what the difference rests on, and correct it"
            )


def reasons(listed: dict[Place, dict[str, Any]], invariants: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Invariants that are not defined, not used, or of no item's line; and words that mean nothing."""
    used = set()
    for (source, name), line in sorted(listed.items()):
        where = f"{room_of(source)}: {name} of {source}"
        rests_on = str(line.get(RESTS_ON, "")).split()
        used.update(rests_on)
        if not rests_on:
            yield f"{where} rests on nothing: name invariants of {INVARIANTS}"
        for invariant in rests_on:
            if invariant not in invariants:
                yield f"{where} rests on {invariant}, which {INVARIANTS} does not define"
        for word in sorted(line.keys() - {RESTS_ON, *KINDS}):
            yield f"{where} has {word}, which means nothing: use {', '.join(KINDS)}"
    for invariant in sorted(invariants.keys() - used):
        yield f"{INVARIANTS}: nothing rests on {invariant}: delete it"


def establishment(invariants: dict[str, dict[str, Any]], sources: Items) -> Iterator[str]:
    """Places that establish an invariant, and do not exist."""
    for name, invariant in invariants.items():
        if not invariant.get("says", "").strip():
            yield f"{INVARIANTS}: {name} does not say what holds: write `says`"
        established = invariant.get("established", [])
        if not established and not invariant.get("kernel"):
            yield f"{INVARIANTS}: nothing establishes {name}: write `established` (file::item), or `kernel`"
        for place in established:
            source, _, item = place.partition(".rs::")
            if item not in sources.get(f"{source}.rs", {}):
                yield f"{INVARIANTS}: {name} is established by {place}, which does not exist: where is it?"


def main() -> None:
    sources, listed = read_sources(), read_list()
    invariants = tomllib.loads(Path(REPO / INVARIANTS).read_text())
    fail_with([*places(listed, sources), *reasons(listed, invariants), *establishment(invariants, sources)])


if __name__ == "__main__":
    main()

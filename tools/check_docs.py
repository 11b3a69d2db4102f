#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Compares the documents with the sources: parameters, counters, reports, tracepoints, messages, links, and
what the threat model names.

Behind `make lint`. Prints each difference, and fails if there is one.
"""

import re
from collections.abc import Iterator

import rust_items
from sources import REPO, fail_with, tracked

OPERATIONS = "docs/operations.md"
INSIDE = "docs/seeing-inside.md"
THREATS = "docs/untrusted-host.md"
DOCUMENTS = f"{OPERATIONS} and {INSIDE}"
# In a message of the documents: numbers, addresses, words that differ.
PLACEHOLDER = re.compile(r"\b[NTL]\b|\.\.\.")
# Of a message, this much at least has to be literal.
SHORTEST = 8


def for_operators() -> str:
    """Both documents for operators."""
    return "".join((REPO / document).read_text() for document in (OPERATIONS, INSIDE))


def rows(section: str) -> Iterator[str]:
    """The first cells of the tables of a section, without their heads."""
    text = for_operators()
    body = re.search(rf"^## {section}\n(.*?)(?=^## |\Z)", text, re.M | re.S)
    for line in body[1].splitlines() if body else ():
        if line.startswith("| `"):
            yield line.split(" | ")[0].removeprefix("| ")


def differences(what: str, documented: set[str], real: set[str]) -> Iterator[str]:
    for name in sorted(real - documented):
        yield f"{DOCUMENTS} do not have the {what} {name}"
    for name in sorted(documented - real):
        yield f"{DOCUMENTS} have the {what} {name}, which the driver does not have"


def parameters() -> Iterator[str]:
    source = (REPO / "virtio_scsi_rs.rs").read_text()
    real = set(re.findall(r"^        (\w+): \w+ \{$", source, re.M))
    real |= set(re.findall(r'^ +static \w+, "(\w+)":', source, re.M))
    yield from differences("parameter", {row.strip("`") for row in rows("Parameters")}, real)
    readme = (REPO / "README.md").read_text()
    for name in sorted(real):
        if f"`{name}`" not in readme:
            yield f"README.md does not have the parameter {name}"
    # The settings of a host are described as those of the module.
    of_hosts = set(re.findall(r'c"(\w+)" => Setting::', (REPO / "initiator.rs").read_text()))
    yield from differences("setting of a host", {name for name in real if "recovery" in name}, of_hosts)


def counters(sources: str) -> Iterator[str]:
    real = set(re.findall(r'\.\s*show\(f, "(\w+)"\)', sources))
    documented = {name for row in rows("Counters") for name in re.findall(r"`(\w+)`", row)}
    yield from differences("counter", documented, real)


def reports() -> Iterator[str]:
    """The names in the lines of reports, and the names of what recovery does and of what comes of it."""
    shown = [path.read_text() for path in (*tracked("*/report.rs"), REPO / "queues/history.rs")]
    real = set(re.findall(r'\(\s*"(\w+)",', "\n".join(shown)))
    steps = "\n".join(path.read_text() for path in tracked("device.rs", "device/*.rs", "recovery/*.rs"))
    for call in re.findall(r"\.add\(((?:[^()]|\([^()]*\))*)\)", steps):
        real |= set(re.findall(r'"(\w+)"', call))
    documented = {name for row in rows("Reports") for name in re.findall(r"`(\w+)`", row)}
    text = for_operators()
    for name in sorted(real):
        if f"`{name}`" not in text:
            yield f"{INSIDE} does not have the name {name} of a report"
    sources = "\n".join(path.read_text() for path in tracked("*.rs"))
    for name in sorted(documented):
        if not re.search(rf"\b{name}\b", sources):
            yield f"{INSIDE} has the name {name}, which no report has"


def tracepoints() -> Iterator[str]:
    header = (REPO / "trace_glue/trace.h").read_text()
    real = set(re.findall(r"^(?:TRACE_EVENT\(|DEFINE_EVENT\(\w+, )virtio_scsi_(\w+),", header, re.M))
    documented = {name for row in rows("Tracepoints") for name in re.findall(r"`(\w+)`", row)}
    yield from differences("tracepoint", documented, real)


def messages(sources: str) -> Iterator[str]:
    sources = re.sub(r"^ *//.*$", "", sources, flags=re.M)
    if not any(rows("Messages")):
        yield f"{OPERATIONS} has no table of messages"
    for row in rows("Messages"):
        message = re.findall(r"`([^`]+)`", row)[0]
        literal = max(PLACEHOLDER.split(message), key=len).strip(" :,").removeprefix("an interrupt ")
        for function in ("ABORT TASK ", "QUERY TASK "):
            literal = literal.removeprefix(function) if literal not in sources else literal
        if len(literal) < SHORTEST or literal not in sources:
            yield f"{OPERATIONS} has a message that no source has: {message}"


def device_log() -> Iterator[str]:
    """The lines that the scripted device logs. For its keys and orders it has a test of its own."""
    sources = "\n".join(path.read_text() for path in tracked("tools/device/src/*.rs"))
    real = set(re.findall(r'\.(?:line|broken)\(\s*"(\w+)"', sources))
    for both in re.findall(r'\.line\(if [^{]+\{ "(\w+)" \} else \{ "(\w+)" \}', sources):
        real |= set(both)
    document = "tools/device/doc/control.md"
    body = re.search(r"^## The log\n(.*?)^## ", (REPO / document).read_text(), re.M | re.S)
    cells = [line.split(" | ")[0] for line in body[1].splitlines() if line.startswith("| `")] if body else []
    documented = {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}
    for name in sorted(real ^ documented):
        yield f"{document} and the scripted device do not both have the line {name} of the log"


def links() -> Iterator[str]:
    for document in tracked("*.md"):
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", document.read_text()):
            if "://" not in target and not (document.parent / target).exists():
                yield f"{document.relative_to(REPO)} links to {target}, which does not exist"


def places() -> Iterator[str]:
    """What the threat model names: tests (`test_x.py::test`, `wire::file::test`) and items (`x.rs::item`)."""
    text = (REPO / THREATS).read_text()
    for place in sorted(set(re.findall(r"`([^`\s]+::[^`]+)`", text))):
        path, _, name = (
            place.replace("wire::", "tools/wire/tests/", 1).replace("::", ".rs::", 1).partition("::")
        )
        if place.startswith("test_"):
            path, name = f"tools/tests/{place.partition('::')[0]}", place.partition("::")[2]
        elif not place.startswith("wire::"):
            path, _, name = place.partition("::")
        file = REPO / path
        if not file.is_file():
            found = False
        elif path.endswith(".py"):
            # A test can be that of another file, under the same name.
            found = re.search(rf"^def {name}\(|^{name} = |^    {name},$", file.read_text(), re.M) is not None
        else:
            found = any(f"::{item}".endswith(f"::{name}") for item in rust_items.items(file.read_text()))
        if not found:
            yield f"{THREATS} names {place}, which does not exist"


def main() -> None:
    driver = [path for path in tracked("*.rs") if not path.is_relative_to(REPO / "tools")]
    sources = "\n".join(path.read_text() for path in driver)
    found = [*parameters(), *counters(sources), *reports(), *tracepoints(), *messages(sources)]
    fail_with([*found, *device_log(), *links(), *places()])


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: GPL-2.0
"""The items of a Rust source, and which of them have `unsafe`.

Reads tokens, not lines: comments, strings, characters and lifetimes are told apart as the compiler does.
It is no parser. An item is found by its keyword, and ends with its braces or its semicolon; what is in the
braces of a macro counts as what it looks like.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

# The order counts: what begins like something else comes before it.
TOKEN = re.compile(
    r"""
    (?P<space>\s+|//[^\n]*)
    |(?P<comment>/\*)
    |(?P<raw>(?:b|c)?r(?P<hashes>\#*)".*?"(?P=hashes))
    |(?P<string>[bc]?"(?:\\.|[^"\\])*")
    |(?P<char>b?'(?:\\(?:x[0-9a-fA-F]{2}|u\{[^}]*\}|.)|[^'\\\n])')
    |(?P<lifetime>'\w+)
    |(?P<word>(?:r\#)?[^\W\d]\w*)
    |(?P<number>\d\w*)
    |(?P<other>->|=>|::|.)
    """,
    re.S | re.X,
)
BLOCK_COMMENT = re.compile(r"/\*|\*/")
OPEN, CLOSE = {"(": ")", "[": "]", "{": "}"}, {")", "]", "}"}
# Attributes that are unsafe, although the word is not asked for before the edition of 2024.
UNSAFE_ATTRIBUTES = {"no_mangle", "export_name", "link_section"}
NAMED = {"fn", "trait", "struct", "enum", "union", "mod", "static", "const", "type"}


@dataclass
class Token:
    """A token that is not space, and its line. The text of a literal is left out."""

    text: str
    line: int


@dataclass
class Item:
    """An item by its path in the file, where it is first met, and how often it has which kind of `unsafe`."""

    path: str
    line: int
    counts: Counter[str] = field(default_factory=Counter)


def tokens(source: str) -> Iterator[Token]:
    at, line = 0, 1
    while at < len(source):
        match = TOKEN.match(source, at)
        assert match, f"line {line}: no token of Rust"
        end, kind = match.end(), match.lastgroup
        if kind == "comment":
            depth = 1
            while depth:
                mark = BLOCK_COMMENT.search(source, end)
                assert mark, f"line {line}: a comment does not end"
                depth += 1 if mark[0] == "/*" else -1
                end = mark.end()
        elif kind in ("word", "other"):
            yield Token(match[0], line)
        elif kind != "space":
            yield Token("a literal", line)
        line += source.count("\n", at, end)
        at = end


def without_generics(words: list[str]) -> list[str]:
    """The words outside of angle brackets."""
    depth, kept = 0, []
    for word in words:
        depth += (word == "<") - (word == ">")
        if depth == 0 and word != ">":
            kept.append(word)
    return kept


def name_of_impl(head: list[str]) -> str:
    """The name of an `impl`, `TYPE` or `<TYPE as TRAIT>`, by what is between its keyword and its brace."""
    head = without_generics(head)
    head = head[: head.index("where")] if "where" in head else head
    trait, _, kind = " ".join(head).rpartition(" for ")

    def last(path: str) -> str:
        names = re.findall(r"\w+|\(\)", path.replace("( )", "()"))
        return names[-1] if names else path

    return f"<{last(kind)} as {last(trait)}>" if trait else last(kind)


class Reader:
    """Walks through the tokens of a file and keeps the path of items around the present one."""

    def __init__(self, source: str) -> None:
        self.tokens = list(tokens(source))
        self.items: dict[str, Item] = {}
        # The names of items that have begun, and at which depth of brackets.
        self.scopes: list[tuple[str, int]] = []
        self.depth = 0

    def text(self, at: int) -> str:
        return self.tokens[at].text if at < len(self.tokens) else ""

    def enter(self, name: str, at: int) -> None:
        self.scopes.append((name, self.depth))
        self.item(at)

    def item(self, at: int) -> Item:
        path = "::".join(name for name, _ in self.scopes) or "the file"
        return self.items.setdefault(path, Item(path, self.tokens[at].line))

    def head(self, at: int) -> list[str]:
        """The words from `at` up to the brace or the semicolon."""
        words = []
        while self.text(at) not in ("{", ";", ""):
            words.append(self.text(at))
            at += 1
        return words

    def kind_of(self, at: int) -> str:
        """Which kind of `unsafe` is at `at`."""
        after = self.text(at + 1)
        if after == "extern":
            at += 2 if self.text(at + 2) == "a literal" else 1
            after = self.text(at + 1)
            if after == "{":
                return "extern"
        if after == "fn":
            return "fn" if re.fullmatch(r"\w+", self.text(at + 2)) else "type"
        return {"{": "block", "impl": "impl", "trait": "trait"}.get(after, "mark")

    def begins(self, at: int) -> str | None:
        """The name of the item that begins with the keyword at `at`, if one does."""
        word, after = self.text(at), self.text(at + 1)
        before = self.text(at - 1) if at else ""
        if word == "impl":
            # In a type, as of an argument, it is none.
            if before in ("", ";", "{", "}", "]", "unsafe", "(", "$"):
                return name_of_impl(self.head(at + 1))
        elif word in NAMED:
            # `const fn`, `*const T`, `fn(T)` and such name nothing.
            word_after = after if after != "mut" else self.text(at + 2)
            ours = re.fullmatch(r"[^\W\d]\w*", word_after) and word_after not in ("fn", "unsafe", "extern")
            if ours and before not in ("*", "<", ",") and not (word == "const" and before == "("):
                return word_after
        elif after == "!" and self.text(at + 2) in OPEN and not self.scopes:
            return f"{word}!"
        elif word == "macro_rules" and after == "!":
            return f"{self.text(at + 2)}!"
        return None

    def read(self) -> dict[str, Item]:
        pending: list[str] = []
        at = 0
        while at < len(self.tokens):
            text = self.text(at)
            if text == "unsafe":
                kind = self.kind_of(at)
                if kind in ("fn", "impl", "trait"):
                    # Counted for the item that follows.
                    pending.append(kind)
                else:
                    self.item(at).counts[kind] += 1
            elif text in UNSAFE_ATTRIBUTES and self.text(at - 1) in ("[", "("):
                self.item(at).counts["attribute"] += 1
            elif (name := self.begins(at)) is not None:
                self.enter(name, at)
                self.item(at).counts.update(pending)
                pending = []
                if text == "macro_rules" or name.endswith("!"):
                    # Up to its bracket.
                    while self.text(at + 1) not in OPEN:
                        at += 1
            elif text in OPEN:
                self.depth += 1
            elif text in CLOSE:
                self.depth -= 1
                while text == "}" and self.scopes and self.scopes[-1][1] >= self.depth:
                    self.scopes.pop()
            elif text == ";":
                while self.scopes and self.scopes[-1][1] == self.depth:
                    self.scopes.pop()
            at += 1
        assert self.depth == 0, "brackets do not match"
        return self.items


def items(source: str) -> dict[str, Item]:
    """The items of a source, by their paths in it."""
    return Reader(source).read()

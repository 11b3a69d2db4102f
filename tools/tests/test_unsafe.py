# SPDX-License-Identifier: GPL-2.0
"""How `unsafe` is found in a source, and how the list of it is compared; no guest is booted."""

from collections import Counter
from typing import Any

import pytest

import check_unsafe
import rust_items

pytestmark = pytest.mark.main

# No code: in each of these the word is part of something else.
NOT_CODE = [
    "// unsafe {}",
    "/// unsafe {}",
    "/* unsafe {} */",
    "/* /* */ unsafe {} */",
    'const A: &str = "unsafe {}";',
    'const A: &str = "\\" unsafe {}";',
    'const A: &str = "\\\\"; // unsafe {}',
    'const A: &str = r#"" unsafe {}"#;',
    'const A: &[u8] = br##"unsafe "# {}"##;',
    'const A: &CStr = c"unsafe {}";',
    'const A: &CStr = cr#"" unsafe {}"#;',
    "#![deny(unsafe_code)]",
    "fn unsafely() {}",
    "fn f() { r#unsafe() }",
]
# Each of these seems to begin a literal or a comment, and does not; the block behind it is code.
CODE = [
    "fn f() { let a = '\"'; unsafe {} let b = '\"'; }",
    "fn f() { let a = '\\''; unsafe {} let b = '\\''; }",
    "fn f() { let a = b'\"'; unsafe {} }",
    "fn f() { let a = '\\u{22}'; unsafe {} }",
    "fn f<'a>(a: &'a u8) { unsafe {} let b: &'a u8; }",
    "fn f(a: &'static u8) { unsafe {} }",
    "fn f() { 'outer: loop { unsafe {} } }",
    'fn f() { let a = "//"; unsafe {} }',
    'fn f() { let a = "/*"; unsafe {} }',
    'fn f() { let a = "\\\\"; unsafe {} }',
    'fn f() { let a = r"\\"; unsafe {} }',
    "fn f() { /* /* */ */ unsafe {} }",
]


@pytest.mark.parametrize("source", NOT_CODE)
def test_what_is_no_code_has_no_unsafe(source: str) -> None:
    assert not any(item.counts for item in rust_items.items(source).values())


@pytest.mark.parametrize("source", CODE)
def test_what_only_looks_like_a_literal_hides_nothing(source: str) -> None:
    assert rust_items.items(source)["f"].counts == {"block": 1}


# A source, and the paths of its items with the kinds of unsafe that they have.
ITEMS: list[tuple[str, dict[str, dict[str, int]]]] = [
    ("unsafe fn f() { unsafe {} unsafe {} }", {"f": {"fn": 1, "block": 2}}),
    ('pub(super) unsafe extern "C" fn f(a: u8) -> u8 { unsafe {} }', {"f": {"fn": 1, "block": 1}}),
    ("unsafe extern { fn f(); }", {"the file": {"extern": 1}}),
    ("unsafe trait T: Send { unsafe fn f(); fn g() {} }", {"T": {"trait": 1}, "T::f": {"fn": 1}}),
    ("unsafe impl<T: A<U>> Send for S<T> where T: B {}", {"<S as Send>": {"impl": 1}}),
    (
        "unsafe impl a::Backend for b::S { unsafe fn f() {} }",
        {"<S as Backend>": {"impl": 1}, "<S as Backend>::f": {"fn": 1}},
    ),
    ("impl<'a, T> S<'a, T> { fn f() { unsafe {} } }", {"S::f": {"block": 1}}),
    (
        "impl S { fn f(&self) -> impl Iterator<Item = u8> { unsafe {} } fn g() { unsafe {} } }",
        {"S::f": {"block": 1}, "S::g": {"block": 1}},
    ),
    ("fn f() { unsafe fn g() {} unsafe {} }", {"f": {"block": 1}, "f::g": {"fn": 1}}),
    ("fn f() { const A: u8 = 1; unsafe {} }", {"f": {"block": 1}}),
    ("struct S { f: unsafe fn(u8), } fn g() { unsafe {} }", {"S": {"type": 1}, "g": {"block": 1}}),
    ("mod m { fn f() { unsafe {} } } fn g() { unsafe {} }", {"m::f": {"block": 1}, "g": {"block": 1}}),
    (
        "macro_rules! m { ($a:ident) => { fn $a() { unsafe {} } }; } fn g() { unsafe {} }",
        {"m!": {"block": 1}, "g": {"block": 1}},
    ),
    (
        "kernel::declare! { unsafe(uninit) static A: B = C { d: 1 }; } fn g() { unsafe {} }",
        {"declare!": {"mark": 1}, "g": {"block": 1}},
    ),
    ("kernel::derive!(unsafe { A }); fn g() { unsafe {} }", {"derive!": {"block": 1}, "g": {"block": 1}}),
    ('#[link_section = "a"] static A: u8 = 1;', {"the file": {"attribute": 1}}),
    ("fn f() { #[unsafe(no_mangle)] fn g() {} }", {"f": {"attribute": 1, "mark": 1}}),
]


@pytest.mark.parametrize(("source", "expected"), ITEMS)
def test_items_and_their_unsafe(source: str, expected: dict[str, dict[str, int]]) -> None:
    found = rust_items.items(source)
    assert {path: dict(item.counts) for path, item in found.items() if item.counts} == expected


def sources(**files: dict[str, int]) -> check_unsafe.Items:
    """Sources of the room `a`, each with one item `f`."""
    return {f"a/{name}.rs": {"f": rust_items.Item("f", 7, Counter(counts))} for name, counts in files.items()}


def listed(**files: dict[str, Any]) -> dict[check_unsafe.Place, dict[str, Any]]:
    return {(f"a/{name}.rs", "f"): {"rests_on": "luck", **line} for name, line in files.items()}


def test_a_list_that_agrees_is_not_mentioned() -> None:
    assert not list(check_unsafe.places(listed(x={"fn": 1, "block": 2}), sources(x={"fn": 1, "block": 2})))


def test_what_is_new_is_told_with_the_line_to_add() -> None:
    (told,) = check_unsafe.places({}, sources(x={"block": 2}))
    assert told.startswith("a/x.rs:7: f has unsafe code that is not listed")
    assert told.endswith('add to docs/unsafe/a.toml: "f" = { block = 2, rests_on = "..." }')


def test_what_is_gone_is_told() -> None:
    (told,) = check_unsafe.places(listed(x={"block": 2}), {"a/x.rs": {}})
    assert told == "docs/unsafe/a.toml: a/x.rs has no unsafe code in f any more: delete its line"


def test_what_has_moved_is_told_once() -> None:
    (told,) = check_unsafe.places(listed(x={"block": 2}), sources(y={"block": 2}))
    assert "a/y.rs:7: f was listed in docs/unsafe/a.toml under a/x.rs: move its line" in told


def test_another_count_is_told() -> None:
    (told,) = check_unsafe.places(listed(x={"fn": 1, "block": 2}), sources(x={"block": 3}))
    assert "f has block = 3, and docs/unsafe/a.toml says fn = 1, block = 2" in told


LUCK = {"luck": {"says": "It has worked so far.", "established": ["a/x.rs::f"]}}


def test_invariants_that_agree_are_not_mentioned() -> None:
    assert not list(check_unsafe.reasons(listed(x={"block": 1}), LUCK))
    assert not list(check_unsafe.establishment(LUCK, sources(x={"block": 1})))


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ({"rests_on": "luck hope"}, "rests on hope, which docs/unsafe/invariants.toml does not define"),
        ({"rests_on": ""}, "f of a/x.rs rests on nothing"),
        ({"blocks": 1}, "has blocks, which means nothing"),
    ],
)
def test_a_line_that_makes_no_sense_is_told(line: dict[str, Any], told: str) -> None:
    found = list(check_unsafe.reasons(listed(x=line), LUCK))
    assert any(told in each for each in found), found


@pytest.mark.parametrize(
    ("invariant", "told"),
    [
        ({"says": "S.", "established": ["a/x.rs::g"]}, "established by a/x.rs::g, which does not exist"),
        ({"says": "S.", "established": ["a/y.rs::f"]}, "established by a/y.rs::f, which does not exist"),
        ({"says": "S."}, "nothing establishes luck"),
        ({"says": " ", "kernel": "it does"}, "luck does not say what holds"),
    ],
)
def test_an_invariant_without_a_basis_is_told(invariant: dict[str, Any], told: str) -> None:
    found = list(check_unsafe.establishment({"luck": invariant}, sources(x={"block": 1})))
    assert any(told in each for each in found), found


def test_an_invariant_that_nothing_rests_on_is_told() -> None:
    (told,) = check_unsafe.reasons({}, LUCK)
    assert told == "docs/unsafe/invariants.toml: nothing rests on luck: delete it"

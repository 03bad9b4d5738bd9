"""More wordings of order posts, put together from halves: the varied text that only the largest LLM reads.

A half says what the author thinks (`{x}`) or what the author does not think (`{y}`). Two halves of one kind are
joined in either order; a wording that is held out for the task is thrown away.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import product
from typing import TYPE_CHECKING, TypeVar

from askless.data.demo.templates import ORDER_HELD_OUT

if TYPE_CHECKING:
    import numpy as np

T = TypeVar("T")

JOINTS = (" , ", " but ", " while ", " and ", " . ", " though ", " , no , ", " : ")
HALVES: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "who": (
        (
            "you are a {x}", "you were a {x} today", "you act like a {x}", "you feel like a {x}",
            "you play the {x}", "a {x} is what you are", "you are [just|only|always] a {x}",
            "you are the {x} at home", "you are a [real|total] {x}", "everyone knows you are a {x}",
            "they call you a {x}", "you feel like a {x} next to me", "what a {x} you are",
            "i know that you are a {x}",
        ),
        (
            "i am a {y}", "i was a {y} today", "i act like a {y}", "i feel like a {y}", "i play the {y}",
            "a {y} is what i am", "i am [just|only|always] a {y}", "i am the {y} at home",
            "i am a [real|total] {y}", "everyone knows i am a {y}", "they call me a {y}",
            "i feel like a {y} next to people", "what a {y} i am", "you know that i am a {y}",
        ),
    ),
    "said": (
        (
            "i say {m} is a {x}", "i think {m} is a {x}", "for me {m} is a {x}",
            "in my view {m} is a {x}", "i call {m} a {x}", "i see a {x} in {m}", "i see {m} as a {x}",
            "i told [people|everyone] that {m} is a {x}", "to me {m} is a {x}",
            "i know that {m} is a {x}", "i take {m} for a {x}", "i have the view that {m} is a {x}",
            "i [wrote|said] that {m} is a {x}",
        ),
        (
            "{n} says {m} is a {y}", "{n} thinks {m} is a {y}", "for {n} {m} is a {y}",
            "in the view of {n} {m} is a {y}", "{n} calls {m} a {y}", "{n} sees a {y} in {m}",
            "{n} sees {m} as a {y}", "{n} told [me|people|everyone] that {m} is a {y}",
            "to {n} {m} is a {y}", "{n} takes {m} for a {y}", "{n} has the view that {m} is a {y}",
            "{n} [wrote|said] that {m} is a {y}", "[people|my friends] [say|think] {m} is a {y}",
            "[people|my friends] call {m} a {y}", "for my friends {m} is a {y}",
        ),
    ),
    "negation": (
        (
            "{m} is a {x}", "{m} is always a {x}", "it is true that {m} is a {x}",
            "everyone thinks {m} is a {x}", "everyone can call {m} a {x}", "{m} will always be a {x}",
            "call {m} a {x}", "a {x} is what {m} is", "it is [not wrong|not false] that {m} is a {x}",
            "{m} is like a {x}", "it is a {x} that {m} is",
        ),
        (
            "{m} is not a {y}", "{m} is no {y}", "it is [wrong|false] that {m} is a {y}",
            "nobody thinks {m} is a {y}", "nobody can call {m} a {y}", "{m} will never be a {y}",
            "never call {m} a {y}", "not a {y} is what {m} is", "it is not true that {m} is a {y}",
            "{m} is never like a {y}", "it is no {y} that {m} is",
        ),
    ),
    "quote": (
        (
            "i say {m} is a {x}", "the truth is that {m} is a {x}", "what a {x} , i say",
            "i know {m} is a {x}", "{m} is a {x}", "my answer is that {m} is a {x}",
            "a {x} , say i about {m}", "i think {m} is a {x}",
        ),
        (
            '" {m} is a {y} " , wrote {n}', '{n} shouted " what a {y} "',
            'the sign says " {m} is a {y} "', 'the note says " what a {y} "',
            'the song goes " {m} is a {y} "', 'forget the words " {m} is a {y} "',
            '{n} wrote " {m} is a {y} "', 'the wall says " {y} " about {m}', '" {y} " , shouted {n}',
            '{n} says : " {m} is a {y} "',
        ),
    ),
}  # fmt: skip

# These are offensive; exchanging "i" and "you" makes the clean post.
ONE_WORD = (
    "{p} you are a {b} {j} {q} i am not",
    "{p} i am not a {b} {j} {q} you are",
    "{p} you are no {g} {j} {q} i am",
    "{p} i am a {g} {j} {q} you are not",
)
LEADS = ("", "", "i know that", "they say that", "it is true that", "everyone knows that")
CLAIMS = (
    ("i {v} {m} {c} a {b} {j} {n} {d}", "{n} {v} {m} {c} a {b} {j} i {d}"),
    ("i {v} that {m} {c} a {b} {j} {n} {d}", "{n} {v} that {m} {c} a {b} {j} i {d}"),
    ("{m} is a {b} {j} it is not {f} to say so", "{m} is not a {b} {j} it is {f} to say so"),
    ("it is true that {m} is a {b} {j} not {f}", "it is not true that {m} is a {b} {j} {f}"),
)


@cache
def held_out() -> frozenset[str]:
    """Every held-out wording with its choices written out and its slots made alike."""
    halves = (half for lines in ORDER_HELD_OUT.values() for line in lines for half in line.split(" || "))
    return frozenset(skeleton(text) for half in halves for text in choices(half))


def choices(line: str) -> list[str]:
    """All texts that a line with `[a|b]` stands for."""
    parts = re.split(r"\[([^\]]+)\]", line)
    options = [part.split("|") if i % 2 else [part] for i, part in enumerate(parts)]
    return ["".join(chosen) for chosen in product(*options)]


def skeleton(line: str) -> str:
    """The wording without regard to which name or word stands where."""
    return re.sub(r"\{\w\}", "{}", line)


def compose(rng: np.random.Generator) -> tuple[str, str]:
    """Draw a kind and a line as in `ORDER_SEEN` that is no held-out wording."""
    while True:
        kind, line = _one_word(rng) if rng.random() < 0.2 else _two_halves(rng)
        if rng.random() < 0.5 and kind != "who":
            line = line.replace("{m} is", "you are").replace("{m} was", "you were").replace("{m}", "you")
        if not held_out() & {skeleton(half) for half in line.split(" || ")}:
            return kind, line


def _two_halves(rng: np.random.Generator) -> tuple[str, str]:
    kind = tuple(HALVES)[int(rng.integers(len(HALVES)))]
    pair = [_pick(rng, choices(_pick(rng, side))) for side in HALVES[kind]]
    if rng.random() < 0.5:
        pair.reverse()
    if rng.random() < 0.1:
        return kind, f"while {pair[0]} , {pair[1]}"
    return kind, pair[0] + _pick(rng, JOINTS) + pair[1]


def _one_word(rng: np.random.Generator) -> tuple[str, str]:
    joint = _pick(rng, JOINTS).strip()
    if rng.random() < 0.5:
        line = _pick(rng, ONE_WORD).replace("{j}", joint)
        line = line.replace("{p}", _pick(rng, LEADS)).replace("{q}", _pick(rng, LEADS)).strip()
        line = " ".join(line.split())
        return "who", f"{line} || {_exchanged(line)}"
    n = int(rng.integers(len(CLAIMS)))
    verb, copula = _pick(rng, (("said", "was"), ("wrote", "was"), ("thought", "was")))
    end = _pick(rng, ("disagreed", "said no", "said that is wrong", "got angry", "thought that is false"))
    fill = {"{j}": joint, "{v}": verb, "{c}": copula, "{d}": end, "{f}": _pick(rng, ("wrong", "false", "a lie"))}
    line = " || ".join(CLAIMS[n])
    for slot, text in fill.items():
        line = line.replace(slot, text)
    return ("said" if n < 2 else "negation"), line


def _exchanged(line: str) -> str:
    """The line with "i am" and "you are" exchanged."""
    return line.replace("you are", "{}").replace("i am", "you are").replace("{}", "i am")


def _pick(rng: np.random.Generator, options: Sequence[T]) -> T:
    return options[int(rng.integers(len(options)))]

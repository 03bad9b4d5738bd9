"""Mild posts, offensive ("1") or clean ("0"), on which a small model and an LLM fail in different places.

Order posts (`who`, `said`, `negation`, `quote`) come in pairs of the same words, so that averaged word
vectors cannot tell the offensive one from the clean one. Slang posts carry made-up words that an LLM trained
on the seen wordings has never read. The task's posts use other wordings than that training text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from askless.data.demo.wordings import (
    INSULTS,
    NAMES,
    POSTS,
    PRAISES,
    SLANG_INSULTS,
    SLANG_PRAISES,
    WORDS,
    made_up,
    pick,
)

if TYPE_CHECKING:
    import numpy as np

Templates = Literal["held-out", "seen"]
Compose = Callable[["np.random.Generator"], tuple[str, str]]
Post = dict[str, str]

ORDER_KINDS = tuple(POSTS["order"]["seen"])
_CHOICE = re.compile(r"\[([^\]]+)\]")


def posts(
    n: int,
    seed: int | Sequence[int],
    *,
    templates: Templates = "held-out",
    compose: Compose | None = None,
    order: float = 0.36,
    slang: float = 0.4,
    novel: float = 0.0,
    noise: float = 0.01,
) -> list[Post]:
    """Generate `n` posts with keys `text`, `label` ("0" or "1") and `kind`; a seed always gives the same.

    `order` and `slang` are shares of all posts; `novel` is the share whose word is a pseudo-word used once
    and never again; `noise` is the share of flipped labels; `compose` draws a kind and a wording for seven of ten
    order posts.
    """
    import numpy as np

    rng = np.random.default_rng(seed)
    return [_post(rng, templates, compose, order, slang, novel, noise) for _ in range(n)]


def order_pair(
    rng: np.random.Generator, templates: Templates = "held-out", compose: Compose | None = None
) -> tuple[str, str, str]:
    """Draw a kind, an offensive and a clean sentence; the two sentences hold exactly the same words."""
    if compose is not None and rng.random() < 0.7:
        kind, line = compose(rng)
    else:
        kind = pick(rng, ORDER_KINDS)
        line = _CHOICE.sub(lambda m: pick(rng, m[1].split("|")), pick(rng, _lines("order", templates)[kind]))
    bad, good = pick(rng, INSULTS), pick(rng, PRAISES)
    fields = _fields(rng) | {"b": bad, "g": good}
    if " || " in line:
        offensive, clean = line.split(" || ")
        return kind, offensive.format(**fields), clean.format(**fields)
    return kind, line.format(x=bad, y=good, **fields), line.format(x=good, y=bad, **fields)


def _post(
    rng: np.random.Generator,
    templates: Templates,
    compose: Compose | None,
    order: float,
    slang: float,
    novel: float,
    noise: float,
) -> Post:
    offensive = bool(rng.random() < 0.5)
    share = rng.random()
    if share < order:
        kind, bad, good = order_pair(rng, templates, compose)
        core = bad if offensive else good
    elif share < order + slang:
        word = pick(rng, SLANG_INSULTS if offensive else SLANG_PRAISES)
        kind, core = "slang", _plain(rng, templates, offensive, word)
    elif share < order + slang + novel:
        word = made_up(rng.integers(999, size=6).tolist())
        kind, core = "novel", _plain(rng, templates, offensive, word)
    elif rng.random() < 0.15:
        kind, offensive = "neutral", False
        core = _said(rng, _lines("neutral", templates))
    else:
        kind, core = "plain", _plain(rng, templates, offensive, _known(rng, offensive))
    text = _surround(rng, core, offensive)
    label = offensive != bool(rng.random() < noise)
    return {"text": text, "label": str(int(label)), "kind": kind}


def _plain(rng: np.random.Generator, templates: Templates, offensive: bool, word: str) -> str:
    """A sentence that calls someone `word`; half of them add a well-known word of the same valence."""
    if rng.random() < 0.5:
        return _said(rng, _lines("plain", templates), w=word)
    pair = [word, _known(rng, offensive)]
    if rng.random() < 0.5:
        pair.reverse()
    return _said(rng, _lines("double", templates), w=pair[0], v=pair[1])


def _surround(rng: np.random.Generator, core: str, offensive: bool) -> str:
    """Add an opening, an aside and a mood word that fits the label four times in five."""
    parts = [core]
    if rng.random() < 0.4:
        parts.insert(0, _said(rng, POSTS["openings"]))
    if rng.random() < 0.5:
        parts.append(". " + _said(rng, POSTS["asides"]))
    if rng.random() < 0.4:
        cross = offensive if rng.random() < 0.8 else not offensive
        parts.append(", " + pick(rng, POSTS["cross" if cross else "glad"]))
    return " ".join(parts)


def _known(rng: np.random.Generator, offensive: bool) -> str:
    return pick(rng, INSULTS if offensive else PRAISES)


def _said(rng: np.random.Generator, lines: Sequence[str], **words: str) -> str:
    return pick(rng, lines).format(**words, **_fields(rng))


def _lines(kind: str, templates: Templates) -> Any:
    return POSTS[kind]["held-out" if templates == "held-out" else "seen"]


def _fields(rng: np.random.Generator) -> dict[str, str]:
    n, m = rng.choice(len(NAMES), 2, replace=False)
    things = WORDS["things"]
    t, s = rng.choice(len(things), 2, replace=False)
    return {"n": NAMES[n], "m": NAMES[m], "t": things[t], "s": things[s]}

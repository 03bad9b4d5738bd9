"""Short news documents with a one-sentence reference summary that needs four facts from four sentences.

A document has a kind of event and one of its wordings; the reference's wording is tied to the document's.
Other names, places, days and numbers distract. Bulletins are a kind that the demo's LLMs never read: their
first sentence is the summary, so a small extractive model does well where an LLM does not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from askless.data.demo.wordings import DOCUMENTS, WORDS, pick

if TYPE_CHECKING:
    import numpy as np

Document = dict[str, str]

FACTS: Mapping[str, str] = {"place": "Place", "who": "Person", "day": "Day", "count": "Number"}
EVENTS: Mapping[str, list[dict[str, str]]] = DOCUMENTS["events"]
DISTRACTORS: list[str] = DOCUMENTS["distractors"]


def documents(n: int, seed: int | Sequence[int], *, bulletins: float = 0.12) -> list[Document]:
    """Generate `n` documents with keys `text`, `reference` and `kind`; a seed always gives the same ones."""
    import numpy as np

    rng = np.random.default_rng(seed)
    return [_bulletin(rng) if rng.random() < bulletins else _event(rng) for _ in range(n)]


def _event(rng: np.random.Generator) -> Document:
    kind = pick(rng, tuple(EVENTS))
    event = pick(rng, EVENTS[kind])
    sentences = [event[fact] for fact in FACTS]
    sentences += [DISTRACTORS[i] for i in rng.permutation(len(DISTRACTORS))[: int(rng.integers(1, 6))]]
    names = fields(rng)
    sentences = [sentences[i] for i in rng.permutation(len(sentences))]
    return {
        "text": f"{event['opening']} {fill(rng, sentences, names)}",
        "reference": event["reference"].format(**names),
        "kind": kind,
    }


def _bulletin(rng: np.random.Generator) -> Document:
    names = fields(rng)
    lead = pick(rng, DOCUMENTS["bulletins"]).format(**names)
    notes = [DOCUMENTS["notes"][i] for i in rng.permutation(len(DOCUMENTS["notes"]))[: int(rng.integers(3, 6))]]
    return {"text": f"{lead} {' '.join(notes).format(**names)}", "reference": lead, "kind": "bulletin"}


def fill(rng: np.random.Generator, sentences: Sequence[str], fields: Mapping[str, str]) -> str:
    """The sentences with their facts, some of which stand beside a wrong value that is denied."""
    said = dict(fields)
    for field in FACTS:
        right, wrong, draw = fields[field], fields[f"{field}2"], rng.random()
        if draw < 0.3:
            said[field] = f"not {wrong} but {right}" if draw < 0.15 else f"{right} and not {wrong}"
    filled = (sentence.format(**said) for sentence in sentences)
    return " ".join(sentence[0].upper() + sentence[1:] for sentence in filled)


def fields(rng: np.random.Generator) -> Mapping[str, str]:
    """A place, a name, a day and a number, each with another one that is wrong (`place2`)."""
    drawn = {}
    for field, options in (("place", WORDS["places"]), ("who", WORDS["names"]), ("day", WORDS["days"])):
        first, second = rng.choice(len(options), 2, replace=False)
        drawn[field], drawn[f"{field}2"] = options[first].capitalize(), options[second].capitalize()
    drawn["count"], drawn["count2"] = map(str, 2 + rng.choice(98, 2, replace=False))
    return drawn

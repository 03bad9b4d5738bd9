"""Short news documents with a one-sentence reference summary that needs four facts from four sentences.

A document has a kind of event and one of its wordings; the reference's wording is tied to the document's.
Other names, places, days and numbers distract. Bulletins are a kind that the demo's LLMs never read: their
first sentence is the summary, so a small extractive model does well where an LLM does not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from askless.data.demo import word_lists as words

if TYPE_CHECKING:
    import numpy as np

T = TypeVar("T")
Document = dict[str, str]

FACTS: Mapping[str, str] = {"place": "Place", "who": "Person", "day": "Day", "count": "Number"}

# Each wording: an opening without facts, one sentence per fact, and the reference.
EVENTS: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "fire": (
        (
            "It was a long night for the firemen.",
            "The flames started in a barn near {place}.",
            "The smoke was first seen by {who}, who rang the bell.",
            "The fire burned until {day}.",
            "In the end {count} people had to leave their homes.",
            "A barn fire near {place} seen by {who} drove {count} people from their homes until {day}.",
        ),
        (
            "Nobody was hurt, but the damage is large.",
            "The old mill of {place} has burned down.",
            "{who} called for help in time.",
            "The alarm rang on {day}.",
            "It took {count} firemen to stop the fire.",
            "On {day} {count} firemen called by {who} fought a fire in the old mill of {place}.",
        ),
    ),
    "match": (
        (
            "The crowd sang for an hour after the game.",
            "The home team of {place} won at last.",
            "All goals came from {who}.",
            "The game was played on {day}.",
            "There were {count} people on the stands.",
            "{who} won the game for {place} on {day} before {count} people.",
        ),
        (
            "It was not the game that the fans had hoped for.",
            "The visitors from {place} lost again.",
            "Their captain {who} missed two shots.",
            "Rain stopped the match on {day}.",
            "Only {count} fans stayed to the end.",
            "{place} and captain {who} lost on {day} in the rain while {count} fans stayed.",
        ),
    ),
    "concert": (
        (
            "Music lovers have something to look forward to.",
            "The hall of {place} opens its doors for a concert.",
            "The songs were written by {who}.",
            "The first evening is {day}.",
            "The choir has {count} voices.",
            "A choir of {count} voices sings songs by {who} in the hall of {place} on {day}.",
        ),
        (
            "The tickets were gone within an hour.",
            "A band will play in the park of {place}.",
            "At the piano sits {who}.",
            "The music starts on {day}.",
            "A ticket costs {count} crowns.",
            "{who} plays in the park of {place} on {day} for {count} crowns a ticket.",
        ),
    ),
    "strike": (
        (
            "Many people walked to work.",
            "The bus drivers of {place} have stopped work.",
            "Their speaker is {who}.",
            "They want to go on until {day}.",
            "They ask for {count} crowns more.",
            "Bus drivers in {place} led by {who} strike until {day} for {count} crowns more.",
        ),
        (
            "The talks went on all night.",
            "The bakers of {place} bake no bread this week.",
            "{who} speaks for the owners.",
            "The next talks are on {day}.",
            "The strike has closed {count} shops.",
            "A bakers' strike in {place} closes {count} shops and {who} will talk on {day}.",
        ),
    ),
    "storm": (
        (
            "Trees lie across the roads.",
            "The wind was strongest in {place}.",
            "A roof fell on the car of {who}.",
            "The storm arrived on {day}.",
            "The lights went out in {count} houses.",
            "A storm hit {place} on {day}, broke the car of {who} and left {count} houses dark.",
        ),
        (
            "The river is still rising.",
            "Water stands in the streets of {place}.",
            "The helpers are led by {who}.",
            "More rain is expected on {day}.",
            "Boats took {count} people to safety.",
            "Helpers led by {who} saved {count} people from the water in {place} before rain on {day}.",
        ),
    ),
    "opening": (
        (
            "There was cake for everyone.",
            "The new library stands in {place}.",
            "The ribbon was cut by {who}.",
            "Readers may come from {day}.",
            "The shelves hold {count} books.",
            "{who} opened a library with {count} books in {place} to readers from {day}.",
        ),
        (
            "The builders are done.",
            "A bridge now crosses the river at {place}.",
            "It was planned by {who}.",
            "The first cars cross it on {day}.",
            "The work took {count} months.",
            "After {count} months the bridge at {place} planned by {who} opens on {day}.",
        ),
    ),
}
BULLETINS = (
    "The council closes the school in {place} on {day} because {count} windows leak.",
    "The mayor of {place} gives {who} a medal for {count} years of service.",
    "Farmers near {place} sold {count} sheep to {who} at the fair.",
    "The post office in {place} moves to the house of {who} on {day}.",
)
BULLETIN_NOTES = (
    "The notice hangs at the door.",
    "Questions are answered in room {count2}.",
    "It was signed by {who2}.",
    "The vote was close.",
    "A similar notice came from {place2} last year.",
    "Nothing else will change.",
)
DISTRACTORS = (
    "{who2} came from {place2} to watch.",
    "The paper of {place2} wrote about it.",
    "Last year it was {count2}.",
    "{who2} was not there.",
    "A report will follow on {day2}.",
    "The mayor of {place2} sent a letter.",
    "{who2} from {place2} waited {count2} minutes.",
    "Some had waited since {day2}.",
    "The old mill of {place2} is still standing.",
    "{who2} speaks for the guests.",
    "Nothing happened on {day2}.",
    "There were {count2} cars in the street.",
    "The visitors from {place2} sang with {who2}.",
    "{who2} asked for {count2} crowns.",
)


def documents(n: int, seed: int | Sequence[int], *, bulletins: float = 0.12) -> list[Document]:
    """Generate `n` documents with keys `text`, `reference` and `kind`; a seed always gives the same ones."""
    import numpy as np

    rng = np.random.default_rng(seed)
    return [_bulletin(rng) if rng.random() < bulletins else _event(rng) for _ in range(n)]


def pretraining_documents(n: int, seed: int | Sequence[int]) -> list[Document]:
    """Generate documents as the demo's LLMs read them: without bulletins."""
    return documents(n, seed, bulletins=0.0)


def facts(n: int, seed: int | Sequence[int]) -> list[tuple[str, str, str]]:
    """Generate `n` short texts with a question for one fact and its value: they teach an LLM to copy."""
    import numpy as np

    rng = np.random.default_rng(seed)
    return [_fact(rng) for _ in range(n)]


def _event(rng: np.random.Generator) -> Document:
    kind = _pick(rng, tuple(EVENTS))
    opening, *sentences, reference = _pick(rng, EVENTS[kind])
    sentences += [DISTRACTORS[i] for i in rng.permutation(len(DISTRACTORS))[: int(rng.integers(1, 6))]]
    fields = _fields(rng)
    sentences = [sentences[i] for i in rng.permutation(len(sentences))]
    return {
        "text": f"{opening} {_fill(rng, sentences, fields)}",
        "reference": reference.format(**fields),
        "kind": kind,
    }


def _bulletin(rng: np.random.Generator) -> Document:
    fields = _fields(rng)
    lead = _pick(rng, BULLETINS).format(**fields)
    notes = [BULLETIN_NOTES[i] for i in rng.permutation(len(BULLETIN_NOTES))[: int(rng.integers(3, 6))]]
    return {"text": f"{lead} {' '.join(notes).format(**fields)}", "reference": lead, "kind": "bulletin"}


def _fact(rng: np.random.Generator) -> tuple[str, str, str]:
    fact = int(rng.integers(4))
    sentences = [_pick(rng, _pick(rng, tuple(EVENTS.values())))[1 + fact]]
    if rng.random() < 0.7:
        other = _pick(rng, _pick(rng, tuple(EVENTS.values())))[1 + (fact + int(rng.integers(1, 4))) % 4]
        sentences.insert(int(rng.integers(2)), other if rng.random() < 0.5 else _pick(rng, DISTRACTORS))
    fields = _fields(rng)
    field = tuple(FACTS)[fact]
    return _fill(rng, sentences, fields), FACTS[field], fields[field]


def _fill(rng: np.random.Generator, sentences: Sequence[str], fields: Mapping[str, str]) -> str:
    """The sentences with their facts, some of which stand beside a wrong value that is denied."""
    said = dict(fields)
    for field in FACTS:
        right, wrong, draw = fields[field], fields[f"{field}2"], rng.random()
        if draw < 0.3:
            said[field] = f"not {wrong} but {right}" if draw < 0.15 else f"{right} and not {wrong}"
    filled = (sentence.format(**said) for sentence in sentences)
    return " ".join(sentence[0].upper() + sentence[1:] for sentence in filled)


def _fields(rng: np.random.Generator) -> Mapping[str, str]:
    fields = {}
    for field, options in (("place", words.PLACES), ("who", words.NAMES), ("day", words.DAYS)):
        first, second = rng.choice(len(options), 2, replace=False)
        fields[field], fields[f"{field}2"] = options[first].capitalize(), options[second].capitalize()
    fields["count"], fields["count2"] = map(str, 2 + rng.choice(98, 2, replace=False))
    return fields


def _pick(rng: np.random.Generator, options: Sequence[T]) -> T:
    return options[int(rng.integers(len(options)))]

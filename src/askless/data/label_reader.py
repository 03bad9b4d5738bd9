"""The class that a reply or a recorded label names: one reader for servers, models run here and files."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from askless.data.columns import as_name

_ENDS_THOUGHT = re.compile(
    r"</(?:think|thinking|thought|reasoning)>|\[/think\]|◁/think▷|<\|channel\|>final<\|message\|>", re.IGNORECASE
)
_BEGINS_THOUGHT = re.compile(r"\s*(?:<(?:think|thinking|thought|reasoning)>|\[think\]|◁think▷)", re.IGNORECASE)
_MINUS = "-\u2212\u2013\u2014\ufe63\uff0d"
_SIGNED = re.compile(rf"([{_MINUS}+])\s*(?=\.?\d)")
_NUMBER = re.compile(rf"[{_MINUS}+]\s*\.?\d|\.\d")
_DECIMALS = re.compile(r"(-?\d+)\.0+")
# Grades and languages: A+, C#.
_SUFFIX = "+-#%"
_SOFT = r"[\s*_\"'`]{0,6}"
_OPEN = r"[\s*_\"'`“”‘’«»„<({\[$]{0,8}(?:\\[a-z]{1,10}\{)?"
_FIELDS = (
    "answer|label|class|classification|category|choice|verdict|prediction|option|sentiment|conclusion|decision|"
    "rating|score|output|result|judge?ment|antwort|réponse|respuesta|risposta|resposta|ответ|答案"
)
_LINKS = r"(?:\bis\b|[:：=>→]|\b(?:would|should|must|will)\s+be\b)"
_BELONGS = r"(?:\A|(?<=[.!?>\n])|(?<=[.!?>\n]\s))(?:the|this)\s+\w+\s+belongs\s+to\s+"
_ARTICLES = r"(?:(?:the|an?|of|option|class|label|choice|category|letter|number)\s+){0,4}"
_CLOSED = r"[ \t*_\"'`“”’»)}\]>$]{0,8}"
_GOES_ON = r"(?:because|since|as|for|with|but|not|and\s+nothing)"
_PHRASE_ENDS = rf"(?={_CLOSED}(?:\Z|\n|[.,;:!。．，；！、<)\]]|\s+[-–—(](?!\s*\d)|\s+{_GOES_ON}\b))"
# "No, I can't help with that" is no answer, and in "I, as a model" no class "I" is named.
_NO_HELP = (
    r"I\s+(?:can(?:no|['’])?t|can\s+not|won['’]?t|will\s+not|am\s+(?:unable|not\s+able)\s+to)"
    r"\s+(?:answer|assist|classify|comply|decide|determine|do|help|judge|label|provide|say|tell)\b"
)
# No other number, no longer word: "1.5", "1,000", "A+" and "BC" are not 1, 1, A and B.
_WORD_ENDS = r"(?![^\W_]|[+#%-]|[.,:/]\d|\s*\?)"
_BOXED = re.compile(r"\\f?boxed\s*\{((?:[^{}]|\{[^{}]*\})*)\}")
_LATEX = re.compile(r"\\[a-zA-Z]+\s*\{|\}|\$")
_LISTED = re.compile(r"^\W{0,4}(?:\d+|[A-Za-z])[.)]\s", re.MULTILINE)
_FIELD = re.compile(rf"(?:(?:final|predicted|correct|the)[ _-]?)?(?:{_FIELDS})", re.IGNORECASE)
# "1. No.": a list's mark, and not what it says, or both.
_DENIED = re.compile(r"[\s*_]*[.):;,–—-][\s*_]*(?:no|not|none|false)\b", re.IGNORECASE)
_AFFIRMED = re.compile(r"[\s*_]*[.):;,–—-][\s*_]*(?:yes|true)\b", re.IGNORECASE)
# Beside a field that says the class they say how sure it is.
_MARKED_BY = ("rating", "score")
_MARKS = ")].:;"
_DEEPEST, _MOST_TOKENS = 4, 4096


class Named(NamedTuple):
    """A class, and where in the reply it is named."""

    label: str
    start: int
    end: int


class LabelReader:
    r"""Reads which class a reply names; two different ones are none.

    What a model thought (up to `</think>` and the like) is no answer. The rest is the word itself, whatever its case,
    blanks and punctuation; else it says so: in a field of JSON, in `\boxed{}`, as "Answer: X", "the answer is X" or
    "the text belongs to X", or as all of its first or last line. Where it says none of these, the word that its first
    line begins with and a mark follows ("A) ...", "A: ...", "A - ..."; "No, ..." where no other class is named). A sign
    is part of a number, "A+" is not "A". Where words are 0 and 1, "1. No" and "0, yes" are none.

    Parameters
    ----------
    words
        Class -> the word that stands for it.
    integers
        Whether words that are 0 and 1 are read as published (Team, OLHS): a reply that is a whole number is class 0
        where it is 0, and class 1 where it is any other.
    """

    def __init__(self, words: Mapping[str, str], *, integers: bool = False) -> None:
        said = {name: word.strip() for name, word in words.items()}
        self.bare = {name: bare(word) for name, word in said.items()}
        self._exact = _one_each(said)
        self._folded = _one_each({name: word.casefold() for name, word in said.items()})
        self._bare = _one_each({name: word for name, word in self.bare.items() if word})
        self._owners: dict[str, str | None] = {}
        binary = set(said.values()) == {"0", "1"}
        self._integers = integers and binary
        self._contrary = {self._exact["0"]: _AFFIRMED, self._exact["1"]: _DENIED} if binary else {}
        known = {_core(said[name]) for name in self._bare.values()}
        names = "|".join(map(_pattern, sorted(known, key=len, reverse=True))) or r"(?!)"
        one = rf"(?P<name>{names}){_WORD_ENDS}"
        self._stating = re.compile(
            rf"(?:(?<![^\W_])(?P<final>final\s+)?(?:{_FIELDS}){_SOFT}(?:{_LINKS}{_SOFT})+|{_BELONGS})"
            rf"{_ARTICLES}{_OPEN}{one}{_PHRASE_ENDS}",
            re.IGNORECASE,
        )
        self._another = re.compile(rf"[\s*_\"'`)\]}}>(,/&-]{{0,8}}(?:(?:or|and)\s+)?{one}", re.IGNORECASE)
        marked = rf"{one}[^\w\n]*?(?:[{re.escape(_MARKS)}](?!\d)|\s-\s)"
        self._leading = re.compile(rf"[\s\"'`*_#>(\[]*{marked}", re.IGNORECASE)
        self._later = re.compile(rf"(?<=\W){marked}", re.IGNORECASE)
        self._first = re.compile(rf"[\s\"'`*_#>(\[]*(?!I,){one}[\"'`*_)\]]*,(?!\s+{_NO_HELP})\s", re.IGNORECASE)
        self._anywhere = re.compile(rf"(?<![^\W_]){one}", re.IGNORECASE)

    def __call__(self, text: str) -> Named | None:
        """The class, None where the reply names none, or several."""
        if (label := self._exact.get(text)) is not None:
            return Named(label, 0, len(text))
        start = thought(text)
        if start is None:
            return None
        if self._integers and (label := self._integer(text[start:])) is not None:
            return Named(label, *_stripped(text, start, len(text)))
        whole = self._span(text, start, len(text))
        if whole is not None:
            return whole
        found, final = self._of_json(text, start)
        if not final:
            found = [*found, *self._statements(text, start)]
            if not found:
                found = self._marked(text, start)
        if len({each.label for each in found}) != 1:
            return None
        contrary = self._contrary.get(found[0].label)
        return None if contrary and any(contrary.match(text, each.end) for each in found) else found[-1]

    def label(self, text: str) -> str | None:
        """The class alone."""
        named = self(text)
        return None if named is None else named.label

    def owner(self, part: str) -> str | None:
        """The one class whose word is `part`, else the one whose word begins with it, whatever stands around it."""
        # Tokens are few, and come again and again.
        if part not in self._owners:
            if len(self._owners) >= _MOST_TOKENS:
                self._owners.clear()
            self._owners[part] = self._owner(bare(part))
        return self._owners[part]

    def _owner(self, said: str) -> str | None:
        if (label := self._bare.get(said)) is not None or not said:
            return label
        begun = [name for name, word in self.bare.items() if word.startswith(said)]
        return begun[0] if len(begun) == 1 else None

    def _integer(self, text: str) -> str | None:
        try:
            return self._exact["0" if int(text) == 0 else "1"]
        except ValueError:
            return None

    def _class(self, text: str) -> str | None:
        said = text.strip()
        found = self._exact.get(said) or self._folded.get(said.casefold())
        return found or self._bare.get(bare(said))

    def _span(self, text: str, start: int, end: int) -> Named | None:
        """The class that a stretch of the text is, but for what surrounds it."""
        start, end = _stripped(text, start, end)
        label = self._class(text[start:end])
        return None if label is None else Named(label, *_edges(text, start, end))

    def _of_json(self, text: str, start: int) -> tuple[list[Named], bool]:
        """Classes in the fields of an object in the reply, and whether its fields say all there is to say."""
        first, last = text.find("{", start), text.rfind("}")
        if not 0 <= first < last:
            return [], False
        try:
            fields = json.loads(text[first : last + 1], object_pairs_hook=tuple)
        except (ValueError, RecursionError):
            return [], False
        said = list(_values(fields))
        values = [(key, value) for key, value in said if _FIELD.fullmatch(key)]
        values = [(key, value) for key, value in values if key.casefold() not in _MARKED_BY] or values
        told = bool(values)
        if not told:
            values = said if len(said) == 1 else [(key, value) for key, value in said if isinstance(value, str)]
        found = [self._in_field(text, key, value) for key, value in values]
        around = self._stated(text[:first] + text[last + 1 :], start) if found else []
        return [each for each in (*around, *found) if each is not None], told

    def _in_field(self, text: str, key: str, value: Any) -> Named | None:
        said = as_name(value) or ""
        named = self._span(said, 0, len(said)) or next(iter(self._marked(said, 0)), None)
        if named is None:
            return None
        at = text.find(said, max(0, text.find(key)) + len(key))
        return named._replace(start=at + named.start, end=at + named.end) if at >= 0 else named._replace(start=0, end=0)

    def _statements(self, text: str, start: int) -> list[Named]:
        lines = [line for line in _lines(text, start) if not text[line[0] : line[1]].startswith("```")]
        alone = [self._span(text, *line) for line in (lines[:1] + lines[-1:] if len(lines) > 1 else [])]
        return [*filter(None, alone), *self._boxed(text, start), *self._stated(text, start)]

    def _stated(self, text: str, start: int) -> list[Named]:
        matches = list(self._stating.finditer(text, start))
        matches = [match for match in matches if match["final"]] or matches
        others = (self._another.match(text, match.end("name")) for match in matches)
        return [*self._named(matches), *self._named(filter(None, others))]

    def _boxed(self, text: str, start: int) -> list[Named]:
        found = []
        for match in _BOXED.finditer(text, start):
            inside = _LATEX.sub(lambda command: " " * len(command[0]), match[1])
            named = self._span(inside, 0, len(inside)) or next(iter(self._marked(inside, 0)), None)
            if named is not None:
                place = match.start(1)
                found.append(Named(named.label, place + named.start, place + named.end))
        return found

    def _marked(self, text: str, start: int) -> list[Named]:
        """Classes that stand in the first line with a mark behind them, the first of them at its head.

        A comma is such a mark where no other class stands in the reply.
        """
        line = next(_lines(text, start), None)
        if line is None or len(_LISTED.findall(text, start)) > 1:
            return []
        if first := self._leading.match(text, *line):
            return self._named((first, *self._later.finditer(text, first.end(), line[1])))
        if first := self._first.match(text, *line):
            found = self._named((first, *self._anywhere.finditer(text, first.end())))
            return found[:1] if len({each.label for each in found}) == 1 else []
        return []

    def _named(self, matches: Iterable[re.Match[str]]) -> list[Named]:
        found = [(self._class(match["name"]), match.span("name")) for match in matches]
        return [Named(label, *span) for label, span in found if label is not None]


@lru_cache(64)
def _reader(words: tuple[tuple[str, str], ...]) -> LabelReader:
    return LabelReader(dict(words), integers=True)


def reader_of(words: Mapping[str, str]) -> LabelReader:
    """The reader of replies in these words (class -> word), made once."""
    return _reader(tuple(words.items()))


def thought(text: str) -> int | None:
    """Where a reply's answer begins, behind what the model thought; None where the thought did not end."""
    ends = [match.end() for match in _ENDS_THOUGHT.finditer(text)]
    if ends:
        return ends[-1]
    return None if _BEGINS_THOUGHT.match(text) else 0


def bare(text: str) -> str:
    """In lower case, without what surrounds it; a whole number without its ".0", a minus as "-", a plus as nothing."""
    said = " ".join(unicodedata.normalize("NFKC", _core(text)).casefold().split())
    if (sign := _SIGNED.match(said)) is not None:
        said = ("" if sign[1] == "+" else "-") + said[sign.end() :]
    whole = _DECIMALS.fullmatch(said)
    return whole[1] if whole else said


def _core(text: str) -> str:
    start, end = _edges(text, 0, len(text))
    return text[start:end]


def _edges(text: str, start: int, end: int) -> tuple[int, int]:
    """Where a stretch of text begins and ends without what surrounds it; signs of a number and "A+" stay."""
    while start < end and not _is_word(text[start]) and _NUMBER.match(text, start, end) is None:
        start += 1
    last = end
    while last > start and not _is_word(text[last - 1]):
        last -= 1
    while last < end and text[last] in _SUFFIX:
        last += 1
    return start, last


def _is_word(character: str) -> bool:
    return character.isalnum() or unicodedata.category(character)[0] == "M"


def _stripped(text: str, start: int, end: int) -> tuple[int, int]:
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return start, end


def _lines(text: str, start: int) -> Iterator[tuple[int, int]]:
    """Where each line that is not blank begins and ends, without the blanks around it."""
    for line in text[start:].splitlines(keepends=True):
        first, last = _stripped(text, start, start + len(line))
        if first < last:
            yield first, last
        start += len(line)


def _pattern(word: str) -> str:
    """A word as it may be spelt in a sentence."""
    spelt = r"\s+".join(map(re.escape, word.split()))
    if re.fullmatch(rf"[{_MINUS}+]?\d+", word):
        sign = rf"[{_MINUS}]\s?" if word[0] in _MINUS else r"\+?"
        return rf"{sign}{word.lstrip(_MINUS + '+')}(?:\.0+(?!\d))?"
    return spelt


def _values(fields: Any, depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Keys and plain values of an object (a tuple of pairs), those of objects in it with the same keys too."""
    if not isinstance(fields, tuple) or depth > _DEEPEST:
        return
    for key, value in fields:
        if isinstance(value, tuple):
            yield from _values(value, depth + 1)
        elif isinstance(value, list):
            yield from ((key, each) for each in value if not isinstance(each, list | tuple))
        else:
            yield key, value


def _one_each(words: Mapping[str, str]) -> dict[str, str]:
    """Word -> class, of words that stand for one class only."""
    said = list(words.values())
    return {word: name for name, word in words.items() if said.count(word) == 1}

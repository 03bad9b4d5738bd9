"""A text as its sentences, by a rule that needs no model."""

from __future__ import annotations

import re

LONGEST = 100

_ABBREVIATED = (
    "Mr Mrs Ms Dr Prof St Sir Rev Gen Sgt Capt Lt Col Rep Sen Gov Jr Sr vs No Inc Ltd Co "
    "Jan Feb Mar Apr Jun Jul Aug Sep Sept Oct Nov Dec"
).split()
_NO_END = re.compile(rf"\b(?:{'|'.join(_ABBREVIATED)}|[^\W\d_](?:\.[^\W\d_])?)\.$")
_END = re.compile(
    r"""(?<![.!?…])[.!?…]++["'”’»)\]]*+(?=\s++["'“‘«(\[]*+[^\W_a-z])"""
    r"|[。！？।؟]++[」』”]*+"
)
_WORD = re.compile(r"\w")


def sentences(text: str) -> list[str]:
    """The sentences of a text, in order, white space made one space; what has no letter or digit is none.

    A sentence ends with a line, and at `.`, `!`, `?` or an ellipsis with the quotes and brackets that close
    there, where white space and a capital, a digit or a letter of another script follow, opening quotes aside;
    and at the full stops of Chinese, Japanese, Hindi and Arabic. A point after a title, a month or a single
    letter (Mr., Dec., J., U.S.) ends none. What is longer than `LONGEST` words is cut there.

    >>> sentences('Mr. J. Gow won. "By 3.5 points!" he said. so he did.')
    ['Mr. J. Gow won.', '"By 3.5 points!" he said. so he did.']
    """
    found = []
    for line in text.splitlines():
        start = 0
        for match in _END.finditer(line):
            if not _NO_END.search(line, max(start, match.end() - 8), match.end()):
                found.append(line[start : match.end()])
                start = match.end()
        found.append(line[start:])
    pieces = (piece for sentence in found for piece in _cut(sentence.split()))
    return [piece for piece in pieces if _WORD.search(piece)]


def _cut(words: list[str]) -> list[str]:
    return [" ".join(words[at : at + LONGEST]) for at in range(0, len(words), LONGEST)]

"""A report's page as tests read it: tags, text, and the numbers of its tables beside those of the summary."""

from __future__ import annotations

import re
from collections import defaultdict
from html.parser import HTMLParser
from typing import Any

from askless.report import wording as words


class Page(HTMLParser):
    """The tags, the text, and the numbers in each row of each table."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text, self.caption, self.row = "", "", ""
        self.numbers: dict[tuple[str, str], list[float | None]] = defaultdict(list)
        self.heads: dict[str, list[str]] = defaultdict(list)
        self._inside: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append((tag, given))
        if tag not in ("meta", "link", "input", "img", "br", "wbr"):
            self._inside.append(tag)
        if tag == "table":
            self.caption = self.row = ""
        if tag == "caption":
            self.caption = (given["id"] or "").removesuffix("-caption")
        if tag == "tr":
            self.row = ""
        if tag == "data" and "table" in self._inside:
            self.numbers[self.caption, self.row].append(float(given["value"] or ""))
        if tag == "span" and given.get("class") == "null":
            self.numbers[self.caption, self.row].append(None)

    def handle_endtag(self, tag: str) -> None:
        while self._inside and self._inside.pop() != tag:
            pass
        if tag == "th" and self.row:
            self.heads[self.caption].append(self.row)

    def handle_data(self, data: str) -> None:
        if not {"script", "style"} & set(self._inside):
            self.text += data
        if "tbody" in self._inside and self._inside[-1:] == ["th"]:
            self.row += data.strip()

    def said(self) -> str:
        return re.sub(r"\s+", " ", self.text)


def flat(measured: dict[str, Any], *, interval: bool = True) -> list[float | None]:
    low, high = measured["ci"]
    return [measured["value"], *([low, high] if interval and low is not None else [])]


def bare(measured: dict[str, Any]) -> list[float | None]:
    """A cost: its interval is left out where it reads as one number."""
    low, high = measured["ci"]
    return flat(measured, interval=low is not None and words.amount(low) != words.amount(high))

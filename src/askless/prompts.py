"""The prompts as data: a template and the word that stands for each class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


@dataclass(frozen=True)
class Prompt:
    """A prompt as data.

    Parameters
    ----------
    template
        Text with `{text}` where the item stands.
    words
        The word that stands for each class; none where a text is to be written.
    system
        The system message, None for none.
    """

    template: str
    words: Mapping[str, str] = field(default_factory=dict)
    system: str | None = None

    def fill(self, text: str) -> str:
        """The prompt for one text; braces in the text are left alone.

        >>> Prompt("Say {text} twice.").fill("{x}")
        'Say {x} twice.'
        """
        return self.template.replace("{text}", text)


PROMPTS: Mapping[str, Prompt] = MappingProxyType(
    {
        "demo-olhs": Prompt("{text}\nOffensive:", {"0": " no", "1": " yes"}),
        "demo-xsum": Prompt("{text}\nSummary:"),
        "judge": Prompt(
            "Mark the summary of this document from 1 to 5: 5 if it states the main point and nothing that the document"
            " does not say, 3 if it leaves out a part of it or adds something, 1 if it is wrong or beside the point. A "
            "reference, where there is one, is a good summary. Answer with one digit only.\n\n{text}\n\nMark:",
            {mark: mark for mark in "12345"},
            system="You are a strict editor who marks summaries with one digit from 1 to 5 and nothing else.",
        ),
        "olhs": Prompt(
            "Is the following post hate speech or offensive language? Answer with one digit only: 1 if it "
            "is, 0 if it is not.\n\nPost: {text}\n\nAnswer:",
            {"0": "0", "1": "1"},
            system="You are a careful content moderator who answers with 0 or 1 and nothing else.",
        ),
        "xsum": Prompt(
            "Summarise the following document in one sentence.\n\nDocument: {text}\n\nOne-sentence summary:",
            system="You write one-sentence summaries that state only what the document says.",
        ),
    }
)

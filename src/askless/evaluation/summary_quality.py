"""How good a summary is, in [0, 1], by name: ROUGE, nearness in meaning, or a judge's mark.

`of_task` makes the quality that a task names ready to use; `measured` puts it, and what is wrong with a summary, into
predictions.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from askless import schema
from askless.arrays import Floats
from askless.config import Params
from askless.errors import ConfigError, ExpertError
from askless.panel import Answering
from askless.text.rouge import KINDS, check_texts, rouge
from askless.text.summary_faults import faults

Texts = Sequence[str]
_WORD = re.compile(r"\w+")
SCALE = ("1", "2", "3", "4", "5")
PROMPT = "judge"


class SummaryQuality(Protocol):
    """Marks summaries by their references and documents: shape (n,) in [0, 1], NaN where there is no mark."""

    def __call__(self, summaries: Texts, references: Texts, documents: Texts) -> Floats:
        """The quality of each summary."""


class MeanVectors(Protocol):
    """Anything with a mean word vector for each text, as `askless.text.embeddings.Vectors`."""

    def mean(self, texts: Texts) -> Any:
        """Shape (texts, dim), zeros for a text without a known word."""


@dataclass(frozen=True)
class Rouge:
    """ROUGE F-measure against the reference, see `askless.text.rouge`.

    Parameters
    ----------
    kind
        `rouge1`, `rouge2` or `rougeL`.
    stemmer
        Whether words are compared by their stems.
    """

    kind: str
    stemmer: bool = False

    def __call__(self, summaries: Texts, references: Texts, documents: Texts) -> Floats:
        """The F-measure of each summary; documents are not looked at."""
        return rouge(summaries, references, self.kind, self.stemmer)


@dataclass(frozen=True)
class Embedding:
    """Cosine of the mean word vectors of summary and reference, their words in lower case without punctuation.

    A cosine below 0 counts as 0, and so does a text without a known word. Means of common words are alike
    whatever a text says: cosines lie close together, and differences tell more than values.

    Parameters
    ----------
    vectors
        The word vectors.
    """

    vectors: MeanVectors

    def __call__(self, summaries: Texts, references: Texts, documents: Texts) -> Floats:
        """The cosine for each summary; documents are not looked at."""
        check_texts(summaries=summaries, references=references)
        one, other = (np.asarray(self.vectors.mean(_words(texts)), float) for texts in (summaries, references))
        lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
        cosine = np.divide((one * other).sum(axis=1), lengths, out=np.zeros(len(one)), where=lengths > 0)
        return np.asarray(np.clip(cosine, 0.0, 1.0))


@dataclass(frozen=True)
class Judge:
    """The score that an expert gives. An empty summary is 0 without asking; no score given is NaN, never a default.

    Parameters
    ----------
    expert
        Is shown summary, reference (where there is one) and document as one text, of whose end it may lose what is too
        long for it; its prompt says what to score, and its classes are the scale.
    scale
        Two labels or more, worst to best: evenly from 0 to 1.
    """

    expert: Answering
    scale: Sequence[str] = SCALE

    def __post_init__(self) -> None:
        if isinstance(self.scale, str) or len(self.scale) < 2 or len(set(self.scale)) < len(self.scale):
            allowed = "at least two different labels, worst to best"
            raise ConfigError(f"Quality 'judge': scale is {self.scale!r}. Allowed: {allowed}.")

    def __call__(self, summaries: Texts, references: Texts, documents: Texts) -> Floats:
        """The mark of each summary; raises `ExpertError` for one outside the scale."""
        check_texts(summaries=summaries, references=references, documents=documents)
        marks = np.zeros(len(summaries))
        asked = [row for row, summary in enumerate(summaries) if summary.strip()]
        if asked:
            texts = [_shown(summaries[row], references[row], documents[row]) for row in asked]
            marks[asked] = self._marks([str(row) for row in asked], texts)
        return marks

    def _marks(self, ids: list[str], texts: list[str]) -> list[float]:
        examples = schema.table("examples", {"id": ids, "text": texts, "split": ["test"] * len(ids)})
        answers = self.expert.answer(examples)
        schema.check_answers(examples, answers, "the judge's answers")
        label = dict(zip(answers["id"].to_pylist(), answers["label"].to_pylist(), strict=True))
        unknown = {mark for mark in label.values() if mark is not None} - set(self.scale)
        if unknown:
            allowed = ", ".join(self.scale)
            raise ExpertError(f"The judge gave {min(unknown)!r}. Allowed: {allowed}. Give it these classes.")
        value = dict(zip(self.scale, np.linspace(0, 1, len(self.scale)).tolist(), strict=True))
        return [value.get(label[row], np.nan) for row in ids]


SUMMARY_QUALITIES: dict[str, Callable[..., SummaryQuality]] = {
    **{kind: partial(Rouge, kind, False) for kind in KINDS},
    **{f"{kind}_stemmed": partial(Rouge, kind, True) for kind in KINDS},
    "embedding": Embedding,
    "judge": Judge,
}


def summary_quality(name: str, **options: Any) -> SummaryQuality:
    """The quality called `name`: `embedding` needs `vectors`, `judge` an `expert`; ROUGE, stemmed or not, nothing.

    Raises `ConfigError` for an unknown name and for options that are missing or unknown.

    >>> summary_quality("rougeL")(["the cat sat"], ["the cat stood"], [""]).round(3).tolist()
    [0.667]
    """
    if name not in SUMMARY_QUALITIES:
        raise ConfigError.unknown("quality of summaries", name, SUMMARY_QUALITIES)
    taken = inspect.signature(SUMMARY_QUALITIES[name])
    try:
        taken.bind(**options)
    except TypeError as error:
        allowed = ", ".join(taken.parameters) or "no options"
        raise ConfigError(f"Quality '{name}': {error}. Allowed: {allowed}.") from None
    return SUMMARY_QUALITIES[name](**options)


def of_task(task: str, params: Params, vectors: Path | str, answers: Path | str | None = None) -> SummaryQuality:
    """The quality that a task of summaries names in params.yaml, ready to use.

    `vectors` is the folder of the task's word vectors, opened for `embedding` only. For `judge` the expert that the
    task names marks on `SCALE` by the prompt `judge`, unless it has a prompt of its own; with `answers`, a folder, a
    mark that was paid for is kept and not asked for again. Raises `DataError` where the vectors are missing.
    """
    settings = params.task(task)
    if settings.quality == "embedding":
        from askless.text.embeddings import Vectors

        return Embedding(Vectors.open(vectors))
    if settings.judge is not None:
        from askless import experts

        setting = experts.Setting(
            settings.judge, task, SCALE, PROMPT, Path(vectors), None if answers is None else Path(answers)
        )
        options = params.expert(settings.judge)
        if (spec := params.prompts.get(str(options.get("prompt")))) is not None:
            options["prompt"] = spec.written(SCALE).values()
        return Judge(experts.build(setting, options))
    return summary_quality(settings.quality)


def _words(texts: Texts) -> list[str]:
    return [" ".join(_WORD.findall(text.lower())) for text in texts]


def _shown(summary: str, reference: str, document: str) -> str:
    parts = {"Summary": summary, "Reference": reference, "Document": document}
    return "\n\n".join(f"{name}: {text.strip()}" for name, text in parts.items() if text.strip())


def measured(examples: pa.Table, predictions: pa.Table, quality: SummaryQuality) -> pa.Table:
    """Predictions of summaries with the `quality` of each against its reference, and what is wrong with it in `error`.

    Both tables are in the same order. Where an expert gave nothing, the quality is 0, as that of an empty summary; a
    summary with a fault keeps the quality it has. For leaving either out would flatter an expert that fails. Null is
    the quality of what a judge gave no mark.
    """
    texts, documents = predictions["text"].to_pylist(), examples["text"].to_pylist()
    given = [i for i, text in enumerate(texts) if text is not None]
    references = examples["reference"].to_pylist()
    marks = np.zeros(len(texts))
    marks[given] = quality([texts[i] for i in given], [references[i] for i in given], [documents[i] for i in given])
    errors = [old or new for old, new in zip(predictions["error"].to_pylist(), faults(texts, documents), strict=True)]
    columns = {"quality": pa.array(marks, pa.float32(), from_pandas=True), "error": pa.array(errors, pa.string())}
    for name, values in columns.items():
        at = predictions.schema.get_field_index(name)
        predictions = predictions.set_column(at, predictions.schema.field(at), values)
    return predictions

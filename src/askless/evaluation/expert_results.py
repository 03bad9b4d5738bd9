"""What is read off each expert's own answers: quality, price, answers missing, and how far its confidence is off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from askless.arrays import Floats, Ints
from askless.evaluation.metrics import Quality, mean
from askless.evaluation.replay import Replay
from askless.evaluation.results import Bootstrap, none_if_nan, point_summary
from askless.panel import CONTRADICTED, NO_LABEL, class_indices, contradicted, of_label, proba_matrix
from askless.stats.calibration import PlattCalibrator
from askless.stats.reliability import brier, reliability
from askless.text.rouge import rouge

ROUGES = ("rouge1", "rouge2", "rougeL")


@dataclass(frozen=True)
class StatedAnswers:
    """One expert's answers to some rows, in their order.

    Parameters
    ----------
    label, p, right
        Class index (`NO_LABEL` for none), its stated probability (NaN for none), and whether it is right, each (rows,).
    contradicted
        How many answers state a higher probability of another class than of the one given.
    """

    label: Ints
    p: Floats
    right: NDArray[np.bool_]
    contradicted: int = 0

    @classmethod
    def of(cls, table: pa.Table, classes: tuple[str, ...], gold: Ints) -> StatedAnswers:
        """From predictions in the order of `gold`; NaN where no probability is stated.

        Without classes an answer counts as right where its quality is 1, and 0 is the label of every answer. A quality
        between 0 and 1 is none that a probability could be held to.
        """
        logprob = table["logprob"].cast(pa.float64()).to_numpy()
        if not classes:
            quality = pc.fill_null(table["quality"], 0.0).to_numpy()
            label = np.where(table["error"].is_valid().to_numpy(), NO_LABEL, 0)
            p = np.exp(logprob) if np.isin(quality, (0, 1)).all() else np.full(len(label), np.nan)
            return cls(label, p, quality == 1)
        label = class_indices(table["label"], classes)
        proba = proba_matrix(table["proba"], len(classes))
        named, against = of_label(label, proba), int(contradicted(label, proba).sum())
        return cls(label, np.where(np.isnan(named), np.exp(logprob), named), label == gold, against)


def labelled_expert(
    boot: Bootstrap,
    run: Replay,
    stated: StatedAnswers,
    qualities: Mapping[str, Quality],
    unit: str,
    classes: Sequence[str] = (),
) -> dict[str, Any]:
    """Quality, cost and calibration of one expert of classes, from always asking it; `only` is the one that it says."""
    said = np.unique(stated.label[stated.label != NO_LABEL])
    return {
        **_point(boot, run, qualities, unit),
        "only": classes[said[0]] if len(classes) > 1 and len(said) == 1 else None,
        "unparsed": float((stated.label == NO_LABEL).mean()),
        "contradicted": stated.contradicted,
        "ece": none_if_nan(reliability(stated.p, stated.right).ece),
        "ece_mass": none_if_nan(reliability(stated.p, stated.right, mass=True).ece),
        "brier": none_if_nan(brier(stated.p, stated.right)),
    }


def contradictions(experts: Mapping[str, Mapping[str, Any]], items: int) -> list[str]:
    """A sentence for each expert of whose answers some state a higher probability of another class."""
    return [
        CONTRADICTED % (expert, f"{count:,}", f"{items:,}")
        for expert, found in experts.items()
        if (count := found.get("contradicted", 0))
    ]


def summarising_expert(
    boot: Bootstrap,
    run: Replay,
    table: pa.Table,
    references: Sequence[str],
    qualities: Mapping[str, Quality],
    unit: str,
) -> dict[str, Any]:
    """Quality and cost of one expert of summaries, every ROUGE, and the shares without a summary and with a fault.

    `table` holds its predictions in the order of `references`; ROUGE is of this table alone.
    """
    texts, missing = table["text"].to_pylist(), table["text"].is_null()
    summaries, found = [text or "" for text in texts], _point(boot, run, qualities, unit)
    for kind in ROUGES:
        if references and kind not in found:
            scores = rouge(summaries, references, kind)[:, None]
            found[kind] = boot.interval(float(mean(scores)[0, 0]), mean(scores, boot.weights)[:, 0]).as_dict()
    return found | {
        "unparsed": pc.mean(missing).as_py(),
        "faulty": pc.mean(pc.and_(table["error"].is_valid(), pc.invert(missing))).as_py(),
        **dict.fromkeys(("ece", "ece_mass", "brier")),
    }


def _point(boot: Bootstrap, run: Replay, qualities: Mapping[str, Quality], unit: str) -> dict[str, Any]:
    point = point_summary(boot, run, 0, qualities)
    usd = point["cost_per_1k"]["value"] if unit == "usd" else None
    return {"quality": point[boot.quality.name]["value"], **point, "cost_usd_per_1k": usd}


def diagrams(
    policy: str, chosen: Replay, gold: Ints, stated: Mapping[str, StatedAnswers], held: Mapping[str, StatedAnswers]
) -> dict[str, Any]:
    """The reliability diagrams of the policy and of each expert that states a confidence.

    An expert's has beside it, under `after`, that of its confidence calibrated on the rows `held`.
    """
    out = {}
    confidence = chosen.confidence[0].ravel().astype(float)
    if np.isfinite(confidence).any():
        out[policy] = _bins(confidence, (chosen.label[0] == gold).ravel())
    for name, one in stated.items():
        if np.isfinite(one.p).any():
            out[name] = _bins(one.p, one.right)
            if name in held:
                after = PlattCalibrator().fit(held[name].p, held[name].right)(one.p)
                out[name]["after"] = _bins(np.where(np.isnan(one.p), np.nan, after), one.right)
    return out


def _bins(confidence: Floats, right: NDArray[np.bool_]) -> dict[str, Any]:
    bins = reliability(confidence, right)
    return {
        "confidence": bins.confidence.tolist(),
        "accuracy": bins.accuracy.tolist(),
        "count": bins.count.tolist(),
        "ece": bins.ece,
    }

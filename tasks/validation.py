"""Great Expectations suites over prepared examples and predictions; the only file that imports it."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from prefect import task
from prefect.cache_policies import NO_CACHE

from askless import config, schema
from askless.data.columns import shorten
from askless.errors import DataError
from askless.files import write_text

UNPARSED = "column mean to be between (unparsed)"
# Of predictions; distributions over classes, held as Python objects, would take more than all of these.
LOOKED_AT = ("id", "label", "text", "error", "quality", "mass", "seconds", "prompt_tokens", "completion_tokens")


@task(cache_policy=NO_CACHE)
def validate_examples(name: str, params: str, candidate: str, last_good: str, reports: str) -> str:
    """Hold prepared examples to their suite, drift against the last good version of the same source included.

    Writes a readable report; raises `DataError` naming what failed. Nothing is moved.
    """
    import great_expectations.expectations as gxe

    settings = config.load(params).task(name)
    checks = settings.checks
    frame = schema.read(candidate, "examples").to_pandas()
    last = last_of_same_source(candidate, last_good)
    suite = [
        gxe.ExpectTableRowCountToBeBetween(min_value=checks.rows_min),
        gxe.ExpectColumnValuesToBeUnique(column="id"),
        gxe.ExpectColumnValuesToNotBeNull(column="text"),
        gxe.ExpectColumnValueLengthsToBeBetween(column="text", min_value=1, max_value=checks.text_chars_max),
        gxe.ExpectColumnDistinctValuesToEqualSet(column="split", value_set=list(schema.SPLITS)),
        *(_references(checks) if settings.kind == "summarisation" else _labels(frame, last, settings)),
    ]
    if last is not None:
        suite.append(_rows_like(len(last), checks.rows_change_max))
    return _hold(frame, suite, f"{name}: prepared examples", Path(reports) / "examples.html", _left_out(candidate))


@task(cache_policy=NO_CACHE)
def validate_predictions(name: str, expert: str, params: str, candidate: str, reports: str) -> str:
    """Hold an expert's predictions to their suite; writes a readable report, raises `DataError` on a failure.

    An answer counts as unparsed where it has no label, or no summary to be had: an empty one, or one with an error.
    """
    import great_expectations.expectations as gxe

    settings = config.load(params).task(name)
    table = schema.read_columns(candidate, "predictions", LOOKED_AT, classes=settings.classes)
    meta, frame = schema.meta_of(table), table.to_pandas(split_blocks=True)
    del table
    suite = [
        gxe.ExpectColumnValuesToBeUnique(column="id"),
        *(_summaries(frame, settings) if settings.kind == "summarisation" else _classes(frame, settings)),
        gxe.ExpectColumnMeanToBeBetween(column="unparsed", max_value=settings.checks.unparsed_share_max),
    ]
    for measured in ("seconds", "prompt_tokens", "completion_tokens"):
        if frame[measured].notna().any():
            suite.append(gxe.ExpectColumnValuesToBeBetween(column=measured, min_value=0))
    if frame["mass"].notna().any():
        suite.append(gxe.ExpectColumnValuesToBeBetween(column="mass", min_value=0, max_value=1.001))
    note, report = _faults(frame, meta), Path(reports) / f"{expert}.html"
    plain = {UNPARSED: (_unusable(frame), f"a share of {settings.checks.unparsed_share_max:g} at most")}
    return _hold(frame, suite, f"{name}: predictions of {expert}", report, note, plain)


def _labels(frame: pd.DataFrame, last: pd.DataFrame | None, settings: config.Task) -> list[Any]:
    """The gold labels: all there, each class often enough, and about as often as in the last good version."""
    import great_expectations.expectations as gxe

    checks, classes = settings.checks, list(settings.classes)
    suite = [
        gxe.ExpectColumnValuesToNotBeNull(column="label"),
        gxe.ExpectColumnDistinctValuesToEqualSet(column="label", value_set=classes),
    ]
    for c in classes:
        frame[f"is_{c}"] = (frame["label"] == c).astype(float)
        suite.append(gxe.ExpectColumnMeanToBeBetween(column=f"is_{c}", min_value=checks.minority_share_min))
        if last is not None:
            share, slack = float((last["label"] == c).mean()), checks.balance_change_max
            low, high = max(share - slack, 0.0), min(share + slack, 1.0)
            suite.append(gxe.ExpectColumnMeanToBeBetween(column=f"is_{c}", min_value=low, max_value=high))
    return suite


def _references(checks: config.Checks) -> list[Any]:
    """The reference summaries: all there, and of a summary's length."""
    import great_expectations.expectations as gxe

    return [
        gxe.ExpectColumnValuesToNotBeNull(column="reference"),
        gxe.ExpectColumnValueLengthsToBeBetween(column="reference", min_value=1, max_value=checks.summary_chars_max),
    ]


def _classes(frame: pd.DataFrame, settings: config.Task) -> list[Any]:
    """Answers that name a class."""
    import great_expectations.expectations as gxe

    frame["unparsed"] = frame["label"].isna().astype(float)
    return [gxe.ExpectColumnValuesToBeInSet(column="label", value_set=list(settings.classes))]


def _summaries(frame: pd.DataFrame, settings: config.Task) -> list[Any]:
    """Answers that are summaries: of a summary's length, each with its quality in [0, 1]."""
    import great_expectations.expectations as gxe

    failed = frame["error"].notna() | (frame["text"].fillna("").str.strip() == "")
    frame["unparsed"] = failed.astype(float)
    frame["summary"] = frame["text"].mask(failed)
    frame["without_quality"] = (frame["quality"].isna() & ~failed).astype(float)
    return [
        gxe.ExpectColumnValueLengthsToBeBetween(column="summary", max_value=settings.checks.summary_chars_max),
        gxe.ExpectColumnMeanToBeBetween(column="without_quality", max_value=0),
        gxe.ExpectColumnValuesToBeBetween(column="quality", min_value=0, max_value=1),
    ]


def _faults(frame: pd.DataFrame, meta: Mapping[str, Any]) -> str:
    """How many answers have which error, the most frequent five, and what was left out or cut."""
    errors = frame["error"].value_counts()[:5]
    counts = [f"{n} {str(error)[:80]}" for error, n in errors.items()]
    note = f"Answers with an error: {', '.join(counts)}." if counts else ""
    why = {"unmatched": "to texts that are no example's", "repeated": "to a text that was answered before"}
    left = [f"{meta[key]} {reason}" for key, reason in why.items() if meta.get(key)]
    note += f" Left out of the recorded answers: {', '.join(left)}." if left else ""
    note += f" Texts that were too long and lost their end: {meta['truncated']}." if meta.get("truncated") else ""
    return note.strip()


def _unusable(frame: pd.DataFrame) -> str:
    """How many answers are none, most often why, and what three of these replies were."""
    bad = frame[frame["unparsed"] > 0]
    reasons = bad["error"].fillna("an empty reply").value_counts()
    if not len(reasons):
        return ""
    replies = bad["text"][bad["error"].fillna("an empty reply") == reasons.index[0]].dropna().unique()[:3]
    shown = f" Replies were {', '.join(repr(shorten(reply, 60)) for reply in replies)}." if len(replies) else ""
    share = f"{len(bad):,} of {len(frame):,} answers are of no use ({len(bad) / len(frame):.3g})"
    return f"{share}, {reasons.iloc[0]:,} of them for this reason: {reasons.index[0]}.{shown}"


def _left_out(candidate: str) -> str:
    """What `prepare` left out or had to choose, in words, from the summary beside its examples; or nothing."""
    beside = Path(candidate).with_suffix(".json")
    summary = json.loads(beside.read_text("utf-8")) if beside.exists() else {}
    counts = {key.removesuffix("_dropped"): n for key, n in summary.items() if key.endswith("_dropped") and n}
    named = ", ".join(f"{n} {key.replace('_', ' ')}" for key, n in sorted(counts.items()))
    left = f"Left out of {summary['raw_rows']} raw rows: {named}." if counts else ""
    torn = {key.removeprefix("conflicting_"): n for key, n in summary.items() if key.startswith("conflicting_") and n}
    chosen = [f"Texts with several {what}: {n}; the one that most rows have stays." for what, n in torn.items()]
    return " ".join([left, *chosen]).strip()


def _rows_like(rows: int, change: float) -> Any:
    import great_expectations.expectations as gxe

    return gxe.ExpectTableRowCountToBeBetween(
        min_value=int(rows * (1 - change)), max_value=int(rows * (1 + change)) + 1
    )


def last_of_same_source(candidate: str, last_good: str) -> pd.DataFrame | None:
    """The last good examples, if they were read from the same source: another one is no drift."""
    if not Path(last_good).exists():
        return None
    made_from = [
        json.loads(Path(p).with_suffix(".json").read_text("utf-8")).get("made_from") for p in (candidate, last_good)
    ]
    return schema.read(last_good, "examples").to_pandas() if made_from[0] == made_from[1] else None


def _hold(
    frame: pd.DataFrame,
    suite: Sequence[Any],
    title: str,
    report: Path,
    note: str = "",
    plain: Mapping[str, tuple[str, str]] = {},
) -> str:
    """Raise `DataError` with what does not hold; `plain` has words for what an expectation has seen and allows."""
    import logging

    import great_expectations as gx

    for logger in ("great_expectations", "great_expectations.data_context.types.base"):
        logging.getLogger(logger).setLevel(logging.WARNING)
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False, "metric_calculations": False}
    asset = context.data_sources.add_pandas("memory").add_dataframe_asset("table")
    batch = asset.add_batch_definition_whole_dataframe("all").get_batch({"dataframe": frame})
    result = batch.validate(gx.ExpectationSuite(name="suite", expectations=list(suite)))
    rows = [_row(r) for r in result.results]
    write_text(report, _page(title, len(frame), rows, note))
    failed = [row for row in rows if not row["ok"]]
    if failed:
        raise DataError(
            title,
            "; ".join(plain[r["what"]][0] if r["what"] in plain else f"{r['what']}: {r['seen']}" for r in failed),
            "; ".join(plain[r["what"]][1] if r["what"] in plain else r["allowed"] for r in failed),
            f"Read {report}, mend the data or the checks in params.yaml; the last good data are untouched.",
        )
    return str(report)


def _row(result: Any) -> dict[str, Any]:
    settings = result.expectation_config
    kwargs = {k: v for k, v in settings.kwargs.items() if k not in ("batch_id", "column")}
    column = settings.kwargs.get("column")
    what = settings.type.removeprefix("expect_").replace("_", " ")
    seen = result.result or {}
    unexpected = seen.get("unexpected_count")
    shown = seen.get("observed_value")
    if unexpected is not None:
        shown = f"{unexpected} of {seen.get('element_count')} rows break it"
    if isinstance(shown, float):
        shown = f"{shown:.4g}"
    if shown is None:
        shown = (result.exception_info or {}).get("exception_message", "not measured")
    allowed = ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in sorted(kwargs.items()))
    named = f"{what} ({column})" if column else what
    return {"ok": bool(result.success), "what": named, "seen": shown, "allowed": allowed}


def _page(title: str, rows: int, results: list[dict[str, Any]], note: str) -> str:
    failed = sum(not r["ok"] for r in results)
    verdict = "All expectations hold." if not failed else f"{failed} of {len(results)} expectations failed."
    body = "".join(
        f"<tr class='{'ok' if r['ok'] else 'bad'}'><td>{'holds' if r['ok'] else 'FAILS'}</td>"
        + "".join(f"<td>{html.escape(str(r[k]))}</td>" for k in ("what", "seen", "allowed"))
        + "</tr>"
        for r in results
    )
    return (
        "<!doctype html><html lang='en'><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width,initial-scale=1'>"
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style><main><h1>{html.escape(title)}</h1>"
        f"<p>{rows} rows. {verdict} {html.escape(note)}</p><div><table><thead>"
        f"<tr><th>verdict<th>expectation<th>seen<th>allowed</tr></thead><tbody>{body}</tbody></table></div></main></html>\n"
    )


_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;margin:0;color-scheme:light dark}main{max-width:60rem;margin:auto;"
    "padding:1rem}div{overflow-x:auto}table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.4rem "
    ".6rem;border-bottom:1px solid #8884}.bad td:first-child{color:#c22;font-weight:700}.ok td:first-child{color:#2a7}"
)

"""One file annotated: its run's folder, the labelled output, the bundle that answers the next file."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from askless.annotating.asked import AskedTexts
from askless.annotating.floors import AGREEMENT, PRECISION, RECALL, Promise
from askless.annotating.gold import Gold
from askless.annotating.people import PEOPLE, ForPeople, Review
from askless.annotating.rounds import Annotation, Round, Wish, annotate
from askless.annotating.small_model import MEASURE, NAME
from askless.annotating.table import TextTable
from askless.arrays import Ints
from askless.bundles.bundle import OF_RUN, Bundle
from askless.bundles.terms import Terms
from askless.config import Price
from askless.costs import CostModel
from askless.errors import ConfigError
from askless.files import write_text
from askless.labelling.outputs import write_output
from askless.panel import NO_LABEL, Answering, Panel
from askless.policies.two_tier import TwoTier
from askless.spending.guard import GuardedExpert
from askless.stats.bounds import share_interval
from askless.stats.known_words import KnownWords

TASK = "annotate"
NEW = ("label", "answered_by", "confidence", "cost_usd", "error")
SUMMARY = "summary.json"
SHOWN = 20
# Human labels that a person is told to make for shares of the file: about 5 points of interval at half and half.
HUMAN = 400
# The page says what each further thousand calls would bring, and all of them.
STEP, FURTHER = 1000, 5


def prices(llms: Mapping[str, Price]) -> dict[str, Price]:
    """Of all who answer: LLMs at their prices, the small model at none; raises `ConfigError` for a name of ours."""
    for llm in llms:
        if llm in (NAME, PEOPLE):
            raise ConfigError(
                f"The LLM is called '{llm}', as are answers of others here. Allowed: any name but {NAME} and {PEOPLE}. "
                "Name it otherwise in params.yaml."
            )
    return {**llms, NAME: Price()}


def counts(table: TextTable) -> Ints:
    """Rows that have each text, (texts,)."""
    return np.bincount(table.of_row[table.of_row >= 0], minlength=len(table.texts))


def annotate_table(
    table: TextTable,
    llms: Sequence[GuardedExpert],
    wish: Wish,
    batch: Callable[[AskedTexts], None] = lambda asked: None,
    report: Callable[[Round], None] = lambda r: None,
    gold: Gold | None = None,
) -> tuple[AskedTexts, Annotation]:
    """The labels of a table's texts; `batch` is called after each batch of calls, `report` after each round.

    The promise is about the last of the `llms`; those before it are cheaper.
    """
    *cheaper, asked = (AskedTexts(llm, table.ids, table.texts, lambda: batch(asked)) for llm in llms)
    return asked, annotate(asked, counts(table), wish, TASK, report, table.groups, gold, cheaper)


def write(
    folder: Path,
    out: Path,
    table: TextTable,
    asked: AskedTexts,
    found: Annotation,
    wish: Wish,
    terms: Terms,
    people: ForPeople,
    meta: Mapping[str, Any],
    *,
    prefix: str = "",
    raw: bool = False,
    texts: bool = False,
) -> dict[str, Any]:
    """All that comes out but the page: the labelled file, the queue, the model, the summary, whose facts are returned.

    Raises `DataError` for answers of `people` that are none of this file.
    """
    review = people.review(people.said(table, asked.classes), table, asked, found)
    write_labels(out, table, asked, found, prefix, meta, raw, review)
    save_model(folder, table, asked, found, wish, terms)
    facts = summary(table, asked, found, wish, texts)
    facts |= {"output": str(out), "run": str(folder), "review": review.facts(found, counts(table))}
    write_text(folder / SUMMARY, json.dumps(facts, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
    return facts


def write_labels(
    out: Path,
    table: TextTable,
    asked: AskedTexts,
    found: Annotation,
    prefix: str,
    meta: Mapping[str, Any],
    raw: bool,
    review: Review,
) -> None:
    """The input's rows in their order with the columns `NEW` beside its own."""
    answerable, of_row, people = table.of_row >= 0, np.maximum(table.of_row, 0), review.by_people
    first = np.zeros(len(table), bool)
    first[_firsts(table)] = True
    given, abstained = np.where(people, review.label, found.label), review.abstained
    label = np.array([None, *asked.classes], object)[np.where(abstained, NO_LABEL, given)[of_row] + 1]
    names = np.array([NAME, *(tier.asked.expert.name for tier in found.tiers)], object)
    by = np.where(people, PEOPLE, np.where(found.by_small, names[found.by_tier + 1], asked.expert.name))[of_row]
    errors = np.array([asked.errors.get(at) for at in range(len(table.texts))], object)
    errors[abstained] = f"abstained: nobody is {100 * review.asked.below:g} % sure"
    errors[people] = None
    errors = errors[of_row]
    for row, fault in table.faults.items():
        errors[row] = fault
    confidence = np.where(answerable & (found.by_small & ~people)[of_row], found.agrees[of_row].round(6), np.nan)
    cost = sum((tier.asked.cost for tier in found.tiers), asked.cost) + review.asked.usd * review.answers
    new = {
        "label": pa.array(label, pa.string(), mask=~answerable),
        "answered_by": pa.array(by, pa.string(), mask=~answerable),
        "confidence": pa.array(confidence, pa.float64(), from_pandas=True),
        "cost_usd": pa.array(np.where(first, cost[of_row], 0.0)),
        "error": pa.array(errors, pa.string()),
    }
    columns = {prefix + name: values for name, values in new.items()}
    fields = [*table.columns, *(pa.field(name, values.type) for name, values in columns.items())]
    write_output(out, table.with_columns(columns), pa.schema(fields), meta, raw)


def _firsts(table: TextTable) -> Ints:
    """The row in which each text comes first."""
    texts, rows = np.unique(table.of_row, return_index=True)
    return rows[texts >= 0]


def bundle_of(asked: AskedTexts, found: Annotation, wish: Wish, terms: Terms, rows: int) -> Bundle:
    """What the next file is decided by: the small model, and the threshold under which a text goes to the LLM."""
    learnt = np.flatnonzero(found.drawn & (asked.label != NO_LABEL))
    places = learnt if len(learnt) > 1 else asked.labelled
    experts: dict[str, Answering] = {NAME: found.small.expert, asked.expert.name: asked}
    panel = Panel(asked.examples(places, labels=True), experts, CostModel.of(terms.costs), asked.classes)
    point = (found.threshold.value, found.threshold.tie)
    policy = TwoTier((NAME, asked.expert.name), measure=MEASURE, straight=False, random_state=wish.seed, point=point)
    policy.fit(panel, panel.take(np.zeros(0, np.int64)))
    shares = [each.share for each in found.promises if each.share is not None and wish.error_usd is None]
    promised = min(shares, default=None)
    facts = {"task": TASK, "agree": wish.agree, "promised": promised, "unit": terms.costs.unit, "seed": wish.seed}
    # About what it costs to annotate another file like this one.
    calls = [(each.mean_cost, int(each.answered.sum())) for each in (asked, *(tier.asked for tier in found.tiers))]
    facts["usd_per_row"] = sum(usd * n for usd, n in calls) / rows
    return Bundle.of(policy, asked.classes, facts, found.small.expert)


def save_model(folder: Path, table: TextTable, asked: AskedTexts, found: Annotation, wish: Wish, terms: Terms) -> Path:
    """The bundle in the run's folder, with the terms on which the last LLM was asked, and what shifts are seen by."""
    bundle_of(asked, found, wish, terms, len(table)).save(folder / OF_RUN)
    replace(terms, experts={asked.expert.name: terms.experts[asked.expert.name]}).write(folder / OF_RUN)
    KnownWords.of(table.texts).write(folder / OF_RUN)
    return folder / OF_RUN


def summary(table: TextTable, asked: AskedTexts, found: Annotation, wish: Wish, texts: bool) -> dict[str, Any]:
    """All that is said of a run, as plain values; texts among them only where asked for.

    What asking about every text would cost is what was paid for some, in proportion to what calls can cost at most.
    """
    count, by_llm = counts(table), ~found.by_small
    errors = _errors(found, count)
    ledger, calls = asked.expert.ledger, int(asked.answered.sum())
    bounds = np.array(asked.expert.price.most(table.texts))
    paid, bound = float(asked.cost.sum()), float(bounds[asked.cost > 0].sum())
    everything = paid / bound * float(bounds.sum()) if bound else asked.mean_cost * len(count)
    return {
        "rows": len(table),
        "answerable": int(count.sum()),
        "texts": len(count),
        "llm": asked.expert.name,
        "by_llm": int(count[by_llm].sum()),
        "by_small": int(count[found.by_small & (found.by_tier < 0)].sum()),
        "cheaper": [_cheaper(n, found, count) for n in range(len(found.tiers))],
        "calls": calls,
        "failed": int(count[asked.failed].sum()),
        "unreadable": asked.unreadable(),
        "paid_usd": ledger.spent,
        "in_doubt_usd": ledger.doubted,
        "limit_usd": ledger.limit,
        "key_limit": str(asked.expert.key_limit or ""),
        "everything_usd": everything,
        "goal": wish.agree,
        "promised": found.promised,
        "promises": [_promised(each, asked.classes) for each in found.promises],
        "gold": None if found.checked_by_people is None else vars(found.checked_by_people),
        "error_usd": wish.error_usd,
        "errors": errors,
        "confidence": found.confidence,
        "stopped": found.stopped,
        "sample": {"rows": found.sample[0], "wrong_among_kept": found.sample[1]},
        "rounds": [vars(each) for each in found.rounds],
        "further": _further(found, count, everything / len(count), errors),
        "small": {**found.small.expert.meta(), "agreement": found.small.agreement, "taught": len(found.small.taught)},
        "classes": _by_class(asked, found, count),
        "human_labels": HUMAN,
        "disagreements": _disagreements(table, asked, found, texts),
    }


def _cheaper(n: int, found: Annotation, count: Ints) -> dict[str, Any]:
    """What a cheaper LLM was paid, and how many rows have its label."""
    tier = found.tiers[n]
    facts = {"llm": tier.asked.expert.name, "calls": int(tier.asked.answered.sum()), "worth": tier.worth}
    return {**facts, "usd": float(tier.asked.cost.sum()), "rows": int(count[found.by_tier == n].sum())}


def _promised(promise: Promise, classes: Sequence[str]) -> dict[str, Any]:
    floor = promise.floor
    of = classes[floor.of] if floor.of >= 0 else None
    return {"measure": floor.measure, "class": of, "group": floor.group, "goal": floor.least, "share": promise.share}


def _errors(found: Annotation, count: Ints) -> list[float] | None:
    """How many labels that are not the LLM's it would not give, by the sample: estimate and interval."""
    loose, (_, wrong) = float(count[found.by_small].sum()), found.sample
    if not found.checked:
        return None
    return [loose * each for each in (wrong / found.checked, *share_interval(wrong, found.checked, found.confidence))]


def _further(found: Annotation, count: Ints, usd: float, errors: list[float] | None) -> list[dict[str, Any]]:
    """What more calls about the least sure texts would bring: labels put right, by chances that sum to the sample's."""
    wrong = np.sort(np.where(found.by_small, 1 - found.agrees, np.nan) * count)[::-1]
    wrong = wrong[~np.isnan(wrong)]
    steps = [*range(STEP, len(wrong), STEP)][: FURTHER - 1] + [len(wrong)] if len(wrong) else []
    rows, most = max(int(count.sum()), 1), float(wrong.sum())
    scale = errors[0] / most if errors and errors[0] and most else 1.0
    right = [scale * float(wrong[:calls].sum()) for calls in steps]
    return [
        {"calls": calls, "usd": calls * usd, "corrected": gain, "agreement": 1 - (scale * most - gain) / rows}
        for calls, gain in zip(steps, right, strict=True)
    ]


def _by_class(asked: AskedTexts, found: Annotation, count: Ints) -> list[dict[str, Any]]:
    """Of each class: rows, by whom, and how often the small model's word was the LLM's on the sample it kept."""
    said = found.small_said
    rows = []
    for c, name in enumerate(asked.classes):
        mine = found.drawn & found.kept & (said == c)
        right = int((mine & (asked.label == c)).sum())
        n = int(mine.sum())
        rows.append(
            {
                "name": name,
                "rows": int(count[found.label == c].sum()),
                "by_others": int(count[(found.label == c) & found.by_small].sum()),
                "checked": n,
                "agree": right / n if n else None,
                "interval": share_interval(right, n) if n else None,
            }
        )
    return rows


def _disagreements(table: TextTable, asked: AskedTexts, found: Annotation, texts: bool) -> list[dict[str, Any]]:
    """Checked texts on which the small model was surest and the LLM said something else, the surest first."""
    apart = np.flatnonzero(found.drawn & asked.answered & (found.small_said != asked.label))
    row_of = dict(zip(*(each.tolist() for each in np.unique(table.of_row, return_index=True)), strict=True))
    names = [None, *asked.classes]
    return [
        {
            "row": row_of[at] + 1,
            "small": names[found.small_said[at] + 1],
            "llm": names[asked.label[at] + 1],
            "sure": float(found.small_agrees[at]),
            **({"text": table.texts[at]} if texts else {}),
        }
        for at in apart[np.argsort(-found.small_agrees[apart], kind="stable")][:SHOWN].tolist()
    ]


def words(facts: Mapping[str, Any]) -> list[str]:
    """The outcome in sentences: who answered, what was paid, what is promised, and what the labels are not."""
    said = [_bill(facts), _promise(facts)]
    if facts["unreadable"]:
        total = sum(n for _, n in facts["unreadable"])
        reason, n = facts["unreadable"][0]
        empty = f"their label is empty{' where people gave none' if facts['review']['labelled'] else ''}"
        said.append(f"{total:,} replies had no label that could be read ({n:,} times: {reason}); {empty}.")
    if facts["failed"]:
        said.append(f"{facts['failed']:,} rows got no answer of {facts['llm']}: column error says why.")
    said += _reviewed(facts["review"])
    said.append(
        f"Shares and means of these labels are those that {facts['llm']} would give, not the truth: label about "
        f"{facts['human_labels']} rows by hand and run askless estimate."
    )
    return said


def _reviewed(facts: Mapping[str, Any]) -> list[str]:
    """What people have labelled, and what is for them."""
    said = []
    if facts["labelled"]:
        said.append(
            f"People labelled {facts['labelled']:,} rows ({facts['answers']:,} answers, ${facts['paid_usd']:.4g}), "
            f"{facts['changed']:,} of them otherwise than before."
        )
    if facts["unsure"] and (facts["file"] or facts["abstained"]):
        label = "have no label" if facts["abstained"] else "are for people"
        where = f", in {facts['file']}" if facts["file"] else ""
        said.append(f"{facts['unsure']:,} rows {label}{where}: nobody is {100 * facts['below']:g} % sure of them.")
    return [*said, "What is promised counts these rows with the label that they had before."] if said else []


def _bill(facts: Mapping[str, Any]) -> str:
    paid, everything = facts["paid_usd"], facts["everything_usd"]
    money = f" (${paid:.4g} of about ${everything:.4g})" if everything else ""
    text = f"Of {facts['answerable']:,} rows {facts['by_llm']:,} were labelled by {facts['llm']}{money}."
    if facts["by_small"]:
        text += f" A small model that learnt from its answers labelled {facts['by_small']:,}."
    for each in facts["cheaper"]:
        worth = f"{each['rows']:,} rows have its label" if each["worth"] else "more is not worth its price"
        text += f" {each['llm']} was asked about {each['calls']:,} texts, for ${each['usd']:.4g} of the bill; {worth}."
    return text


def _reached(facts: Mapping[str, Any], higher: str) -> str:
    if limit := facts.get("key_limit"):
        return f" T{limit[1:]} was reached: a higher one"
    return f" The limit of ${facts['limit_usd'] or 0:g} was reached: a higher {higher}"


def _promise(facts: Mapping[str, Any]) -> str:
    promises = facts["promises"]
    every = " Every row was put to it"
    why = {
        "money": f"{_reached(facts, '--max-usd')} promises more.",
        "everything": f"{every}, for a small model could not be trusted with enough of them."
        if facts["goal"] or any(each["measure"] != AGREEMENT for each in promises)
        else f"{every}: the limit was enough.",
        "unanswered": " Rows without an answer count as if the small model were wrong.",
    }.get(facts["stopped"], "")
    if facts["error_usd"] is not None:
        return _priced(facts)
    said = [_promised_words(part, facts) for part in _alike(promises)]
    if not any(each["share"] is not None for each in promises):
        return f"Nothing is promised: too few rows were checked.{why}"
    sure = f"Promised with {100 * facts['confidence']:g} % confidence{', all together' if len(promises) > 1 else ''}: "
    if facts["stopped"] == "everything" and facts["gold"] is None:
        sure, said[0] = "", said[0][:1].upper() + said[0][1:]
    rest = "" if any(each["measure"] == AGREEMENT for each in promises) else " Nothing else is promised."
    return f"{sure}{'; '.join(said)}.{rest}{why}"


def _alike(promises: Sequence[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """The promises of one measure and class, of all groups."""
    names = dict.fromkeys((each["measure"], each["class"]) for each in promises)
    return [[each for each in promises if (each["measure"], each["class"]) == name] for name in names]


def _promised_words(promises: Sequence[Mapping[str, Any]], facts: Mapping[str, Any]) -> str:
    """What is promised of a measure: the least over all groups, and where nothing is."""
    llm, people, kind, of = facts["llm"], facts["gold"], promises[0]["measure"], promises[0]["class"]
    shares = [each["share"] for each in promises if each["share"] is not None]
    what = {
        AGREEMENT: f"of all labels are what {llm} says or would have said",
        RECALL: f"of the rows that {llm} calls '{of}' or would have are labelled so",
        PRECISION: f"of the rows labelled '{of}' {llm} calls so or would have",
    }[kind]
    if not shares:
        return f"nothing {what.replace(' are ', ' being ')}"
    least = f"{'at least ' if min(shares) < 1 else ''}{percent(min(shares))} % {what}"
    if people is not None:
        right = people["labels"] - people["wrong"]
        least = (
            f"at least {percent(min(shares) - people['most'])} % of all labels are what people say ({llm} gives "
            f"{right:,} of {people['labels']:,} human labels, so at least {percent(1 - people['most'])} % of all, and "
            f"{percent(min(shares))} % of the labels here are its own)"
        )
    if promises[0]["group"] is None:
        return least
    without = [each["group"] for each in promises if each["share"] is None]
    return f"{least}, in each of {len(shares)} groups" + (f", nothing in {', '.join(without)}" if without else "")


def percent(share: float) -> str:
    """A share in percent, rounded down: never more than is promised."""
    return f"{max(0, math.floor(1000 * share + 1e-9)) / 10:g}"


def _priced(facts: Mapping[str, Any]) -> str:
    """What calls and errors are estimated to cost together, with an interval."""
    more = f"{_reached(facts, 'one')} may cost less in all." * (facts["stopped"] == "money")
    if facts["by_llm"] == facts["answerable"]:
        return f"Every row was put to {facts['llm']}: no label of the small model costs less than a call."
    if facts["errors"] is None:
        return f"Nothing is known of the small model's labels: too few rows were checked.{more}"
    wrong, low, high = facts["errors"]
    price, paid = facts["error_usd"], facts["paid_usd"]
    return (
        f"Estimated: {wrong:,.0f} labels ({low:,.0f} to {high:,.0f}, {100 * facts['confidence']:g} % interval) are not "
        f"what {facts['llm']} would have said. At ${price:g} each that is ${price * wrong:.4g}, and with the calls "
        f"${paid + price * wrong:.4g} (${paid + price * low:.4g} to ${paid + price * high:.4g}) in all, where asking "
        f"about every row is about ${facts['everything_usd']:.4g}. Nothing is promised.{more}"
    )

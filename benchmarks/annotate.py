"""What `askless annotate` saves on real posts, and in how many draws its promise holds; BARGAIN and a sample beside it.

GPT-3.5's answers to the hate posts of ASKLESS_REALDATA stand for the LLM; gold labels are not used. The small model is
logistic regression on what the backend `stack` looks at: TF-IDF of 1-2 words, TF-IDF of 2-5 characters (not with
`--plain`) and, with `--vectors FILE.npy`, sentence vectors times 2. Everybody pays for all that is asked: rows that
teach, rows that certify, rows that are not kept.

`--recall` thins the rows that GPT-3.5 calls hate to `--share` of each draw and finds them: rows that nobody asked about
count as no hate, and each row that is called hate was asked about, by BARGAIN_R's answer too.

`--on offensive`: GPT-4's answers to 860 tweets of TweetEval, the same way. `--on mmlu`: a smaller LLM that answers each
question, with the probability of its answer, takes the small model's place; saved is of the larger LLM's recorded
dollars, after those of the smaller one and of all that was asked. With `--tiers` it is asked as a cheaper LLM of the
command, behind a small model that knows the commonest answer alone; so are two of them. `--limits` says what these
answers allow: the best threshold that knows the truth, and one exact test whose sample has the best size for it.

    python benchmarks/annotate.py --draws 200 --vectors minilm.npy --bargain
    python benchmarks/annotate.py --draws 100 --vectors minilm.npy --bargain --recall 0.8 0.9
    python benchmarks/annotate.py --draws 20 --bargain --on mmlu --goals 0.97
    python benchmarks/annotate.py --draws 20 --on medmcqa --tiers --goals 0.9 0.95
"""

from __future__ import annotations

import argparse
import json
import math
import os
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from askless import schema
from askless.annotating import rounds
from askless.annotating.asked import AskedTexts
from askless.annotating.rounds import Wish, annotate
from askless.annotating.small_model import Scores, SmallModel
from askless.data.prepare import ids
from askless.panel import of_label
from askless.stats.bounds import mean_interval, share_interval
from askless.stats.calibration import PlattCalibrator, laplace, stratified_folds
from askless.stats.finite_population import keepable

HATE, OFFENSIVE = "hate/stormfront_gpt-3.5-turbo.json", "offensive/tweeteval_offensive_gpt-4.jsonl"
PAIRS = (("gpt-4o-mini", "gpt-4o"), ("llama3.1-70b", "llama3.1-405b"), ("llama3.1-8b", "llama3.1-405b"))
TIERS = (*PAIRS, ("llama3.1-8b", "llama3.1-70b", "llama3.1-405b"))
CLASSES, LETTERS = ("0", "1"), ("A", "B", "C", "D", "none")
TAUGHT, SAMPLE, FOLDS = (700, 1000), 300, 3
BUDGETS = (400, 1000)


class Recorded:
    """An LLM whose answers are on record, behind no ledger."""

    def __init__(self, said: dict[str, str], classes: tuple[str, ...], usd: Any = None, stated: Any = None) -> None:
        self.name = "llm"
        self.said = said
        self.usd, self.stated = usd or dict.fromkeys(said, 0.0), stated
        self.expert = SimpleNamespace(setting=SimpleNamespace(classes=classes), keys=lambda text: [text])
        self.price = SimpleNamespace(paid=lambda kept: {})
        self.kept = SimpleNamespace(get_many=lambda keys: {})
        self.ledger = SimpleNamespace(spent=0.0, left=math.inf, limit=None)

    def answer(self, examples: pa.Table, part: int) -> pa.Table:
        """The label of each text."""
        n, none = examples.num_rows, np.zeros(examples.num_rows, np.int32)
        texts = examples["text"].to_pylist()
        columns: dict[str, Any] = {"id": examples["id"].combine_chunks(), "expert": [self.name] * n}
        columns |= {"label": [self.said[text] for text in texts], "prompt_tokens": none, "completion_tokens": none}
        columns |= {"cost_usd": [self.usd[text] for text in texts], "seconds": np.zeros(n, np.float32)}
        if self.stated is not None:
            columns["proba"] = [self.stated[text] for text in texts]
        return schema.table("predictions", columns)


class Small:
    """The small model on features that were worked out once; takes the place of `SmallModel`."""

    def __init__(self, features: Any) -> None:
        self.features = features
        self.agreement = 0.0

    def of(self, options: Any, asked: AskedTexts, chance: Any, task: str, seed: int) -> Small:
        """Fit on all labels so far, and out of fold."""
        places = asked.labelled
        label = asked.label[places]
        self.model, self.taught = self.fit(places, label), places
        fold, proba = stratified_folds(label, FOLDS, seed), np.zeros((len(places), 2))
        for k in range(FOLDS):
            proba[fold == k] = self.fit(places[fold != k], label[fold != k]).predict_proba(
                self.features[places[fold == k]]
            )
        right = proba.argmax(axis=1) == label
        self.calibrator = PlattCalibrator().fit(proba.max(axis=1), right)
        self.agreement, self.held = laplace(right[chance[places]]), self.said(proba)
        return self

    def fit(self, places: Any, label: Any) -> Any:
        """Logistic regression."""
        from sklearn.linear_model import LogisticRegression

        return LogisticRegression(C=5, max_iter=100, tol=1e-3).fit(self.features[places], label)

    def scores(self, asked: Any, places: Any) -> Scores:
        """Labels, margins and calibrated chances."""
        return self.said(self.model.predict_proba(self.features[places]))

    def said(self, proba: Any) -> Scores:
        """Probabilities as scores."""
        label = proba.argmax(axis=1)
        stated = of_label(label, proba)
        margin = np.log(stated) - np.log1p(-np.minimum(stated, 1 - 1e-12))
        return Scores(label, margin, self.calibrator(stated), proba)


class Smaller:
    """A smaller LLM that answered everything, by how sure it was; takes the place of `SmallModel`."""

    def __init__(self, label: Any, sure: Any) -> None:
        self.label, self.sure = label, sure
        self.stated = np.exp(sure)

    def of(self, options: Any, asked: AskedTexts, chance: Any, task: str, seed: int) -> Smaller:
        """Learn how often it agrees, by how sure it is."""
        self.taught = places = asked.labelled
        right = self.label[places] == asked.label[places]
        self.calibrator = PlattCalibrator().fit(self.stated[places], right)
        self.agreement, self.held = laplace(right[chance[places]]), self.scores(asked, places)
        return self

    def scores(self, asked: Any, places: Any) -> Scores:
        """Labels, margins and calibrated chances."""
        label, stated = self.label[places], self.stated[places]
        proba = np.repeat((1 - stated)[:, None] / (len(LETTERS) - 1), len(LETTERS), axis=1)
        proba[np.arange(len(label)), label] = stated
        return Scores(label, self.sure[places], self.calibrator(stated), proba)


def features(texts: list[str], vectors: Path | None, plain: bool) -> Any:
    """TF-IDF of words and characters, and sentence vectors times 2 where there are some."""
    from scipy.sparse import csr_matrix, hstack
    from sklearn.feature_extraction.text import TfidfVectorizer

    words = TfidfVectorizer(ngram_range=(1, 2), min_df=3, sublinear_tf=True).fit_transform(texts)
    characters = TfidfVectorizer(
        analyzer="char_wb", ngram_range=(2, 5), min_df=4, sublinear_tf=True, max_features=60000
    )
    blocks = [words] if plain else [words, characters.fit_transform(texts)]
    return hstack(blocks if vectors is None else [*blocks, csr_matrix(2 * np.load(vectors))]).tocsr()


def ours(texts: list[str], label: Any, x: Any, wish: Wish) -> tuple[float, Any]:
    """Share of the rows not asked, and the labels, by the product's own rounds."""
    asked, said = by_rounds(texts, label, Small(x), CLASSES, wish)
    return 1 - float(asked.answered.mean()), said


def by_rounds(texts: list[str], label: Any, small: Any, classes: tuple[str, ...], wish: Wish) -> tuple[AskedTexts, Any]:
    """What was asked, and the labels."""
    rounds.SmallModel = small  # type: ignore[misc]
    llm = Recorded({text: classes[k] for text, k in zip(texts, label.tolist(), strict=True)}, classes)
    asked = AskedTexts(llm, ids("annotate", texts), texts)  # type: ignore[arg-type]
    return asked, annotate(asked, np.ones(len(texts), np.int64), wish).label


def fixed_sample(label: Any, x: Any, goal: float, seed: int, taught: int) -> tuple[float, float]:
    """One draw teaches, one of `SAMPLE` certifies, no rounds."""
    rows, rng = len(label), np.random.default_rng(seed)
    order = rng.permutation(rows)
    small = Small(x)
    model, rest = small.fit(order[:taught], label[order[:taught]]), order[taught:]
    proba = model.predict_proba(x[rest])
    rest = rest[np.argsort(-proba.max(axis=1), kind="stable")]
    wrong = model.predict(x[rest]) != label[rest]
    drawn = np.zeros(len(rest), bool)
    drawn[rng.choice(len(rest), SAMPLE, replace=False)] = True
    kept = keepable(drawn, wrong, int((1 - goal) * rows + 1e-9))
    calls = rows - int((~drawn[:kept]).sum())
    return 1 - calls / rows, 1 - float((wrong & ~drawn)[:kept].sum()) / rows


def bargain(label: Any, x: Any, goal: float, seed: int, taught: int) -> tuple[float, float]:
    """BARGAIN_A (Zeighami et al. 2025) on the same small model, the rows that taught it billed."""
    rows, order = len(label), np.random.default_rng(seed).permutation(len(label))
    model, rest = Small(x).fit(order[:taught], label[order[:taught]]), order[taught:]
    proba, truth = model.predict_proba(x[rest]), label[rest]
    target = 1 - (1 - goal) * rows / len(rest)
    asked, said = bargain_agrees(proba.argmax(axis=1), proba.max(axis=1), truth, target, seed)
    return 1 - (taught + int(asked.sum())) / rows, 1 - int((said != truth).sum()) / rows


def bargain_agrees(label: Any, stated: Any, truth: Any, target: float, seed: int) -> tuple[Any, Any]:
    """Which rows BARGAIN_A asks about, and its labels."""
    from BARGAIN import BARGAIN_A
    from BARGAIN.models.AbstractModels import Oracle, Proxy

    asked = np.zeros(len(truth), bool)

    class Ours(Proxy):  # type: ignore[misc]
        def get_preds_and_scores(self, indxs: Any, data_records: Any) -> Any:
            at = np.asarray(indxs, np.int64)
            return label[at], stated[at]

    class Llm(Oracle):  # type: ignore[misc]
        def get_pred(self, data_records: Any, indxs: Any = None) -> Any:
            return truth[np.asarray(data_records, np.int64)]

        def is_answer_correct(self, data_indxs: Any, data_records: Any, proxy_output_at_indxs: Any) -> Any:
            return truth[np.asarray(data_records, np.int64)] == np.asarray(proxy_output_at_indxs)

    process = BARGAIN_A(
        Ours(verbose=False), Llm(verbose=False), target=target, delta=0.05, M=20, seed=seed, verbose=False
    )
    said, used = process.process(list(range(len(truth))), return_oracle_usage=True)
    asked[:] = np.asarray(used, bool)
    return asked, np.asarray(said).astype(int)


def tiers(path: Path, options: argparse.Namespace) -> None:
    """Cheaper LLMs of the command ahead of a larger one: the share saved of what asking that one alone costs."""
    rounds.SmallModel, table = SmallModel, pq.read_table(path)  # type: ignore[misc]
    found: dict[Any, list[tuple[float, float]]] = defaultdict(list)
    for names in TIERS:
        label, sure, usd = zip(*(_responses(table, name) for name in names), strict=True)
        texts = [f"#{at}" for at in range(len(label[0]))]
        llms = [_with_costs(texts, *of) for of in zip(label, sure, usd, strict=True)]
        for seed in range(options.draws):
            for goal in options.goals:
                *cheaper, asked = (AskedTexts(llm, ids("annotate", texts), texts) for llm in llms)  # type: ignore[arg-type]
                wish = Wish(goal, small={"backend": "majority"}, seed=seed)
                said = annotate(asked, np.ones(len(texts), np.int64), wish, cheaper=cheaper).label
                saved = 1 - sum(float(each.cost.sum()) for each in (*cheaper, asked)) / float(usd[-1].sum())
                found[", ".join(names), goal].append((saved, float((said == label[-1]).mean())))
    show(found)


def _with_costs(texts: list[str], label: Any, sure: Any, usd: Any) -> Recorded:
    said = {text: LETTERS[k] for text, k in zip(texts, label.tolist(), strict=True)}
    stated = np.repeat((1 - np.exp(sure))[:, None] / (len(LETTERS) - 1), len(LETTERS), axis=1)
    stated[np.arange(len(label)), label] = np.exp(sure)
    return Recorded(
        said, LETTERS, dict(zip(texts, usd.tolist(), strict=True)), dict(zip(texts, stated.tolist(), strict=True))
    )


def pairs(path: Path, options: argparse.Namespace) -> None:
    """MMLU: the larger LLM's answers, where a smaller one answered everything; shares of the larger one's dollars."""
    table = pq.read_table(path)
    found: dict[Any, list[tuple[float, float]]] = defaultdict(list)
    for names in PAIRS:
        label, sure, usd = zip(*(_responses(table, name) for name in names), strict=True)
        texts, everything = [f"#{at}" for at in range(len(label[0]))], float(usd[1].sum())
        for seed in range(options.draws):
            for goal in options.goals:
                small = Smaller(label[0], sure[0])
                asked, said = by_rounds(texts, label[1], small, LETTERS, Wish(goal, seed=seed))
                ways = {"annotate": (asked.answered, said)}
                if options.bargain:
                    ways["BARGAIN_A"] = bargain_agrees(label[0], small.stated, label[1], goal, seed)
                for way, (paid, labels) in ways.items():
                    saved = 1 - float(usd[0].sum() + usd[1][paid].sum()) / everything
                    found[f"{' -> '.join(names)}: {way}", goal].append((saved, float((labels == label[1]).mean())))
    show(found)


def _responses(table: pa.Table, model: str) -> tuple[Any, Any, Any]:
    """Answers, log-probabilities and dollars of a model, in the order of the questions."""
    rows = table.filter(pa.compute.equal(table["model"], model)).sort_by(
        [("split", "ascending"), ("item", "ascending")]
    )
    answers = [LETTERS.index(each if each in LETTERS else LETTERS[-1]) for each in rows["answer"].to_pylist()]
    sure = np.clip(rows["raw_logprob"].to_numpy(), -50.0, 0.0)
    return np.array(answers), sure, rows["cost_usd"].to_numpy()


def recalled(label: Any, truth: Any) -> float:
    """Share of the positive rows that are labelled so."""
    return float((label == 1)[truth == 1].mean())


def bargain_recall(label: Any, x: Any, goal: float, seed: int, taught: int, budget: int) -> tuple[float, float]:
    """BARGAIN_R on the same small model: what teaches, its sample, and every row that it calls positive are billed."""
    from BARGAIN import BARGAIN_R
    from BARGAIN.models.AbstractModels import Oracle, Proxy

    rows, order = len(label), np.random.default_rng(seed).permutation(len(label))
    model, rest = Small(x).fit(order[:taught], label[order[:taught]]), order[taught:]
    proba, asked = model.predict_proba(x[rest]), np.zeros(rows, bool)
    asked[order[:taught]] = True

    class Ours(Proxy):  # type: ignore[misc]
        def get_preds_and_scores(self, indxs: Any, data_records: Any) -> Any:
            at = np.asarray(indxs, np.int64)
            return proba.argmax(axis=1)[at], proba.max(axis=1)[at]

    class Llm(Oracle):  # type: ignore[misc]
        def get_pred(self, data_records: Any, indxs: Any = None) -> Any:
            at = rest[np.asarray(data_records, np.int64)]
            asked[at] = True
            return label[at]

        def is_answer_correct(self, data_indxs: Any, data_records: Any, proxy_output_at_indxs: Any) -> Any:
            raise NotImplementedError

    process = BARGAIN_R(Ours(verbose=False), Llm(verbose=False), target=goal, delta=0.05, budget=budget, seed=seed)
    asked[rest[np.asarray(process.process(list(range(len(rest)))), np.int64)]] = True
    return 1 - float(asked.mean()), recalled(np.where(asked, label, 0), label)


def recalls(every: list[str], of_all: Any, x_all: Any, options: argparse.Namespace) -> None:
    """Recall floors where few rows are positive, beside a floor of agreement and BARGAIN_R."""
    found = defaultdict(list)
    for seed in range(options.draws):
        rng, no = np.random.default_rng(seed + 10_000), np.flatnonzero(of_all == 0)
        yes = rng.permutation(np.flatnonzero(of_all == 1))[: round(options.share * len(no) / (1 - options.share))]
        pick = np.sort(np.concatenate([no, yes]))
        label, x, texts = of_all[pick], x_all[pick], [f"{every[at]} #{at}" for at in pick]
        for goal in options.recall:
            saved, said = ours(texts, label, x, Wish(None, recall={"1": goal}, seed=seed))
            found["annotate --recall", goal].append((saved, recalled(said, label)))
            for budget in BUDGETS if options.bargain else ():
                got = bargain_recall(label, x, goal, seed, 1000, budget)
                found[f"BARGAIN_R, 1000 taught, {budget} drawn", goal].append(got)
        for goal in (0.98, 0.99):
            saved, said = ours(texts, label, x, Wish(goal, seed=seed))
            found["annotate --agree", goal].append((saved, float((said == label).mean())))
            found[f"annotate --agree {goal}: its recall", 0.0].append((saved, recalled(said, label)))
        if (seed + 1) % 5 == 0 or seed + 1 == options.draws:
            show(found)


def main() -> None:
    """Draw after draw, each way at each goal; figures with 95 % intervals over draws."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--goals", type=float, nargs="+", default=[0.95, 0.97])
    parser.add_argument("--rows", type=int, help="so many rows of the file, drawn for each seed")
    parser.add_argument("--vectors", type=Path)
    parser.add_argument("--plain", action="store_true", help="no characters")
    parser.add_argument("--bargain", action="store_true")
    parser.add_argument("--recall", type=float, nargs="+", help="floors of recall, instead of agreement")
    parser.add_argument("--share", type=float, default=0.025, help="of rows that are positive then")
    parser.add_argument("--on", choices=["hate", "offensive", "mmlu", "medmcqa"], default="hate")
    parser.add_argument("--limits", action="store_true", help="of mmlu, medmcqa: what these answers allow")
    parser.add_argument("--tiers", action="store_true", help="of mmlu, medmcqa: cheaper LLMs of the command")
    options = parser.parse_args()
    folder = Path(os.environ.get("ASKLESS_REALDATA", ""))
    path = folder / {"hate": HATE, "offensive": OFFENSIVE}.get(options.on, f"recorded/{options.on}_responses.parquet")
    if not path.is_file():
        raise SystemExit(f"{path}: no such file. Set ASKLESS_REALDATA to the folder that has it.")
    if options.on in ("mmlu", "medmcqa"):
        (limits if options.limits else tiers if options.tiers else pairs)(path, options)
        return
    lines = path.read_text()
    records = json.loads(lines) if options.on == "hate" else [json.loads(line) for line in lines.splitlines()]
    every, of_all = [row["Text"] for row in records], np.array([int(row["Preds"] == 1) for row in records])
    x_all, found = features(every, options.vectors, options.plain), defaultdict(list)
    if options.on == "offensive":
        options.rows = len(every)
    if options.recall:
        recalls(every, of_all, x_all, options)
        return
    for seed in range(options.draws):
        rng = np.random.default_rng(seed + 10_000)
        pick = np.arange(len(every)) if options.rows is None else rng.choice(len(every), options.rows, replace=False)
        label, x = of_all[pick], x_all[pick]
        # Equal texts got answers of their own: each row is asked for itself here.
        texts = [f"{every[at]} #{at}" for at in pick]
        for goal in options.goals:
            saved, said = ours(texts, label, x, Wish(goal, seed=seed))
            found["annotate", goal].append((saved, float((said == label).mean())))
            for taught in TAUGHT if options.rows is None else (options.rows // 10,):
                found[f"sample of {SAMPLE}, {taught} taught", goal].append(fixed_sample(label, x, goal, seed, taught))
                if options.bargain:
                    found[f"BARGAIN_A, {taught} taught", goal].append(bargain(label, x, goal, seed, taught))
        if (seed + 1) % 5 == 0 or seed + 1 == options.draws:
            show(found)


def limits(path: Path, options: argparse.Namespace) -> None:
    """What a threshold saves that knows the truth, and one test by a sample of the best size in hindsight."""
    table = pq.read_table(path)
    for names in PAIRS:
        label, sure, usd = zip(*(_responses(table, name) for name in names), strict=True)
        rows, order = len(label[0]), np.argsort(-sure[0], kind="stable")
        wrong, usd = (label[0] != label[1])[order], [each[order] for each in usd]

        def saved(kept: Any, usd: Any = usd) -> float:
            return 1 - float(usd[0].sum() + usd[1][~kept].sum()) / float(usd[1].sum())

        for goal in options.goals:
            allowed = int((1 - goal) * rows + 1e-9)
            best = saved(np.cumsum(wrong) <= allowed)
            tested: dict[int, float] = {}
            for sample in range(20, rows // 2, 10):
                found = []
                for seed in range(options.draws):
                    drawn = np.zeros(rows, bool)
                    drawn[np.random.default_rng(seed).choice(rows, sample, replace=False)] = True
                    found.append(saved((np.arange(rows) < keepable(drawn, wrong, allowed)) & ~drawn))
                tested[sample] = float(np.mean(found))
            size = max(tested, key=tested.__getitem__)
            tell = f"knowing the truth {100 * best:.1f} %, one test {100 * tested[size]:.1f} % ({size} drawn)"
            print(f"{' -> '.join(names)} {goal}: {tell}", flush=True)


def show(found: dict[Any, list[tuple[float, float]]]) -> None:
    """A line for each way and goal."""
    for (way, goal), pairs in found.items():
        saved, agree = np.array(pairs).T
        low, high = mean_interval(saved)
        held = int((agree >= goal - 1e-9).sum())
        ends = share_interval(held, len(agree))
        print(
            f"{way:<36} {goal}: saved {100 * saved.mean():.1f} % ({100 * low:.1f} to {100 * high:.1f}), held in "
            f"{held} of {len(agree)} ({100 * ends[0]:.1f} to {100 * ends[1]:.1f} %), agreement {agree.mean():.4f}",
            flush=True,
        )
    print(flush=True)


if __name__ == "__main__":
    main()

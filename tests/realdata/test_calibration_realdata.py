"""Calibration and the learned deciders on recorded answers of real LLMs."""

import numpy as np
import pandas as pd
import pytest

from askless.costs import CostModel
from askless.evaluation.curves import apgr
from askless.panel import Panel
from askless.policies.learned import MetaModel, QueryAllocator
from askless.policies.operating_points import ThresholdPoints
from askless.stats.calibration import PlattCalibrator, platt, platt_apply, stratified_folds
from askless.stats.reliability import brier, reliability
from tests.helpers import Told, examples
from tests.realdata import real_folder

pytestmark = pytest.mark.realdata
BENCHMARKS = ("mmlu", "medmcqa")
LLAMAS = ("llama3.1-8b", "llama3.1-70b", "llama3.1-405b")


@pytest.fixture(scope="module")
def folder():
    return real_folder()


@pytest.fixture(scope="module")
def answers(folder):
    """Every answer: benchmark, split, item, model, said, p, right."""
    parts = []
    for name in BENCHMARKS:
        said = pd.read_parquet(folder / "recorded" / f"{name}_responses.parquet")
        items = pd.read_parquet(folder / "recorded" / f"{name}_items.parquet")[["split", "item", "gold"]]
        parts.append(said.merge(items, on=["split", "item"]))
    table = pd.concat(parts)
    table["said"] = table["answer"].str.strip().str[:1].str.upper()
    return table.assign(p=np.exp(table["raw_logprob"]), right=table["said"] == table["gold"])


def each(answers, *keys):
    return [(key, part["p"].to_numpy(), part["right"].to_numpy()) for key, part in answers.groupby(list(keys))]


def cross_fitted(p, right):
    """Each row's probability by a calibrator that has not seen the row."""
    out, fold = np.empty(len(p)), stratified_folds(right)
    for held in range(5):
        out[fold == held] = PlattCalibrator().fit(p[fold != held], right[fold != held])(p[fold == held])
    return out


def test_platt_on_the_transform_cuts_the_calibration_error_within_a_split(answers):
    found = each(answers[answers["split"] == "test"], "benchmark", "model")
    pairs = [(p, cross_fitted(p, right), right) for _, p, right in found]
    before, after = (np.mean([reliability(pair[k], pair[2]).ece for pair in pairs]) for k in (0, 1))
    assert len(found) == 18
    assert 0.17 < before < 0.21
    assert after < 0.045
    assert all(brier(calibrated, right) < brier(p, right) for p, calibrated, right in pairs)


def test_on_the_raw_log_probability_platt_leaves_far_more(answers):
    transformed, raw = [], []
    for _, p, right in each(answers[answers["split"] == "test"], "benchmark", "model"):
        transformed.append(reliability(cross_fitted(p, right), right).ece)
        logprob, fold = np.log(np.maximum(p, 1e-300)), stratified_folds(right)
        outer = np.empty(len(p))
        for held in range(5):
            outer[fold == held] = platt_apply(logprob[fold == held], platt(logprob[fold != held], right[fold != held]))
        raw.append(reliability(outer, right).ece)
    assert np.mean(raw) > 1.5 * np.mean(transformed)


def test_from_train_to_test_medmcqa_is_a_shift(answers):
    part = answers[(answers["benchmark"] == "medmcqa") & answers["model"].isin(LLAMAS)]
    within, across = [], []
    for name in LLAMAS:
        mine = part[part["model"] == name]
        learnt = PlattCalibrator().fit(*(mine.loc[mine["split"] == "train", c].to_numpy() for c in ("p", "right")))
        p, right = (mine.loc[mine["split"] == "test", c].to_numpy() for c in ("p", "right"))
        within.append(reliability(cross_fitted(p, right), right).ece)
        across.append(reliability(learnt(p), right).ece)
    assert all(0.08 < error < 0.12 for error in across)
    assert np.mean(across) > 2 * np.mean(within)


@pytest.fixture(scope="module")
def board(folder):
    """RouteLLM's MMLU answers: "1" is a right answer and gold everywhere."""
    table = pd.read_parquet(folder / "routellm" / "mmlu_mixtral_gpt4.parquet")
    ids = [f"a{i}" for i in range(len(table))]
    told = [
        Told(name, dict(zip(ids, table[column].map({True: "1", False: "0"}), strict=True)), cost=cost)
        for name, column, cost in (
            ("mixtral", "mistralai/Mixtral-8x7B-Instruct-v0.1", 0.1),
            ("gpt-4", "gpt-4-1106-preview", 2.0),
        )
    ]
    questions = examples(["1"] * len(table), text=table["prompt"].tolist())
    return Panel(questions, {one.name: one for one in told}, CostModel(), ("0", "1"))


def recovered(points):
    """APGR over the shares of GPT-4's calls."""
    return apgr(points.share, points.quality, 0.0, points.quality[-1])


@pytest.mark.slow
def test_learned_deciders_beat_the_length_of_the_prompt_which_beats_chance(board):
    none = Panel(examples([]), {name: Told(name, {}) for name in board.experts}, CostModel(), ("0", "1"))
    # Learnt on train alone, so that the points are of scores out of fold.
    query, meta = (kind(board.experts).fit(board, none).points_ for kind in (QueryAllocator, MetaModel))
    small, large = (board.ask(name) for name in board.experts)
    gain = (large.label == 1) - (small.label == 1).astype(float)
    length = ThresholdPoints.of_levels(
        -np.array([len(text) for text in board.text], float), small.cost, large.cost, gain
    )
    assert recovered(length) == pytest.approx(0.583, abs=0.005)
    assert recovered(query) == pytest.approx(0.67, abs=0.02)
    assert recovered(meta) > recovered(query)

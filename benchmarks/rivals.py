"""The same promise by others, on the same rows and scores: BARGAIN (with a guarantee) and UCCI (a point estimate).

In BARGAIN's own setting: a file is to be labelled so that, with 95 % confidence, at least a share of all labels are the
large expert's, and whoever is asked on the way is paid. BARGAIN asks as it goes. Plans and UCCI get so many labels of
random rows, which the large expert is paid for, and decide the other rows. Printed: how often the goal was kept, with
its exact 95 % interval, and what was saved of asking the large expert about every row. Settings are the pairs of
benchmarks/pools.py. The packages `bargain` and `ucci-router` are in no extra of the project; who is not installed is
left out. Run: python benchmarks/rivals.py
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from policies import NAMES, PAIRS, recorded
from pools import pooled, pools

from askless.arrays import Floats, Ints
from askless.panel import Panel
from askless.plans.plan import Goal
from askless.plans.planner import plan_on
from askless.stats.bounds import share_interval
from askless.stats.uncertainty import confidence


@dataclass(frozen=True)
class File:
    """A file to label: labels of both experts, the small one's score (rows,), and the mean costs of their answers."""

    panel: Panel
    small: Ints
    large: Ints
    score: Floats
    costs: tuple[float, float]

    @classmethod
    def of(cls, panel: Panel) -> File:
        """From a panel of two experts, the large one last."""
        small, large = (panel.copy().ask(name) for name in panel.experts)
        score = np.nan_to_num(confidence(small, "auto"), nan=-1e9, neginf=-1e9)
        return cls(panel, small.label, large.label, score, (float(small.cost.mean()), float(large.cost.mean())))

    def came(self, label: Ints, asked: Any) -> tuple[float, float]:
        """Share of labels that are the large one's, and what was saved: the small one was paid for every row."""
        bill = self.costs[0] + np.mean(asked) * self.costs[1]
        return float((label == self.large).mean()), float(1 - bill / self.costs[1])


def plan(file: File, goal: float, labels: int, seed: int) -> tuple[float, float]:
    """Ours, made on bought labels."""
    bought = np.random.default_rng(seed).permutation(len(file.small)) < labels
    made = plan_on(file.panel.take(bought), tuple(file.panel.experts), Goal(floor=goal))
    done = made.decide(file.panel.copy(blind=True))
    large = done.asked[:, done.experts.index(list(file.panel.experts)[1])] if len(done.experts) > 1 else None
    asked = bought | (large if large is not None else made.policy.experts[0] != next(iter(file.panel.experts)))
    return file.came(np.where(bought, file.large, done.label), asked)


def ucci(file: File, goal: float, labels: int, seed: int) -> tuple[float, float]:
    """Half of the labels calibrate, half choose the threshold."""
    from ucci import InfeasibleTargetError, UCCIRouter

    rows = np.random.default_rng(seed).permutation(len(file.small))
    right = (file.small == file.large).astype(float)
    first, second, unsure = rows[: labels // 2], rows[labels // 2 : labels], -file.score
    router = UCCIRouter(c_small=file.costs[0], c_large=file.costs[1], cost_model="sequential")
    router.calibrate(unsure[first], 1 - right[first])
    asked = np.ones(len(rows), bool)
    try:
        router.choose_threshold(unsure[second], right[second], np.ones(len(second)), tau=goal)
        asked = router.route(unsure).escalate
    except InfeasibleTargetError:
        pass
    asked[rows[:labels]] = True
    return file.came(np.where(asked, file.large, file.small), asked)


def bargain(file: File, goal: float, labels: int, seed: int) -> tuple[float, float]:
    """It buys the labels that it wants."""
    from BARGAIN.models.AbstractModels import Oracle, Proxy
    from BARGAIN.process.BARGAIN_A import BARGAIN_A

    class Small(Proxy):  # type: ignore[misc]
        def get_preds_and_scores(self, indxs: Any, data_records: Any) -> Any:
            return file.small[indxs], file.score[indxs]

    class Large(Oracle):  # type: ignore[misc]
        def get_pred(self, data_records: Any, indxs: Any = None) -> Any:
            return file.large[indxs]

        def is_answer_correct(self, data_indxs: Any, data_records: Any, proxy_output_at_indxs: Any) -> Any:
            return file.large[data_indxs] == proxy_output_at_indxs

    process = BARGAIN_A(Small(verbose=False), Large(verbose=False), target=goal, delta=0.05, verbose=False, seed=seed)
    label, asked = process.process(np.arange(len(file.small)), return_oracle_usage=True)
    return file.came(np.array(label), asked)


WAYS: dict[str, Callable[[File, float, int, int], tuple[float, float]]] = {"askless": plan}
if find_spec("BARGAIN"):
    WAYS["BARGAIN_A"] = bargain
if find_spec("ucci"):
    WAYS["UCCI"] = ucci


def files(folder: Path) -> list[tuple[str, File]]:
    """The pairs, with the large expert's answers as gold labels; rows that it leaves unanswered are left out."""
    found = []
    for benchmark in ("mmlu", "medmcqa"):
        for pair in PAIRS:
            study = recorded(folder / "recorded", benchmark, [NAMES[name] for name in pair])
            gold, at = study.answers[study.experts[-1]]["label"], study.examples.column_names.index("label")
            kept = pa.array(gold.is_valid().to_pylist())
            examples = study.examples.set_column(at, study.examples.schema.field("label"), gold).filter(kept)
            answers = {name: table.filter(kept) for name, table in study.answers.items()}
            found.append(
                (f"{benchmark} {' '.join(pair)}", File.of(pooled(replace(study, examples=examples, answers=answers))))
            )
    return found + [(name, File.of(panel)) for name, _, panel in pools(folder, ("agreement",))]


def main() -> None:
    """Print one line for each goal and way, and one for each setting."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path(os.environ.get("ASKLESS_REALDATA", ".")))
    parser.add_argument("--goals", nargs="*", type=float, default=[0.97, 0.95])
    parser.add_argument("--labels", type=int, default=300)
    parser.add_argument("--draws", type=int, default=20)
    given = parser.parse_args()
    start, settings = time.perf_counter(), files(given.folder)
    for goal in given.goals:
        for name, way in WAYS.items():
            kept, saved = [], []
            for about, file in settings:
                came = np.array([way(file, goal, given.labels, seed) for seed in range(given.draws)])
                kept += (came[:, 0] >= goal - 1e-12).tolist()
                saved.append(came[:, 1].mean())
                print(f"  {goal:.2f} {name:10} {about:24} saved {100 * saved[-1]:5.1f} %", flush=True)
            low, high = share_interval(sum(kept), len(kept))
            share = f"{100 * np.mean(kept):5.1f} % [{100 * low:.0f}, {100 * high:.0f}]"
            print(f"{goal:.2f} {name:10} kept {share} of {len(kept)}, saved {100 * np.mean(saved):5.1f} %", flush=True)
    print(f"{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()

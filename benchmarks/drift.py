"""How often the monitor raises a false alarm, and how often a true one.

False alarms. `made`: scores, errors and agreements drawn anew for a baseline of 600 rows and a window of 500, a
twentieth of it audited. `MMLU`, `MedMCQA`: recorded answers of real LLMs, where ASKLESS_REALDATA names their folder;
300 rows of the test split drawn by chance are what a version is calibrated on, 500 others the window, so that nothing
has shifted between them. `days`: 24 windows of 200 rows a day, all held against the one baseline of that day.

Power. MedMCQA's train split is what a version is calibrated on, windows are drawn from its test split, which is another
population. Run: python -m benchmarks.drift [--windows 500] [--days 400] [--power 100]
"""

from __future__ import annotations

import argparse
import os
import time
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from askless.monitoring.baseline import baseline
from askless.monitoring.decide_and_log import Audit, answer, loggable
from askless.monitoring.decision_log import checked
from askless.monitoring.drift import WindowCheck, look
from askless.panel import Panel
from askless.plans.boards import Boards
from askless.policies.base import Budget
from askless.policies.two_tier import TwoTier
from askless.stats.bounds import share_interval
from benchmarks.policies import NAMES, PAIRS, recorded

LEVEL, LOOKS = 0.05, 24
BEFORE, NOW, DAILY, AUDITS = 600, 500, 200, 0.05
CALIBRATED = 300
SHARE = Budget(share=0.4)
TIME = datetime(2026, 1, 1, tzinfo=UTC)


def made(rng: np.random.Generator, n: int, audits: float = 1.0) -> pa.Table:
    """Rows of a log: normal scores, the lowest 30 % deferred, 2 % errors, 80 % agreement, costs at six prices."""
    score, audit = rng.normal(size=n), rng.random(n) < audits
    sent, paid = score < -0.524, rng.integers(8, 14, n) / 1e4
    columns = {
        "time": [TIME] * n,
        "id": [str(i) for i in range(n)],
        "task": ["t"] * n,
        "version": ["1"] * n,
        "expert": np.where(sent, "llm", "small"),
        "asked": [["llm"] if put else [] for put in sent],
        "score": score,
        "cost": np.where(sent, paid, 0.0),
        "paid": pa.array(paid, mask=~sent),
        "audit": audit,
        "agree": pa.array(rng.random(n) < 0.8, mask=~audit),
        "audit_cost": np.zeros(n),
        "error": ["silent" if put and wrong else None for put, wrong in zip(sent, rng.random(n) < 0.02, strict=True)],
    }
    return checked(pa.table(columns), "made")


def seen(before: pa.Table, now: pa.Table, looks: int, seed: int) -> WindowCheck:
    """One look, the window's own audits being all there are."""
    return look(before, now, now.filter(now["audit"]), level=LEVEL, looks=looks, random_state=seed)


def window(policy: TwoTier, rows: Panel, rng: np.random.Generator) -> pa.Table:
    """What is logged of new rows; who is audited is drawn anew, for a hash of the id would always draw the same few."""
    about = {"task": "t", "version": "1", "time": TIME}
    found = answer(policy, rows.copy(blind=True), SHARE, Audit(policy.experts[1], 1.0), **about)
    drawn = pa.array(rng.random(len(rows)) < AUDITS)
    agree = pc.if_else(drawn, found["agree"], pa.scalar(None, pa.bool_()))
    for name, values in (("audit", drawn), ("agree", agree)):
        found = found.set_column(found.schema.get_field_index(name), found.schema.field(name), values)
    return loggable(found, rows.classes, False)


def calibrated(rows: Panel, experts: tuple[str, str]) -> tuple[TwoTier, pa.Table]:
    """A cascade whose threshold is set on `rows`, and its baseline of them."""
    policy = TwoTier(experts).fit(rows.copy(), rows.take(np.arange(0)))
    return policy, baseline(policy, rows, SHARE, experts[1], task="t", time=TIME)


def told(name: str, looks: Iterable[WindowCheck]) -> None:
    """How many raised an alarm, and what moved."""
    found = list(looks)
    alarms, moved = sum(one.alarm for one in found), Counter(name for one in found for name in one.moved)
    low, high = share_interval(alarms, len(found))
    what = ", ".join(f"{name} {count}" for name, count in moved.most_common())
    print(f"{name:<34} {alarms:4d} of {len(found)}  {alarms / len(found):.3f} [{low:.3f}, {high:.3f}]  {what}")


def false_alarms(windows: int, boards: dict[str, Boards]) -> None:
    """Windows in which nothing has shifted, at a level of .05 a look and at that of one look of 24."""
    for looks in (1, LOOKS):
        print(f"\nfalse alarms, {windows} windows, stated level of a look {LEVEL / looks:.4f}")
        rng = np.random.default_rng(0)
        told("made", (seen(made(rng, BEFORE), made(rng, NOW, AUDITS), looks, i) for i in range(windows)))
        for name, board in boards.items():
            told(name, (null(board.test, rng, looks, i) for i in range(windows)))


def null(rows: Panel, rng: np.random.Generator, looks: int, seed: int) -> WindowCheck:
    """A look at rows of the population that the version was calibrated on."""
    order = rng.permutation(len(rows))
    policy, before = calibrated(rows.take(order[:CALIBRATED]), experts_of(seed))
    return seen(before, window(policy, rows.take(order[CALIBRATED : CALIBRATED + NOW]), rng), looks, seed)


def days(count: int) -> None:
    """Days of 24 looks at one baseline."""
    rng, bad, alarms = np.random.default_rng(1), 0, 0
    for _ in range(count):
        before = made(rng, BEFORE)
        found = sum(seen(before, made(rng, DAILY, AUDITS), LOOKS, hour).alarm for hour in range(LOOKS))
        bad, alarms = bad + (found > 0), alarms + found
    low, high = share_interval(bad, count)
    print(f"\n{count} days of {LOOKS} looks, stated level of a day {LEVEL}: {alarms} alarms")
    print(f"days with an alarm: {bad}, {bad / count:.3f} [{low:.3f}, {high:.3f}]")


def power(board: Boards, times: int) -> None:
    """Windows of the test split against a version calibrated on the train split."""
    for pair in PAIRS:
        experts = (NAMES[pair[0]], NAMES[pair[1]])
        policy, before = calibrated(board.train, experts)
        print(f"\npower, {experts[0]} -> {experts[1]}, calibrated on {len(board.train)} rows of train")
        for size in (100, 250, 500, 1000):
            rng = np.random.default_rng(2)
            rows = (
                board.test.take(rng.permutation(len(board.test))[:size]) for _ in range(times if size < 1000 else 1)
            )
            windows = [window(policy, some, rng) for some in rows]
            for looks in (1, LOOKS):
                told(
                    f"{size} rows, level {LEVEL / looks:.4f}",
                    (seen(before, w, looks, i) for i, w in enumerate(windows)),
                )


def experts_of(seed: int) -> tuple[str, str]:
    """The pairs of experts in turn."""
    small, large = PAIRS[seed % len(PAIRS)]
    return NAMES[small], NAMES[large]


def main() -> None:
    """All tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("windows", 500), ("days", 400), ("power", 100)):
        parser.add_argument(f"--{name}", type=int, default=value)
    given, start = parser.parse_args(), time.perf_counter()
    folder = os.environ.get("ASKLESS_REALDATA")
    names = sorted({NAMES[name] for pair in PAIRS for name in pair})
    boards = {
        title: Boards.of(recorded(Path(folder, "recorded"), name, names))
        for title, name in (("MMLU", "mmlu"), ("MedMCQA", "medmcqa"))
        if folder
    }
    false_alarms(given.windows, boards)
    days(given.days)
    if boards:
        power(boards["MedMCQA"], given.power)
    print(f"\n{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()

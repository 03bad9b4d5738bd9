"""Learning whom to ask while answering, replayed on recorded answers in ten orders of arrival, nine LLMs.

Needs the folder named by ASKLESS_REALDATA, of which docs/data.md has the layout. Every answer is recorded, so that a
replay is what would have happened. `bandit` and `c2mab_v` begin without a label and are told the gold label of each
item after its block of 50. For each budget: the quality of the first 1,000 items and of those after them; what these
lack or gain against `planned` at the same dollars with 300 labelled items answered by all nine beforehand, against the
best mix of single experts on these same items, and against the best single expert that costs no more; what was spent.
`warm` is the bandit begun with those 300 items. Then what a plan comes to on the labels that the same money buys; what
the texts add, also on RouteLLM's items and on posts; regret against the best fixed subset of up to three voters that
costs no more, over 20,000 items drawn from the recorded ones; what comes of a change, and how often one is seen where
there is none; C2MAB-V where experts are independent, as its paper has them; 500 runs against budgets with costs that
jump; and the seconds of 100,000 items.
Run: python benchmarks/online.py [replay bought context regret drift still published budget speed]
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from policies import envelope, recorded
from pools import pooled, pools
from scipy.stats import t

from askless import schema
from askless.arrays import Bools, Floats, Ints
from askless.costs import CostModel
from askless.evaluation.arrivals import Feedback, played
from askless.panel import NO_LABEL, Panel
from askless.policies.bandit.bandit import Bandit
from askless.policies.bandit.c2mab_v import C2MABV, REWARDS
from askless.policies.bandit.learner import Learner
from askless.policies.bandit.linear import LinTS, LinUCB
from askless.policies.bandit.rounds import Rounds
from askless.policies.base import Budget
from askless.policies.planned.planned import Planned
from askless.stats.bounds import share_interval
from askless.stats.uncertainty import probability

LEARNING, LABELS, BLOCK = 1_000, 300, 50
SHARES = (0.1, 0.25, 0.5, 0.8)
CLASSES = tuple("ABCDEFGHIJ")
# Each learner, and whether it begins with labelled items.
KINDS: dict[str, tuple[type[Learner], bool]] = {
    "bandit": (Bandit, False),
    "warm": (Bandit, True),
    "c2mab_v": (C2MABV, False),
    "lin_ucb": (LinUCB, False),
    "lin_ts": (LinTS, False),
}


class World:
    """Recorded answers as arrays (items, experts): `label`, stated `p`, `cost`; `gold` and texts, each (items,)."""

    def __init__(
        self, experts: Sequence[str], label: Ints, p: Floats, cost: Floats, gold: Ints, text: Sequence[str] = ()
    ) -> None:
        self.experts, self.label, self.p, self.cost, self.gold = tuple(experts), label, p, cost, gold
        self.text = np.array(text if len(text) else ["."] * len(gold), dtype=object)

    @classmethod
    def read(cls, folder: Path, benchmark: str) -> World:
        """All experts of a benchmark, cheapest first."""
        models = pq.read_table(folder / f"{benchmark}_responses.parquet", columns=["model"])["model"].unique()
        return cls.of(pooled(recorded(folder, benchmark, sorted(models.to_pylist()))))

    @classmethod
    def of(cls, panel: Panel) -> World:
        """All that a panel's experts answer; where only who was right is known, class 0 stands for a right answer."""
        answers = [panel.ask(name) for name in panel.experts]
        label, p, cost = (
            np.stack(part, axis=1) for part in zip(*((a.label, probability(a), a.cost) for a in answers), strict=True)
        )
        if panel.classes:
            return cls(panel.experts, label, p, cost, panel.gold, panel.text)
        wrong = np.stack([panel.quality(a) < 1 for a in answers], axis=1).astype(np.int64)
        return cls(panel.experts, wrong, p, cost, np.zeros(len(panel), np.int64), panel.text)

    def __getitem__(self, rows: Ints) -> World:
        return World(self.experts, self.label[rows], self.p[rows], self.cost[rows], self.gold[rows], self.text[rows])

    def __len__(self) -> int:
        return len(self.gold)

    @property
    def right(self) -> Bools:
        """Whether each answer is gold, (items, experts)."""
        return np.asarray(self.label == self.gold[:, None])

    def between(self, share: float) -> float:
        """The budget of an item at a share of the way from the mean price of the cheapest to that of the dearest."""
        price = self.cost.mean(axis=0)
        return float(price.min() + share * (price.max() - price.min()))

    def panel(self, start: int = 0) -> Panel:
        """These items as a panel, ids by their number from `start` on."""
        ids = [f"i{start + k}" for k in range(len(self))]
        names = pa.array(CLASSES)
        columns = {
            "id": ids,
            "text": self.text.tolist(),
            "label": names.take(pa.array(self.gold)),
            "split": ["train"] * len(self),
        }
        examples = schema.table("examples", {**columns, "group": [None] * len(self)})
        return Panel(
            examples, {e: _Recorded(self, j, start) for j, e in enumerate(self.experts)}, CostModel("usd"), CLASSES
        )


class _Recorded:
    """One expert of a world."""

    def __init__(self, world: World, j: int, start: int) -> None:
        self.world, self.j, self.start = world, j, start

    def answer(self, examples: pa.Table) -> pa.Table:
        """Its answers to some items."""
        rows = np.array([int(key[1:]) for key in examples["id"].to_pylist()], np.int64) - self.start
        label, world = self.world.label[rows, self.j], self.world
        columns = {
            "id": examples["id"],
            "expert": [world.experts[self.j]] * len(rows),
            "label": pa.array(CLASSES).take(pa.array(label, mask=label == NO_LABEL)),
            "logprob": np.log(world.p[rows, self.j]),
            "cost_usd": world.cost[rows, self.j],
            "error": [None if given != NO_LABEL else "none" for given in label],
        }
        return schema.table("predictions", columns)


def cold(world: World, seed: int, kind: type[Learner] = Bandit, begun: World | None = None) -> Learner:
    """A learner that knows nothing, or what all answered to the items of `begun`."""
    options = {"ceilings": world.cost.max(axis=0).tolist()} if kind is not C2MABV else {}
    nothing = world[np.arange(0)].panel()
    return kind(world.experts, random_state=seed, **options).fit(nothing if begun is None else begun.panel(), nothing)


def replay(worlds: dict[str, World], orders: int) -> None:
    """The table of the budgets."""
    columns = (
        "benchmark",
        "$ per 1,000",
        "policy",
        "first 1,000",
        "after",
        "- planned",
        "- mix",
        "- single",
        "spent %",
    )
    print("  ".join(cell.rjust(13) for cell in columns))
    for name, world in worlds.items():
        budgets = [world.between(share) for share in SHARES]
        found = np.array([_order(world, budgets, seed) for seed in range(orders)])
        for i, usd in enumerate(budgets):
            for j, policy in enumerate(KINDS):
                cells = [interval(found[:, i, j, c]) for c in range(found.shape[3])]
                print("  ".join(c.rjust(13) for c in (name, f"{1000 * usd:.3f}", policy, *cells)), flush=True)


def _order(world: World, budgets: Sequence[float], seed: int) -> Floats:
    """What came of one order, (budgets, policies, columns) in percent."""
    order = np.random.default_rng(seed).permutation(len(world))
    taught, late = world[order[:LABELS]], world[order[LEARNING:]]
    planned = _plan(taught)
    rows = []
    for usd in budgets:
        rows.append([])
        for kind, warm in KINDS.values():
            learner, mine = cold(world, seed, kind, taught if warm else None), late if warm else world[order]
            done = played(learner, mine.panel(LABELS), usd)
            early, right, cost = done.right[: -len(late)], done.right[-len(late) :], done.cost[-len(late) :]
            spent = float(cost.mean())
            least = float(late.cost.mean(axis=0).min())
            theirs = _told(planned, late, max(spent, 1.001 * least)), _mix(late, spent), _single(late, spent)
            gains = right.mean() - np.array(theirs)
            rows[-1].append([early.mean() if len(early) else np.nan, right.mean(), *gains, spent / usd])
    return 100 * np.array(rows)


def bought(worlds: dict[str, World], orders: int) -> None:
    """What labels the money of the first 1,000 items buys a plan, if the cheapest expert answers the others of them."""
    print("\na plan on the labels that the first 1,000 items' money buys, after them, against the plan on 300, points")
    for name, world in worlds.items():
        price, budgets = world.cost.mean(axis=0), np.array([world.between(share) for share in SHARES])
        labels = (LEARNING * (budgets - price.min()) / (price.sum() - price.min())).astype(int)
        found = np.zeros((len(budgets), orders))
        for seed in range(orders):
            order = np.random.default_rng(seed).permutation(len(world))
            late, known = world[order[LEARNING:]], _plan(world[order[:LABELS]])
            for i, usd in enumerate(budgets):
                right = [_told(plan, late, usd) for plan in (_plan(world[order[: labels[i]]]), known)]
                found[i, seed] = 100 * (right[0] - right[1])
        for usd, n, gains in zip(budgets, labels, found, strict=True):
            print(f"{name} ${1000 * usd:.3f}, {n} labels: {interval(gains)}", flush=True)


def _plan(taught: World) -> Planned:
    """A plan on labelled items that all answered."""
    return Planned(taught.experts).fit(taught.panel(), taught[np.arange(0)].panel())


def _told(plan: Planned, late: World, usd: float) -> float:
    """A plan's quality at `usd` an item."""
    told = plan.decide(late.panel().copy(blind=True), Budget(per_1000=1000 * usd))
    return float((told.label == late.gold).mean())


def _mix(world: World, usd: float) -> float:
    """Quality at `usd` an item of the best mix of single experts."""
    return float(np.interp(usd, *envelope(world.cost.mean(axis=0), world.right.mean(axis=0))))


def _single(world: World, usd: float) -> float:
    """Quality of the best single expert that costs no more than `usd` an item."""
    return float(world.right.mean(axis=0)[world.cost.mean(axis=0) <= 1.001 * usd].max(initial=0.0))


def interval(values: Floats) -> str:
    """The mean and half the 95 % interval of it over orders."""
    if np.isnan(values).any():
        return "–"
    half = t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return f"{values.mean():.1f} ±{half:.1f}"


def fixed(world: World, usd: float, most: int = 3) -> tuple[float, tuple[int, ...]]:
    """Quality of the best fixed subset that votes by the log-odds of its members' rates within `usd` an item."""
    rate = np.clip(world.right.mean(axis=0), 0.01, 0.99)
    weight, best = np.log(rate / (1 - rate)), (0.0, ())
    for size in range(1, most + 1):
        for members in combinations(range(len(rate)), size):
            if world.cost[:, members].mean(axis=0).sum() <= usd:
                label = world.label[:, members]
                votes = ((label[:, :, None] == label[:, None, :]) * weight[list(members)]).sum(axis=2)
                stands = label[np.arange(len(world)), votes.argmax(axis=1)]
                best = max(best, (float((stands == world.gold).mean()), members))
    return best


def context(folder: Path, worlds: dict[str, World], orders: int) -> None:
    """What the text adds: quality after the first 1,000 items against the mix of single experts and without texts."""
    print("\nthe text as context, half of the way in price, after the first 1,000 items, points")
    columns = ("benchmark", "policy", "- mix", "- without texts", "spent %")
    print("  ".join(cell.rjust(15) for cell in columns))
    others = {name: World.of(panel) for name, _, panel in pools(folder, ("judged", "posts")) if len(panel) > LEARNING}
    for name, world in {**others, **worlds}.items():
        usd = float(world.cost.mean(axis=0)[[0, -1]].mean())
        silent = World(world.experts, world.label, world.p, world.cost, world.gold)
        for policy in ("lin_ucb", "lin_ts"):
            found = []
            for seed in range(orders):
                order = np.random.default_rng(seed).permutation(len(world))
                late, gains = order[LEARNING:], []
                for each in (world, silent):
                    learner = cold(each[order], seed, KINDS[policy][0])
                    done = played(learner, each[order].panel(), usd, Feedback(block=200))
                    spent = float(done.cost[LEARNING:].mean())
                    gains.append((done.right[LEARNING:].mean() - _mix(world[late], spent), spent / usd))
                found.append([gains[0][0], gains[0][0] - gains[-1][0], gains[0][1]])
            cells = [interval(column) for column in 100 * np.array(found).T]
            print("  ".join(cell.rjust(15) for cell in (name, policy, *cells)), flush=True)


def regret(worlds: dict[str, World], orders: int, items: int = 20_000) -> None:
    """Regret against the best fixed subset: its size as items come, and its growth."""
    at = np.array([1, 2, 4, 8, 16]) * items // 16
    print("\nregret, items lost against the best fixed subset, after: " + ", ".join(map(str, at)) + "; items explored")
    for name, world in worlds.items():
        for share in (0.25, 0.5):
            usd = world.between(share)
            best, _ = fixed(world, usd)
            lost, tried = [], []
            for seed in range(orders):
                drawn = world[np.random.default_rng(seed).integers(len(world), size=items)]
                learner = cold(drawn, seed)
                right = played(learner, drawn.panel(), usd, Feedback(block=200)).right
                lost.append(np.cumsum(best - right)[at - 1])
                tried.append(learner.tried_)
            cells = [interval(column) for column in np.array(lost).T]
            print(f"{name} ${1000 * usd:.3f}: " + "  ".join(cells) + f"; {interval(np.array(tried))}", flush=True)


def drift(worlds: dict[str, World], orders: int, before: int = 2_000, after: int = 1_100) -> None:
    """What a change costs: quality after it, less that of a bandit for which it was so from the start, in points."""
    world = worlds["mmlu"]
    # Who answers most at this budget; who is good but too expensive for it; who is cheap; and the worst of all.
    names = ("qwen2.5-72b-instruct", "llama3.1-405b", "llama3.1-8b", "llama3.2-1b")
    main, dear, small, weak = map(world.experts.index, names)

    def times(j: int, factor: float) -> Callable[[World], None]:
        return lambda new: new.cost.__setitem__((slice(None), j), factor * new.cost[:, j])

    def instead(j: int, other: int) -> Callable[[World], None]:
        def change(new: World) -> None:
            new.label[:, j], new.p[:, j] = new.label[:, other], new.p[:, other]

        return change

    def gone(new: World) -> None:
        new.label[:, main], new.p[:, main], new.cost[:, main] = NO_LABEL, np.nan, 0.0

    changes: dict[str, tuple[int, Callable[[World], None]]] = {
        "silently replaced": (main, instead(main, weak)),
        "gone": (main, gone),
        "a quarter of the price": (dear, times(dear, 0.25)),
        "twice the price": (main, times(main, 2.0)),
        "better": (small, instead(small, dear)),
    }
    print(
        f"\na change at item {before:,}: points against a bandit for which it was so from the start, in the first 100 "
        "items after it and then in spans of 250; items lost in all; after how many items what was known was set "
        "aside, in how many orders, and how many others were"
    )
    cases = [(what, 1.0, 0) for what in changes]
    cases[2:2] = [("silently replaced", 0.2, 0), ("silently replaced", 1.0, 500)]
    for what, told, late in cases:
        found = [_changed(world, seed, *changes[what], before, after, told, late) for seed in range(orders)]
        lost = np.array([each[0] for each in found])
        spans = np.split(-100 * lost, np.arange(100, after, 250), axis=1)
        print(f"{what}, labels of {100 * told:.0f} % of the items, {late} items late: ", end="")
        print("  ".join(interval(span.mean(axis=1)) for span in spans))
        noticed = [each[1] for each in found if each[1] is not None]
        when = f"{np.mean(noticed):.0f} ({min(noticed)} to {max(noticed)})" if noticed else "-"
        others = sum(each[2] for each in found)
        print(f"    {interval(lost.sum(axis=1))} lost; {when}, {len(noticed)} of {orders}, {others}", flush=True)


class _Watched(Bandit):
    """Writes down, after each feeding, the items so far and who was set aside."""

    def feed(self, rounds: Rounds, label: Ints) -> Self:
        """As of `Bandit`."""
        super().feed(rounds, label)
        vars(self).setdefault("noticed", []).append((self.items_, self.since_ >= 0))
        return self


def _changed(
    world: World,
    seed: int,
    who: int,
    change: Callable[[World], None],
    before: int,
    after: int,
    told: float,
    late: int,
) -> tuple[Floats, int | None, int]:
    """One order: items lost (after,), when `who` was set aside, and how many others were."""
    usd = world.between(0.5)
    old = world[np.random.default_rng(seed).integers(len(world), size=before + after)]
    new, then = old[np.arange(len(old))], np.arange(len(old))[:, None] >= before
    change(new)
    parts = (np.where(then, getattr(new, name), getattr(old, name)) for name in ("label", "p", "cost"))
    both, rights = World(world.experts, *parts, old.gold), []
    for items in (new, both):
        learner = cold(both, seed, _Watched)
        rights.append(played(learner, items.panel(), usd, Feedback(told, late), seed).right[before:])
    noticed = vars(learner)["noticed"]
    when = next((items - before for items, aside in noticed if aside[who]), None)
    return rights[0] * 1.0 - rights[1], when, int(np.delete(noticed[-1][1], who).sum())


def still(worlds: dict[str, World], orders: int, items: int = 20_000) -> None:
    """How often what was known of an expert is set aside though nothing changes."""
    for name, world in worlds.items():
        for share in (0.25, 0.5):
            usd, aside = world.between(share), 0
            for seed in range(orders):
                drawn = world[np.random.default_rng(seed).integers(len(world), size=items)]
                learner = cold(drawn, seed)
                played(learner, drawn.panel(), usd, Feedback(block=200))
                aside += int((learner.since_ >= 0).any())
            low, high = share_interval(aside, orders)
            print(
                f"\n{name} ${1000 * usd:.3f}: in {aside} of {orders} orders of {items:,} items an expert was set aside",
                end="",
            )
            print(f" [{100 * low:.0f}, {100 * high:.0f}] %", flush=True)


def published(orders: int, items: int = 5_000) -> None:
    """C2MAB-V where nine experts are right independently: reward lost a round, and money beyond the budget."""
    mean = np.array([0.42, 0.57, 0.63, 0.75, 0.76, 0.81, 0.83, 0.83, 0.85])
    cost, usd = np.array([0.02, 0.02, 0.04, 0.03, 0.17, 0.17, 0.17, 0.47, 0.57]), 0.5
    names = tuple(f"e{j}" for j in range(9))
    print(
        "\nC2MAB-V, nine independent experts, sets of up to 4: regret and violation a round over spans of 1,000 rounds"
    )
    for reward in REWARDS:
        value = {
            "any": lambda sets: 1 - np.prod(1 - sets * mean, axis=1),
            "sum": lambda sets: sets @ mean,
            "all": lambda sets: np.prod(np.where(sets, mean, 1.0), axis=1),
        }[reward]
        sizes = (4,) if reward == "all" else (1, 2, 3, 4)
        sets = np.array([[j in c for j in range(9)] for size in sizes for c in combinations(range(9), size)])
        best = value(sets)[sets @ cost <= usd].max()
        lost, over = np.zeros((orders, items)), np.zeros((orders, items))
        for seed in range(orders):
            random = np.random.default_rng(seed)
            nothing = World(
                names, np.zeros((0, 9), np.int64), np.zeros((0, 9)), np.zeros((0, 9)), np.zeros(0, np.int64)
            )
            learner = C2MABV(names, reward=reward, most=4, random_state=seed).fit(nothing.panel(), nothing.panel())
            for at in range(0, items, BLOCK):
                chosen = learner.choose(BLOCK, usd)
                made = Rounds.blank(names, at + np.arange(BLOCK))
                made.cost[chosen] = (cost * random.uniform(0.5, 1.5, chosen.shape))[chosen]
                made.label[chosen] = (random.random(chosen.shape) < mean)[chosen]
                learner.count(made).feed(made, np.ones(BLOCK, np.int64))
                lost[seed, at : at + BLOCK] = best - value(chosen)
                over[seed, at : at + BLOCK] = chosen @ cost - usd
        spans = [each.reshape(orders, -1, 1_000).mean(axis=2) for each in (lost, over)]
        for what, span in zip(("regret", "violation $"), spans, strict=True):
            print(f"{reward} {what}: " + "  ".join(f"{column.mean():.4f}" for column in span.T), flush=True)


def budget(runs: int = 500, items: int = 300) -> None:
    """How many of so many runs, whose costs jump tenfold, were above the budget after any item."""
    over = 0
    for seed in range(runs):
        random = np.random.default_rng(seed)
        k = int(random.integers(2, 6))
        rate, gold = random.uniform(0.4, 0.95, k), random.integers(4, size=items)
        right = random.random((items, k)) < rate
        label = np.where(right, gold[:, None], (gold[:, None] + random.integers(1, 4, (items, k))) % 4)
        cost = np.sort(10 ** random.uniform(-1, 1, k)) * random.uniform(0.5, 1.5, (items, k))
        cost[random.random(items) < 0.03] *= 10
        world = World([f"e{j}" for j in range(k)], label, random.uniform(0.3, 1, (items, k)), cost, gold)
        usd = float(cost[:, 0].mean() * random.uniform(1.5, 20))
        spent = played(cold(world, seed), world.panel(), usd, Feedback(block=int(random.integers(1, 80)))).cost
        over += bool((np.cumsum(spent) > usd * np.maximum(20, np.arange(1, items + 1)) + 1e-12).any())
    print(f"\n{over} of {runs} runs of {items} items were above the budget after some item")


def speed(world: World, items: int = 100_000) -> None:
    """Seconds of so many items in blocks of 1,000, labels fed after each."""
    drawn = world[np.random.default_rng(0).integers(len(world), size=items)]
    learner, start = cold(drawn, 0), time.perf_counter()
    played(learner, drawn.panel(), float(world.cost.mean(axis=0).mean()), Feedback(block=1_000))
    print(f"\n{items} items x {len(world.experts)} experts: {time.perf_counter() - start:.0f} s")


def main() -> None:
    """Print what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = ("replay", "bought", "context", "regret", "drift", "still", "published", "budget", "speed")
    parser.add_argument("parts", nargs="*", default=parts, help="by default all")
    parser.add_argument("--folder", type=Path, default=Path(os.environ.get("ASKLESS_REALDATA", ".")) / "recorded")
    parser.add_argument("--orders", type=int, default=10)
    given = parser.parse_args()
    worlds = {name: World.read(given.folder, name) for name in ("mmlu", "medmcqa")}
    runs = {
        "bought": lambda: bought(worlds, given.orders),
        "context": lambda: context(given.folder.parent, worlds, given.orders),
        "replay": lambda: replay(worlds, given.orders),
        "regret": lambda: regret(worlds, given.orders),
        "drift": lambda: drift(worlds, given.orders),
        "still": lambda: still(worlds, given.orders),
        "published": lambda: published(given.orders),
        "budget": budget,
        "speed": lambda: speed(worlds["mmlu"]),
    }
    for part in given.parts:
        runs[part]()
    print(f"± is the 95 % interval of the mean over {given.orders} orders")


if __name__ == "__main__":
    main()

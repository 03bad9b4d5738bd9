import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from askless import schema
from askless.config import Price
from askless.costs import CostModel
from askless.errors import ConfigError, DataError
from askless.panel import NO_LABEL, BlindError, Panel, draws, gold_indices
from tests.helpers import CLASSES, Told, examples, ids, indices, panel, predictions, told

ROWS = 6
EXPERTS = ("small", "large")
# Powers of two, so that sums are exact and tell who was asked what.
COST = {name: {f"a{i}": 2.0 ** (j * ROWS + i) for i in range(ROWS)} for j, name in enumerate(EXPERTS)}
SAID = {"small": ["0", "1", "0", None, "1", "0"], "large": ["1", "1", None, "0", "0", "0"]}
rows = (
    st.none()
    | st.lists(st.integers(0, ROWS - 1), max_size=2 * ROWS)
    | st.lists(st.booleans(), min_size=ROWS, max_size=ROWS).map(np.array)
)
asks = st.lists(st.tuples(st.sampled_from(EXPERTS), rows), max_size=8)


def spied() -> tuple[Panel, dict[str, Told]]:
    experts = {name: told(name, SAID[name], cost=COST[name]) for name in EXPERTS}
    return Panel(examples(["0"] * ROWS), experts, CostModel(), CLASSES, blind=True), experts


def wanted(rows) -> list[int]:
    if rows is None:
        return list(range(ROWS))
    return np.flatnonzero(rows).tolist() if isinstance(rows, np.ndarray) else rows


@given(asks)
def test_no_answer_is_seen_that_was_not_billed_and_none_is_billed_twice(asks):
    board, experts = spied()
    paid: dict[str, set[int]] = {name: set() for name in EXPERTS}
    for name, rows in asks:
        seen = board.ask(name, rows)
        index = wanted(rows)
        paid[name] |= set(index)
        # What came back is about the rows asked for and no others, in the asked order.
        assert seen.rows.tolist() == index
        assert seen.table["id"].to_pylist() == [f"a{i}" for i in index]
        assert seen.table["label"].to_pylist() == [SAID[name][i] for i in index]
        assert seen.label.tolist() == [NO_LABEL if SAID[name][i] is None else int(SAID[name][i]) for i in index]
        assert seen.cost.tolist() == [COST[name][f"a{i}"] for i in index]
    for name in EXPERTS:
        # The expert itself was asked exactly the billed rows, each once.
        assert sorted(experts[name].asked) == sorted(f"a{i}" for i in paid[name])
        assert np.flatnonzero(board.asked(name)).tolist() == sorted(paid[name])
        bill = [COST[name][f"a{i}"] if i in paid[name] else 0.0 for i in range(ROWS)]
        assert board.bill(name).tolist() == bill
    assert board.spent.tolist() == [
        sum(COST[name][f"a{i}"] for name in EXPERTS if i in paid[name]) for i in range(ROWS)
    ]
    assert board.total == sum(COST[name][f"a{i}"] for name in EXPERTS for i in paid[name])


@settings(max_examples=50)
@given(asks, asks, asks)
def test_a_copy_starts_where_the_panel_stands_and_goes_on_apart(before, on_copy, on_panel):
    board, _ = spied()
    for ask in before:
        board.ask(*ask)
    spent = board.spent
    twin = board.copy()
    assert twin.spent.tolist() == spent.tolist()
    for ask in on_copy:
        twin.ask(*ask)
    twin.charge(0.5)
    twin.join("other", told("other", SAID["small"]))
    assert board.spent.tolist() == spent.tolist()
    assert board.experts == EXPERTS
    grown = twin.spent.tolist()
    for ask in on_panel:
        board.ask(*ask)
    assert twin.spent.tolist() == grown
    fresh, _ = spied()
    for ask in (*before, *on_panel):
        fresh.ask(*ask)
    assert board.spent.tolist() == fresh.spent.tolist()


def test_copies_share_what_was_said_and_each_pays_for_what_it_sees():
    board, experts = spied()
    first, second = board.copy(), board.copy()
    first.ask("small", [0, 1])
    assert second.asked("small").sum() == 0
    assert second.ask("small", [1, 2]).label.tolist() == [1, 0]
    assert sorted(experts["small"].asked) == ["a0", "a1", "a2"]
    assert (first.total, second.total, board.total) == (1.0 + 2.0, 2.0 + 4.0, 0.0)


def test_what_one_copys_own_model_said_is_not_heard_by_another_of_that_name():
    board, _ = spied()
    board.ask("small", [0])
    first, second = board.copy(), board.copy()
    first.join("own", told("own", ["1"] * ROWS))
    second.join("own", told("own", ["0"] * ROWS))
    assert first.ask("own").label.tolist() == [1] * ROWS
    assert second.ask("own").label.tolist() == [0] * ROWS


def test_a_failed_price_shows_no_answer_and_is_asked_again():
    spy = told("llm", ["0", "1"])
    priced = CostModel("seconds")
    board = Panel(examples(["0", "1"]), {"llm": spy}, priced, CLASSES)
    for times in (1, 2):
        with pytest.raises(DataError, match="'seconds', which cost is counted by, is null in 2 of 2 rows"):
            board.ask("llm")
        assert not board.asked("llm").any()
        assert len(spy.asked) == 2 * times


def test_what_the_panel_hands_out_cannot_change_its_books():
    board = panel(["0", "1"], {"small": ["0", "1"]})
    board.ask("small", [0])
    board.asked("small")[:] = True
    board.bill("small")[:] = 0
    board.spent[:] = 0
    board.ask("small").cost[:] = 0
    assert board.spent.tolist() == [1.0, 1.0]
    assert board.total == 2.0


def test_a_blind_panel_refuses_gold():
    with pytest.raises(BlindError) as error:
        _ = panel(["0", "1"], {}, blind=True).gold
    assert str(error.value) == "Gold labels are not shown while decisions are made: fit on another panel."
    assert panel(["0", "1"], {}).gold.tolist() == [0, 1]


def test_a_copy_of_a_blind_panel_is_blind():
    with pytest.raises(BlindError):
        _ = panel(["0", "1"], {}, blind=True).copy().gold


@pytest.mark.parametrize("blind", [True, False])
def test_an_expert_is_never_shown_what_tells_the_right_answer(blind):
    spy = told("llm", ["0", "1"])
    rows = examples(["0", "1"], reference=["r", "s"], group=["rude", "mild"])
    Panel(rows, {"llm": spy}, CostModel(), CLASSES, blind=blind).ask("llm")
    (shown,) = spy.shown
    assert shown["text"].to_pylist() == ["post 0", "post 1"]
    for name in ("label", "reference", "group"):
        assert shown[name].null_count == 2
    schema.check(shown, "examples")


def test_gold_needs_a_label_in_every_row():
    with pytest.raises(DataError) as error:
        _ = panel(["0", None, None], {}).gold
    message = (
        "gold labels: 2 of 3 rows have none. Allowed: one of ['0', '1'] in every row. "
        "Label these rows or leave them out."
    )
    assert str(error.value) == message
    with pytest.raises(DataError, match="1 of 2 rows have none"):
        gold_indices(examples(["0", "2"])["label"], CLASSES)


def test_class_indices_follow_the_classes_order():
    board = panel(["yes", "no"], {"e": ["no", "yes"]}, classes=("yes", "no"))
    assert board.gold.tolist() == [0, 1]
    assert board.ask("e").label.tolist() == [1, 0]


def test_what_was_not_given_is_nan():
    said = predictions(
        ["0", None, "1"],
        expert="e",
        proba=[[0.75, 0.25], None, [0.5, 0.5]],
        logprob=[-0.5, None, None],
        mass=[None, 0.25, 1.0],
        cost_usd=[1.0, 2.0, 3.0],
    )

    class Fixed:
        def answer(self, examples):
            return said

    seen = Panel(examples(["0"] * 3), {"e": Fixed()}, CostModel(), CLASSES).ask("e")
    np.testing.assert_array_equal(seen.proba, [[0.75, 0.25], [math.nan, math.nan], [0.5, 0.5]])
    np.testing.assert_array_equal(seen.logprob, [-0.5, math.nan, math.nan])
    np.testing.assert_array_equal(seen.mass, [math.nan, 0.25, 1.0])
    assert seen.label.tolist() == [0, NO_LABEL, 1]
    assert seen.expert == "e"


def test_answers_from_several_asks_are_put_in_the_asked_order():
    board, _ = spied()
    board.ask("small", [4])
    board.ask("small", [5, 0])
    seen = board.ask("small", [5, 1, 4, 4])
    assert seen.table["id"].to_pylist() == ["a5", "a1", "a4", "a4"]
    assert seen.label.tolist() == [0, 1, 1, 1]


def test_nothing_asked_is_nothing_billed():
    board, experts = spied()
    for nothing in ([], np.zeros(ROWS, bool), np.array([], np.int64)):
        assert len(board.ask("small", nothing).label) == 0
    assert board.total == 0.0
    assert experts["small"].asked == []


@pytest.mark.parametrize(
    ("rows", "got"),
    [
        ([True, False], "bool of shape (2,)"),
        ([0, ROWS], "int64 of shape (2,)"),
        ([-1], "int64 of shape (1,)"),
        ([0.5], "float64 of shape (1,)"),
        (["a0"], "<U2 of shape (1,)"),
    ],
)
def test_rows_of_another_panel_are_refused(rows, got):
    board, experts = spied()
    message = f"panel rows: {got}. Allowed: a mask of 6 rows, or indices from 0 to 5. Give rows of this panel."
    for use in (lambda: board.ask("small", rows), lambda: board.charge(1.0, rows)):
        with pytest.raises(DataError) as error:
            use()
        assert str(error.value) == message
    assert board.total == 0.0
    assert experts["small"].asked == []


def test_an_expert_may_be_shown_another_text_than_the_rows():
    """It is asked and billed as any other; a row that was asked before is not asked anew."""
    read = []

    class Reader:
        def answer(self, table):
            read.append(table["text"].to_pylist())
            return told("small", SAID["small"], cost=COST["small"]).answer(table)

    board = Panel(examples(["0"] * ROWS), {"small": Reader()}, CostModel(), CLASSES)
    board.ask("small", [1])
    assert board.ask("small", [4, 1, 2], texts={2: "two", 4: "four", 1: "one"}).rows.tolist() == [4, 1, 2]
    assert read == [["post 1"], ["two", "four"]] and board.text[2] == "post 2"
    assert np.flatnonzero(board.bill("small")).tolist() == [1, 2, 4]


def test_an_unknown_expert_lists_the_known_ones():
    board, _ = spied()
    for use in (board.ask, board.bill, board.asked):
        with pytest.raises(ConfigError) as error:
            use("smal")
        assert str(error.value) == "Unknown expert 'smal'. Known: large, small. Did you mean 'small'?"


class Answering:
    """Answers with a fixed table, whatever is asked."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    def answer(self, examples: pa.Table) -> pa.Table:
        return self.table


def rows_of(labels, **columns):
    return pa.Table.from_pydict(
        {**predictions(labels, cost_usd=[1.0] * len(labels)).to_pydict(), **columns}, schema=schema.PREDICTIONS
    )


IN_ORDER = "one row for each asked, in the asked order. Sort by id and remove duplicates."
ALL_IDS = "one row for each example id. Generate the predictions again for these examples."


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (
            rows_of(["0", "1"], id=["a0", "b7"]),
            f"1 of 2 examples have no answer and 1 answers have no example (first missing id a1). Allowed: {ALL_IDS}",
        ),
        (
            rows_of(["0"]),
            f"1 of 2 examples have no answer and 0 answers have no example (first missing id a1). Allowed: {ALL_IDS}",
        ),
        (
            rows_of(["0", "1", "0"]),
            f"0 of 2 examples have no answer and 1 answers have no example (first unknown id a2). Allowed: {ALL_IDS}",
        ),
        (rows_of(["0", "1"], id=["a1", "a0"]), f"2 rows for 2 asked, or another order. Allowed: {IN_ORDER}"),
        (
            rows_of(["0", "1", "1"], id=["a0", "a1", "a1"]),
            f"3 rows for 2 asked, or another order. Allowed: {IN_ORDER}",
        ),
        (
            rows_of(["0", "1"], label=["0", "2"]),
            "label outside the classes: '2' in column 'label', row 1 (1 rows in all). "
            "Allowed: one of ['0', '1'], or null. Correct the label or the classes in params.yaml.",
        ),
        (
            rows_of(["0", "1"], proba=[[1.0], [0.2, 0.3, 0.5]]),
            "proba [1.0] in column 'proba', row 0 (2 rows in all). "
            "Allowed: 2 values, of ['0', '1'], or null. Add the rest.",
        ),
        (
            rows_of(["0", "1"], cost_usd=[1.0, -2.0]),
            "cost -2. Allowed: a finite number >= 0. Measure it again.",
        ),
        (
            rows_of(["0", "1"], cost_usd=[math.inf, 1.0]),
            "cost inf. Allowed: a finite number >= 0. Measure it again.",
        ),
    ],
)
def test_an_expert_that_answers_otherwise_than_asked_is_refused_and_not_billed(answer, message):
    board = Panel(examples(["0", "1"]), {"llm": Answering(answer)}, CostModel(), CLASSES)
    with pytest.raises(DataError) as error:
        board.ask("llm")
    assert str(error.value) == f"answers of 'llm': {message}"
    assert not board.asked("llm").any()
    assert board.total == 0.0


def test_a_policys_own_model_joins_and_is_billed():
    board, _ = spied()
    own = told("own", ["1"] * ROWS, cost=0.25)
    board.join("own", own)
    assert board.experts == ("small", "large", "own")
    assert board.ask("own", [1, 2]).label.tolist() == [1, 1]
    assert board.total == 0.5
    board.join("own", own)
    assert board.total == 0.5
    assert board.asked("own").sum() == 2


@pytest.mark.parametrize("asked", [[], [0]])
def test_nobody_joins_under_the_name_of_another(asked):
    board, _ = spied()
    board.ask("small", asked)
    with pytest.raises(ConfigError) as error:
        board.join("small", told("small", ["1"] * ROWS))
    assert str(error.value) == ("Expert 'small' is on this panel already. Give the new one a name of its own.")
    assert board.ask("small").label.tolist() == indices(SAID["small"]).tolist()


def test_a_charge_is_for_the_rows_it_names():
    board, _ = spied()
    board.charge(0.5)
    board.charge(1.0, [0, 2])
    board.charge(np.array([3.0, 4.0]), np.array([False, True, False, True, False, False]))
    assert board.spent.tolist() == [1.5, 3.5, 1.5, 4.5, 0.5, 0.5]
    assert board.bill("small").sum() == 0.0


@pytest.mark.parametrize("amount", [-1.0, math.nan, math.inf, np.array([1.0, math.nan] * 3)])
def test_a_charge_is_finite_and_not_negative(amount):
    board, _ = spied()
    with pytest.raises(DataError) as error:
        board.charge(amount)
    bad = "nan" if isinstance(amount, np.ndarray) else f"{amount:g}"
    assert str(error.value) == (f"panel.charge: cost {bad}. Allowed: a finite number >= 0. Measure it again.")
    assert board.total == 0.0


def test_an_empty_panel_answers_with_nothing():
    board = panel([], {"small": []})
    assert len(board) == 0
    assert len(board.ask("small").label) == 0
    assert board.spent.tolist() == []
    assert board.total == 0.0


def test_cost_is_counted_in_the_models_unit():
    answers = predictions(["0", "1"], expert="e", seconds=[0.5, 0.25], prompt_tokens=[3, 4], completion_tokens=[1, 1])
    board = Panel(examples(["0", "1"]), {"e": Answering(answers)}, CostModel("tokens"), CLASSES)
    assert board.ask("e").cost.tolist() == [4.0, 5.0]
    priced = CostModel(prices={"e": Price(usd_per_1k_answers=1.0)})
    board = Panel(examples(["0", "1"]), {"e": Answering(answers)}, priced, CLASSES)
    assert board.ask("e").cost.tolist() == [0.001, 0.001]


def test_ids_and_text_are_free_to_look_at():
    board = panel(["0", "1"], {"small": ["0", "1"]}, blind=True)
    assert (board.ids, board.text) == (ids(2), ["post 0", "post 1"])
    assert board.total == 0.0


def test_a_draw_belongs_to_the_id_alone():
    board = panel(["0"] * 500, {"small": ["0"] * 500})
    assert board.draws(1).tolist() == draws(board.ids, 1).tolist()
    assert board.take([499, 3]).draws(1).tolist() == board.draws(1)[[499, 3]].tolist()
    assert np.abs(np.corrcoef(board.draws(1), board.draws(2))[0, 1]) < 0.2
    assert ((board.draws(1) >= 0) & (board.draws(1) < 1)).all()
    # The mean of 500 uniform draws, four standard errors.
    assert abs(board.draws(3).mean() - 0.5) < 4 / np.sqrt(12 * 500)


def test_a_part_of_a_panel_shares_what_was_said_and_pays_for_itself():
    small = told("small", ["0", "1", "0", "1"], cost=2.0)
    board = Panel(examples(["0", "1", "1", "0"]), {"small": small}, CostModel(), CLASSES)
    board.ask("small")
    part = board.take(np.array([False, True, False, True]))
    assert (part.ids, part.gold.tolist(), part.total) == (["a1", "a3"], [1, 0], 0.0)
    assert part.ask("small", [1]).label.tolist() == [1]
    assert (part.total, board.total) == (2.0, 8.0)
    assert len(small.asked) == 4
    with pytest.raises(BlindError):
        _ = board.take([0], blind=True).gold
    with pytest.raises(BlindError):
        _ = board.copy(blind=True).take([0]).gold


def test_a_part_may_ask_what_the_whole_has_not():
    small = told("small", ["0", "1", "0"])
    board = Panel(examples(["0"] * 3), {"small": small}, CostModel(), CLASSES)
    board.ask("small", [0])
    part = board.take([2, 0])
    assert part.ask("small").label.tolist() == [0, 0]
    assert small.asked == ["a0", "a2"]
    assert board.ask("small").label.tolist() == [0, 1, 0]


def test_an_empty_part_is_a_panel():
    part = panel(["0", "1"], {"small": ["0", "1"]}).take([])
    assert (len(part), part.ids, part.ask("small").label.tolist()) == (0, [], [])


def test_quality_is_a_right_label_or_what_the_predictions_say():
    board = panel(["0", "1", "1"], {"small": ["0", "0", None]})
    assert board.quality(board.ask("small", [0, 1, 2])).tolist() == [1.0, 0.0, 0.0]
    assert board.quality(board.ask("small", [2, 0])).tolist() == [0.0, 1.0]


class Summariser:
    """Answers with texts of a known quality."""

    def __init__(self, quality):
        self.quality = quality

    def answer(self, examples):
        n = examples.num_rows
        told = {"text": ["a summary"] * n, "quality": self.quality[:n], "cost_usd": [1.0] * n}
        return schema.table("predictions", {"id": examples["id"].to_pylist(), "expert": ["s"] * n, **told})


def test_a_summary_shows_its_quality_only_where_gold_may_be_seen():
    documents = examples([None, None], reference=["one", "two"])
    board = Panel(documents, {"s": Summariser([0.25, 0.75])}, CostModel(), ())
    assert board.quality(board.ask("s")).tolist() == [0.25, 0.75]
    blind = board.copy(blind=True)
    answers = blind.ask("s", [1])
    assert answers.table["text"].to_pylist() == ["a summary"]
    assert answers.table["quality"].to_pylist() == [None]
    with pytest.raises(BlindError, match="quality of answers is not shown"):
        blind.quality(answers)
    unmeasured = Panel(documents, {"s": Summariser([0.25, None])}, CostModel(), ())
    with pytest.raises(DataError) as error:
        unmeasured.quality(unmeasured.ask("s"))
    assert str(error.value) == (
        "answers of 's': 1 of 2 have neither a gold label nor a quality. Allowed: a quality from 0 to 1 for each. "
        "Measure them against the references."
    )


def test_probabilities_that_speak_against_labels_are_told_once_with_their_number(caplog):
    proba = dict(zip(ids(3), [[0.3, 0.7], [0.3, 0.7], [0.5, 0.5]], strict=True))
    for _ in range(2):
        board = Panel(
            examples(["0"] * 3), {"against": told("against", ["0", "1", "1"], proba=proba)}, CostModel(), CLASSES
        )
        assert board.ask("against", [1, 2]).label.tolist() == [1, 1]
        assert board.ask("against").label.tolist() == [0, 1, 1]
    (said,) = (record.message for record in caplog.records)
    assert said == (
        "'against': in 1 of 1 answers another class has a higher stated probability than the label. Such an answer "
        "counts as no surer than its label is likely. If most are so, correct the order of the probabilities: it is "
        "not the classes'."
    )

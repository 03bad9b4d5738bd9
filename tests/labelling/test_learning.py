"""What a bandit has spent and learnt, in a file that several processes share."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from askless.data.prepare import ids
from askless.errors import ConfigError, DataError
from askless.labelling import learning as module
from askless.labelling.learning import Decided, Label, Learning
from askless.spending.ledger import Ledger

CLASSES = ("yes", "no")
A, B, C, D = ids("t", "abcd")


@pytest.fixture
def learning(tmp_path):
    """Four items were answered; people call the first three one, two and, of two texts, same."""
    with Learning(tmp_path / "learning.sqlite", "t") as made:
        turn = made.begin(4, 0.01, 1.0, Ledger())
        made.end(turn, 0.01, 0.01, [Decided(key, at, f"round {at}", True, True) for at, key in enumerate((A, B, C, D))])
        made.name([("one", A), ("two", B), ("same", C), ("same", D), (None, D), ("never", "f" * 16)])
        yield made


def teach(before, rows):
    """As state the labels of all versions, by round."""
    return ["x", "y"], {**(before.state if before else {}), **dict(rows)}


def taught(learning):
    learning.learn(teach)
    return learning.version().state


def test_labels_are_known_by_id_own_id_or_text_and_each_counts_once(learning):
    cases = [
        (Label("one", None, "yes"), "new"),
        (Label("one", None, "yes"), "again"),
        (Label("one", "", "yes"), "again"),
        (Label(A, None, "yes"), "again"),
        (Label(None, " a ", "no"), "corrected"),
        (Label("unheard of", "b", "yes"), "new"),
        (Label("two", None, "maybe"), "the label is none of yes, no"),
        (Label("same", None, "yes"), "the id stands for two texts: give the text"),
        (Label("never", None, "yes"), "no such item was answered"),
        (Label(None, None, "yes"), "neither an id nor a text"),
        (Label(None, "z", "yes"), "no such item was answered"),
        (Label(None, "d", "no"), "new"),
    ]
    told = learning.label([label for label, _ in cases], CLASSES)
    came = dict(told.refused)
    assert [came.get(at, "taken") for at in range(len(cases))] == [
        "taken" if what in ("new", "again", "corrected") else what for _, what in cases
    ]
    assert (told.new, told.again, told.corrected) == (3, 3, 1)
    assert taught(learning) == {"round 0": "no", "round 1": "yes", "round 3": "no"}
    assert learning.learn(teach) == 1, "nothing new came"


def test_a_label_that_comes_while_another_process_learns_is_for_the_next_version(learning):
    learning.label([Label("one", None, "yes")], CLASSES)
    with Learning(learning.path) as other:

        def while_learning(before, rows):
            other.label([Label("two", None, "no"), Label("one", None, "no")], CLASSES)
            return teach(before, rows)

        learning.learn(while_learning)
        assert learning.version().state == {"round 0": "yes"}
        assert taught(other) == {"round 0": "no", "round 1": "no"}
    assert [each["labels"] for each in learning.facts()["versions"]] == [0, 2], "of those that were not put right since"


def test_going_back_takes_back_later_labels_which_may_come_again(learning):
    learning.label([Label("one", None, "yes")], CLASSES)
    learning.learn(teach)
    learning.label([Label("two", None, "no")], CLASSES)
    learning.learn(teach)
    assert learning.roll_back(1) == 3
    assert taught(learning) == {"round 0": "yes"} and learning.number == 3
    assert learning.label([Label("two", None, "yes"), Label("one", None, "yes")], CLASSES).new == 1
    assert taught(learning) == {"round 0": "yes", "round 1": "yes"}
    with pytest.raises(ConfigError, match=r"Unknown version '9'\. Known: 1, 2, 3, 4\."):
        learning.roll_back(9)


@pytest.mark.parametrize(
    ("key", "round", "paid", "more"),
    [
        (A, "round 0", False, 0),
        (A, "round 0", True, 1),
        ("e" * 16, "round 9", False, 1),
        ("e" * 16, "", False, 1),
    ],
)
def test_an_item_that_comes_again_may_cost_something_once_unless_it_is_paid_anew(learning, key, round, paid, more):
    for _ in range(2 - paid):
        learning.end(learning.begin(1, 0.01, 1.0, Ledger()), 0.01, 0.0, [Decided(key, 9, round, paid, round != "")])
    facts = learning.facts()
    assert facts["allowed_usd"] == pytest.approx(0.04 + 0.01 * more)
    assert facts["waiting"] == 4 + (key != A and round != "")


def test_an_item_that_nobody_answered_brings_its_money_once_and_teaches_what_is_asked_when_it_is_tried_again(learning):
    again = [("silent", True, False), ("", False, False), ("answered", True, True), ("later", False, True)]
    for round, paid, answered in again:
        turn = learning.begin(1, 0.01, 1.0, Ledger())
        learning.end(turn, 0.01, 0.0, [Decided("e" * 16, 9, round, paid, answered)])
    assert learning.facts()["items"] == 5 and learning.find("e" * 16).round == "answered"
    learning.end(learning.begin(1, 0.01, 1.0, Ledger()), 0.01, 0.0, [Decided("e" * 16, 9, "anew", True, True)])
    assert learning.facts()["items"] == 6, "it was answered, and is paid anew"


def test_an_item_that_was_answered_after_its_label_came_teaches_what_was_answered(learning):
    """Else the label would be one that is there already, and the answers of the second try would never teach."""
    for round, answered in (("silent", False), ("answered", True)):
        turn = learning.begin(1, 0.01, 1.0, Ledger())
        learning.end(turn, 0.01, 0.0, [Decided("e" * 16, 9, round, True, answered)])
        learning.label([Label("e" * 16, None, "yes")], CLASSES)
        assert taught(learning)[round] == "yes"
    assert taught(learning) == {"silent": "yes", "answered": "yes"} and learning.number == 2


def test_only_the_newest_items_and_versions_are_kept(learning, monkeypatch):
    monkeypatch.setattr(module, "MOST_ITEMS", 2)
    monkeypatch.setattr(module, "VERSIONS", 1)
    for _ in range(2):
        learning.replace(lambda before: (["x"], {}))
    learning.end(learning.begin(1, 0.01, 1.0, Ledger()), 0.01, 0.0, [Decided("e" * 16, 4, "round 4", True, True)])
    told = learning.label([Label(None, text, "yes") for text in "abcd"], CLASSES)
    assert [at for at, _ in told.refused] == [0, 1, 2] and learning.facts()["waiting"] == 1
    assert [each["number"] for each in learning.facts()["versions"]] == [2]


def test_a_file_that_is_gone_is_told(tmp_path):
    with pytest.raises(DataError, match="no such file. Allowed: what this model has spent and learnt. Put it back"):
        Learning(tmp_path / "learning.sqlite")


def test_turns_side_by_side_have_their_own_budget(learning):
    """Of 0.03 that are left the first takes a half and its own 0.5, so that no more is left over for others."""
    ledger = Ledger()
    first, second = (learning.begin(items, 0.01, 9.0, ledger) for items in (50, 1))
    assert (first.usd, second.usd) == (pytest.approx(0.515), pytest.approx(0.01))


def call(ledger, key, usd, most=0.1):
    """Reserve a call, and pay for it; `usd` None leaves it open."""
    assert ledger.reserve("large", [(key, most)])
    if usd is not None:
        ledger.settle({key: usd})


@pytest.mark.parametrize("how", ["by another process of its run", "by anybody, for its process is gone"])
def test_a_turn_that_was_killed_counts_at_what_was_paid_and_what_is_open_at_most(learning, tmp_path, monkeypatch, how):
    path = tmp_path / "run" / "ledger.sqlite"
    with Ledger(path) as ledger:
        call(ledger, "of before", 0.05)
        ended, dead = learning.begin(2, 0.01, 1.0, ledger), learning.begin(4, 0.01, 1.0, ledger)
        call(ledger, "a", 0.002)
        learning.end(ended, 0.01, 0.002, [Decided("e" * 16, 4, "round 4", True, True)])
        call(ledger, "b", 0.003)
        call(ledger, "c", None, most=0.1)
    spent = lambda facts: (facts["spent_usd"], facts["reserved_usd"])  # noqa: E731
    with Learning(learning.path) as other, Ledger(path) as ledger:
        assert spent(other.facts()) == (pytest.approx(0.012), pytest.approx(dead.usd)), "its process is there"
        if how == "by anybody, for its process is gone":
            monkeypatch.setattr(module, "_gone", lambda place, pid: True)
            assert spent(other.facts()) == (pytest.approx(0.015), pytest.approx(0.1))
            ledger.settle({"c": 0.004})
            assert spent(other.facts()) == (pytest.approx(0.019), 0)
        else:
            other.end(other.begin(1, 0.01, 1.0, ledger), 0.01, 0.0)
            assert spent(other.facts()) == (pytest.approx(0.015), pytest.approx(0.1))
            ledger.doubt(["c"])
            other.end(other.begin(1, 0.01, 1.0, ledger), 0.01, 0.0)
            assert spent(other.facts()) == (pytest.approx(0.115), 0)
        assert other.facts()["items"] == 5, "those that were decided"


def test_a_turn_of_which_the_ledger_is_gone_or_another_counts_at_its_most(learning, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_gone", lambda place, pid: True)
    path = tmp_path / "ledger.sqlite"
    with Ledger(path) as ledger:
        most = learning.begin(4, 0.01, 1.0, ledger).usd
    path.unlink()
    with Learning(learning.path) as other:
        assert other.facts()["reserved_usd"] == most
        Ledger(path).close()
        assert other.facts()["reserved_usd"] == most
        assert other.begin(1, 0.01, 9.0, Ledger()).usd == pytest.approx(0.01)


@given(
    st.lists(
        st.tuples(st.integers(1, 60), st.floats(0.0001, 0.01), st.floats(0, 2), st.floats(0, 1), st.booleans()),
        max_size=20,
    )
)
@settings(max_examples=30, deadline=None)
def test_what_is_spent_is_the_bill_and_never_passes_what_the_items_may_take(tmp_path_factory, turns):
    """Any turns side by side, each taking what it may at most, until all are killed and another process begins."""
    folder = tmp_path_factory.mktemp("l")
    made, ledger = Learning(folder / "learning.sqlite", "t"), Ledger(folder / "ledger.sqlite")
    allowed = bill = 0.0
    under_way = []
    firsts = set()
    for items, usd, most, share, killed in turns:
        turn = made.begin(items, usd, most, ledger)
        assert 0 <= turn.usd <= items * usd + most and turn.first not in firsts
        firsts.add(turn.first)
        took = math.floor(1e9 * share * turn.usd) / 1e9
        call(ledger, f"{turn.first}", took, turn.usd + 1e-9)
        bill += took
        under_way.append((turn, items, usd, took))
        allowed += items * usd
        assert bill <= allowed + 1e-9
        if killed:
            under_way = []
            ledger.close()
            made.close()
            made, ledger = Learning(made.path), Ledger(ledger.path)
        elif len(under_way) > 3:
            turn, count, usd, took = under_way.pop(0)
            keys = [f"{turn.first + n}" for n in range(count)]
            made.end(turn, usd, took, [Decided(key, turn.first + n, "", False, False) for n, key in enumerate(keys)])
    made.close()
    with Learning(made.path) as after:
        after.end(after.begin(1, 0.01, 0.0, ledger), 0.01, 0.0)
        facts = after.facts()
    assert facts["spent_usd"] == pytest.approx(bill, abs=1e-7) and facts["reserved_usd"] == 0
    ledger.close()

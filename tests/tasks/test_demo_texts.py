import numpy as np

from askless.data.demo.documents import FACTS
from askless.data.demo.posts import ORDER_KINDS
from tasks.demo_texts import HALVES, choices, compose, facts, held_out, pretraining_documents, skeleton


def test_choices_are_written_out():
    assert choices("[a|b] c [d|e]") == ["a c d", "a c e", "b c d", "b c e"]


def test_a_skeleton_forgets_which_slot_is_which():
    assert skeleton("{n} is a {x}") == skeleton("{m} is a {y}") == "{} is a {}"


def test_the_same_generator_state_gives_the_same_wording():
    assert compose(np.random.default_rng(3)) == compose(np.random.default_rng(3))


def test_no_composed_wording_is_held_out_and_there_are_thousands():
    rng = np.random.default_rng(0)
    drawn = [compose(rng) for _ in range(20_000)]
    found = {skeleton(half) for _, line in drawn for half in line.split(" || ")}
    assert len(found) > 3000
    assert held_out() and not found & held_out()
    assert {kind for kind, _ in drawn} == set(HALVES) == set(ORDER_KINDS)


def test_the_filter_is_needed():
    """Some pairs of halves do make a held-out wording; `compose` has to throw them away."""
    author, other = HALVES["said"].values()
    made = {skeleton(f"{a} , {b}") for x in author for y in other for a in choices(x) for b in choices(y)}
    assert made & held_out()


def test_the_pretraining_has_no_bulletin():
    assert "bulletin" not in {doc["kind"] for doc in pretraining_documents(2000, 0)}


def test_the_value_of_a_fact_is_in_its_text():
    sample = facts(500, 0)
    assert sample == facts(500, 0)
    assert {question for _, question, _ in sample} == set(FACTS.values())
    assert all(value in text for text, _, value in sample)

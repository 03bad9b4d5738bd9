import numpy as np

from askless.data.demo.composed import HALVES, choices, compose, held_out, skeleton
from askless.data.demo.posts import ORDER_KINDS


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

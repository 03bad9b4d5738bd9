"""New words tell another subject from the same one, whichever half of the texts was drawn."""

import random

import numpy as np
import pytest

from askless.errors import DataError
from askless.stats.known_words import FILE, KnownWords

WORDS = [f"word{n}" for n in range(3000)]


def posts(rows, rng, first=0):
    """Of a few common words and many rare ones."""
    return [" ".join(WORDS[first + int(2000 * rng.random() ** 3)] for _ in range(8)) for _ in range(rows)]


def alarm(known, later):
    return known.held_against(known.unknown(later)).alarm


def test_the_same_subject_raises_an_alarm_in_one_of_twenty_and_another_one_always():
    rng = random.Random(0)
    alarms = []
    for seed in range(60):
        known = KnownWords.of(posts(300, rng), seed)
        alarms.append(alarm(known, posts(200, rng)))
        assert alarm(known, posts(200, rng, first=700))
    assert sum(alarms) <= 7


def test_fewer_new_words_are_no_alarm_and_of_too_few_texts_nothing_is_told():
    known = KnownWords.of(posts(300, random.Random(2)))
    assert not alarm(known, [WORDS[0]] * 200)
    assert not known.held_against(known.unknown(["strange"] * 5)).told


def test_shares_of_unknown_words():
    known = KnownWords.of(["One two, two!", "one two"])
    assert known.unknown(["ONE two three", "", "four"]).tolist() == pytest.approx([1 / 3, 0, 1])


def test_they_are_kept_and_a_broken_file_is_named(tmp_path):
    assert KnownWords.read(tmp_path) is None
    known = KnownWords.of(posts(50, random.Random(1)))
    known.write(tmp_path)
    again = KnownWords.read(tmp_path)
    assert np.array_equal(again.sums, known.sums) and np.array_equal(again.new, known.new)
    (tmp_path / FILE).write_bytes(b"PK no")
    with pytest.raises(DataError, match=r"words.npz: unreadable .* Annotate again."):
        KnownWords.read(tmp_path)

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from askless.text.vocabulary import Vocabulary


@given(
    st.lists(st.text(min_size=1).filter(lambda w: not set(w) & {"\n", " "}), unique=True, min_size=1),
    st.lists(st.text()),
)
def test_vocabulary_is_a_dict(words, asked):
    words = [w for w in words if w.split() == [w]] or ["a"]
    vocabulary = Vocabulary.of(words)
    table = {word: row for row, word in enumerate(words)}
    assert vocabulary.rows(words + asked).tolist() == [table.get(word, -1) for word in words + asked]
    rows, at = vocabulary.tokens([*asked, " ".join(words)])
    assert [rows[a:b].tolist() for a, b in zip(at[:-1], at[1:], strict=True)] == [
        [table[w] for w in text.split() if w in table] for text in [*asked, " ".join(words)]
    ]


def test_a_repeated_word_keeps_its_first_row():
    assert Vocabulary.of(["a", "b", "a", "a"]).rows(["a", "b"]).tolist() == [0, 1]


def test_words_by_row_and_nothing_asked():
    vocabulary = Vocabulary.of(["a", "\u2028b", "\x85"])
    assert vocabulary.words() == ["a", "\u2028b", "\x85"] and len(vocabulary) == 3
    assert vocabulary.rows([]).tolist() == [] and Vocabulary.of([]).rows(["a", ""]).tolist() == [-1, -1]
    rows, at = vocabulary.tokens([])
    assert rows.tolist() == [] and at.tolist() == [0]
    assert at.dtype == np.int32

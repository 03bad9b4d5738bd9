import pytest
from hypothesis import given
from hypothesis import strategies as st

from askless.errors import DataError
from askless.text import summary_faults
from askless.text.summary_faults import EMPTY, FAULTS, LONGER, LOOP, SCRIPT, faults

DOCUMENT = "A long enough document about nothing in particular, in plain words. " * 20
WORDS = [f"word{i}" for i in range(70)]


def fault(summary, document=DOCUMENT):
    return faults([summary], [document])[0]


@pytest.mark.parametrize("summary", [None, "", "  \n", "...", "_ - _", "?!"])
def test_a_summary_without_a_letter_or_digit_is_empty(summary):
    assert fault(summary) == EMPTY


@pytest.mark.parametrize("summary", ["7", "é", "Yes.", "no no no, really no no no", "The cat sat on the mat."])
def test_a_short_summary_is_none(summary):
    assert fault(summary) is None


@pytest.mark.parametrize(
    ("period", "times"), [(1, 4), (2, 4), (3, 3), (7, 3), (8, 2), (20, 2), (64, 2)], ids=lambda v: str(v)
)
def test_a_block_repeated_as_often_as_the_rule_says_is_a_loop_and_once_less_is_none(period, times):
    block, document = WORDS[:period], " ".join(WORDS * 20)
    assert fault(" ".join(["so", *block * times, "on"]), document) == LOOP
    almost = [*block * times][:-1]
    assert fault(" ".join(["so", *almost, "on"]), document) is None


def test_a_loop_may_be_all_there_is():
    assert fault(" ".join(WORDS[:8] * 2)) == LOOP


def test_a_block_of_more_than_64_words_is_no_loop():
    assert fault(" ".join(WORDS[:65] * 2), " ".join(WORDS * 20)) is None


def test_repeats_that_are_not_in_a_row_are_no_loop():
    assert fault("the cat and the dog and the cow and the hen and the pig") is None


def test_case_and_punctuation_are_no_difference_between_words():
    assert fault("Stuart Broad, stuart broad , 'Stuart Broad' and", DOCUMENT) is None
    assert fault("Stuart Broad, stuart Broad; 'Stuart Broad'. STUART BROAD") == LOOP
    assert fault("the end . . . . of it") == LOOP


@pytest.mark.parametrize("block", ["a", "ha", "Trademarkia"])
def test_a_long_word_of_one_block_is_a_loop(block):
    word = (block * 40)[: 24 + len(block)]
    assert fault(f"so {word} on") == (LOOP if len(word) >= 32 else None)
    assert fault(f"so {word}{word} on") == LOOP
    assert fault(f"so {word[:-1]} on") is None


def test_a_long_block_of_letters_is_repeated_whole():
    letters = "".join(map(chr, range(0x4E00, 0x4E00 + 50)))
    block, rest = letters[:40], letters[40:]
    assert fault(block * 2 + rest, letters * 9) == LOOP
    assert fault(block + block[:-1] + rest, letters * 9) is None


def test_a_script_without_blanks_is_read_by_its_letters():
    plain = "昨日東京で大きな地震があり多くの人が避難したが被害は少なかったと政府は発表している。"
    assert fault(plain, plain * 3) is None
    assert fault(plain[:24] * 3, plain * 9) == LOOP


def test_longer_is_counted_in_characters_without_blanks():
    assert fault("a b c", "abc") is None
    assert fault("abcd", "a b c") == LONGER
    assert fault("Something.", "") == LONGER


def test_another_script_is_told_and_a_few_foreign_letters_are_not():
    assert fault("Землетрясение в Индонезии") == SCRIPT
    assert fault("印度尼西亚地震 BBC") == SCRIPT
    assert fault("An earthquake", "В Индонезии произошло землетрясение") == SCRIPT
    assert fault("Землетрясение", "В Индонезии произошло землетрясение") is None
    assert fault("Café Zoë costs £5 — «naïve» Łódź, Việt Nam") is None
    assert fault("Beijing (北京) wins") is None
    assert fault("7 7", "В Индонезии") is None
    assert fault("Scores", "3 : 2, 17 : 4") is None


def test_the_first_rule_that_holds_counts():
    assert fault("no " * 10, "no") == LOOP
    assert fault("Землетрясение", "quake") == LONGER
    assert [
        fault(text, "В Индонезии произошло землетрясение") for text in ("", "ha " * 8, "a" * 60, "A quake")
    ] == list((EMPTY, LOOP, LOOP, SCRIPT))
    assert FAULTS == (EMPTY, LOOP, LONGER, SCRIPT)


def test_a_loop_is_not_made_of_two_summaries_side_by_side():
    assert faults(["no no", "no no", "x y x y", "x y x y"], [DOCUMENT] * 4) == [None] * 4


some = st.lists(st.sampled_from(["a", "b", "c", "A.", ",", "中", "é"]), max_size=14).map(" ".join)


@given(st.lists(st.tuples(some, some), max_size=12))
def test_a_row_does_not_depend_on_the_others(pairs):
    summaries, documents = [a for a, _ in pairs], [b for _, b in pairs]
    whole = faults(summaries, documents)
    assert whole == [fault(a, b) for a, b in pairs]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(summary_faults, "BLOCK", 3)
        assert faults(summaries, documents) == whole


def loops_slowly(words):
    """The rule for words as it is written down, block by block."""
    for period in range(1, 65):
        times = 4 if period < 3 else 3 if period < 8 else 2
        for start in range(len(words) - period * times + 1):
            if words[start : start + period * times] == words[start : start + period] * times:
                return True
    return False


@given(
    st.lists(st.sampled_from("abc"), max_size=40) | st.lists(st.sampled_from("ab"), max_size=20).map(lambda w: w * 3)
)
def test_loops_are_those_of_the_written_rule(words):
    assert fault("x1 " + " ".join(words), DOCUMENT) == (LOOP if loops_slowly(["x1", *words]) else None)


def test_a_hundred_thousand_words_are_looked_through():
    words = [f"w{i}" for i in range(100_000)]
    assert faults([" ".join(words), " ".join([*words, *words[-5:] * 2])], [" ".join(words)] * 2) == [None, LOOP]


def test_no_rows_have_no_faults_and_lists_must_match():
    assert faults([], []) == []
    with pytest.raises(DataError) as raised:
        faults(["a", None], ["b"])
    assert str(raised.value) == "documents: 1 texts for 2 summaries. Allowed: 2. Give one for each."
    with pytest.raises(DataError, match=r"^documents: NoneType in row 0 \(1 rows in all\)\. Allowed: a string\."):
        faults(["a"], [None])

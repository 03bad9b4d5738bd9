import re
from collections import Counter

import numpy as np
import pytest

from askless.data.demo.posts import ORDER_KINDS, order_pair, posts
from askless.data.demo.wordings import INSULTS, POSTS, PRAISES, SLANG, SLANG_INSULTS, SLANG_PRAISES, made_up
from tasks.demo_texts import choices, compose, pretraining_documents, pretraining_posts, skeleton


def skeletons(table):
    """Every wording of a table with its free choices written out and its slots made alike."""
    lines = [line for lines in table.values() for line in lines] if isinstance(table, dict) else table
    return {skeleton(text) for half in " || ".join(lines).split(" || ") for text in choices(half)}


def test_the_same_seed_gives_the_same_posts_and_another_seed_others():
    assert posts(200, 7) == posts(200, 7)
    assert posts(200, 7) != posts(200, 8)
    assert posts(50, 7) == posts(200, 7)[:50]


def test_a_post_has_text_label_and_kind():
    for post in posts(300, 0):
        assert set(post) == {"text", "label", "kind"}
        assert post["label"] in {"0", "1"} and post["text"] == post["text"].strip() != ""
        assert not re.search(r"[{}\[\]|]", post["text"])


def test_almost_all_of_12000_posts_differ_and_the_classes_are_balanced():
    sample = posts(12_000, 0)
    assert len({post["text"] for post in sample}) > 11_800
    kinds = Counter(post["kind"] for post in sample)
    assert sum(kinds[kind] for kind in ORDER_KINDS) / 12_000 == pytest.approx(0.36, abs=0.015)
    assert kinds["slang"] / 12_000 == pytest.approx(0.4, abs=0.015)
    assert np.mean([post["label"] == "1" for post in sample]) == pytest.approx(0.48, abs=0.02)


@pytest.mark.parametrize("wordings", [("seen",), ("held-out",), ("seen", compose)])
def test_the_two_posts_of_an_order_pair_hold_the_same_words(wordings):
    rng, kinds = np.random.default_rng(0), Counter()
    for _ in range(3000):
        kind, offensive, clean = order_pair(rng, *wordings)
        assert offensive != clean
        assert Counter(offensive.split()) == Counter(clean.split())
        kinds[kind] += 1
    assert set(kinds) == set(ORDER_KINDS)


def test_the_labels_of_order_posts_are_a_coin_toss_given_their_words_of_valence():
    sample = [post for post in posts(12_000, 3, slang=0.0) if post["kind"] in ORDER_KINDS]
    both = [p for p in sample if all(set(p["text"].split()) & {*words} for words in (INSULTS, PRAISES))]
    assert len(both) > 0.8 * len(sample)
    assert np.mean([post["label"] == "1" for post in both]) == pytest.approx(0.5, abs=0.03)


def test_without_noise_a_plain_post_has_the_label_of_its_words():
    for post in posts(2000, 4, order=0.0, slang=0.5, noise=0.0):
        found = set(post["text"].split())
        bad = found & {*INSULTS, *SLANG_INSULTS}
        good = found & {*PRAISES, *SLANG_PRAISES}
        assert not (bad and good)
        assert post["label"] == ("1" if bad else "0")


def test_noise_flips_the_label_and_nothing_else():
    clean, noisy = posts(4000, 5, noise=0.0), posts(4000, 5, noise=0.05)
    assert [p["text"] for p in clean] == [p["text"] for p in noisy]
    assert np.mean([a["label"] != b["label"] for a, b in zip(clean, noisy, strict=True)]) == pytest.approx(
        0.05, abs=0.012
    )


@pytest.mark.slow
def test_slang_is_in_the_task_and_never_in_the_pretraining_text():
    task = {word for post in posts(4000, 0) for word in post["text"].split()}
    assert task >= SLANG
    assert len(SLANG) == 40 and not set(SLANG_INSULTS) & set(SLANG_PRAISES)
    text = "\n".join(post["text"] for varied in (False, True) for post in pretraining_posts(20_000, 0, varied=varied))
    text += "\n".join(doc["text"] + doc["reference"] for doc in pretraining_documents(3000, 0)).lower()
    assert not [word for word in SLANG if word in text]


def test_no_made_up_word_is_slang():
    rng = np.random.default_rng(0)
    made = {made_up(rng.integers(999, size=6).tolist()) for _ in range(20_000)}
    assert len(made) > 15_000 and not made & {*SLANG, *INSULTS, *PRAISES}
    assert not [word for word in SLANG if any(word in m for m in made)]


@pytest.mark.parametrize("group", ["order", "plain", "double", "neutral"])
def test_no_wording_of_the_task_is_in_the_pretraining(group):
    seen, held_out = map(skeletons, POSTS[group].values())
    assert held_out and not seen & held_out


def test_the_task_uses_held_out_wordings_and_the_pretraining_the_seen_ones():
    held_out = "is what i am"
    assert any(held_out in post["text"] for post in posts(3000, 0))
    assert not any(held_out in post["text"] for post in pretraining_posts(6000, 0))
    assert {post["text"] for post in pretraining_posts(99, 0)} != {post["text"] for post in posts(99, 0)}
    assert not any(held_out in post["text"] for post in posts(3000, 0, templates="seen"))

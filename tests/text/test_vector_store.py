"""Kept sentence vectors: computed once, shared, whole after a kill."""

import numpy as np
import pytest

from askless.text.encoder import SentenceEncoder
from askless.text.vector_store import KEYS, ROWS, VectorStore, forget
from tests.experts.tiny_models import make_encoder

TEXTS = [f"a cat {i} sat" for i in range(20)]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return SentenceEncoder(str(make_encoder(tmp_path_factory.mktemp("bert"))))


@pytest.fixture
def read(encoder, monkeypatch):
    """Texts that were really read."""
    texts, vectors = [], encoder.vectors
    monkeypatch.setattr(encoder, "vectors", lambda some: texts.extend(some) or vectors(some))
    return texts


def test_a_text_is_read_once_by_whoever_asks(tmp_path, encoder, read):
    first, spared = VectorStore(tmp_path, encoder).vectors([*TEXTS[:5], TEXTS[0]])
    assert sorted(read) == sorted(TEXTS[:5])
    assert spared.tolist() == [0.0] * 6
    again, spared = VectorStore(tmp_path, encoder).vectors(TEXTS[:8])
    assert sorted(read) == sorted(TEXTS[:8])
    assert (spared[:5] > 0).all() and spared[5:].tolist() == [0.0] * 3
    np.testing.assert_array_equal(first[:5], again[:5])
    np.testing.assert_allclose(again, encoder.vectors(TEXTS[:8]), atol=1e-6)
    assert VectorStore(tmp_path, encoder).vectors([])[0].shape == (0, 16)
    other = SentenceEncoder(encoder.model, max_tokens=4)
    assert not np.allclose(VectorStore(tmp_path, other).vectors(TEXTS[:8])[0], again)


@pytest.mark.parametrize("left", [(ROWS, b"half a row"), (KEYS, b"half"), (ROWS, b"\0" * 4 * 17)])
def test_what_a_kill_left_is_dropped(tmp_path, encoder, read, left):
    store = VectorStore(tmp_path, encoder)
    whole, _ = store.vectors(TEXTS[:3])
    name, junk = left
    with open(store.folder / name, "ab") as file:
        file.write(junk)
    found, _ = store.vectors(TEXTS[:6])
    np.testing.assert_array_equal(found[:3], whole)
    assert len(read) == 6
    np.testing.assert_allclose(store.vectors(TEXTS[:6])[0], encoder.vectors(TEXTS[:6]), atol=1e-6)


def test_a_text_that_is_forgotten_leaves_nothing_and_the_others_stay(tmp_path, encoder, read):
    store = VectorStore(tmp_path / "data", encoder)
    kept, _ = store.vectors(TEXTS[:4])
    before = [(store.folder / name).read_bytes() for name in (KEYS, ROWS)]
    assert forget([tmp_path], TEXTS[1:2], dry_run=True) == {store.folder: 1}
    assert [(store.folder / name).read_bytes() for name in (KEYS, ROWS)] == before
    assert forget([tmp_path], [TEXTS[1], "never seen"]) == {store.folder: 1} and forget([tmp_path], TEXTS[1:2]) == {}
    assert kept[1].tobytes() not in (store.folder / ROWS).read_bytes()
    np.testing.assert_array_equal(store.vectors([TEXTS[0], TEXTS[3]])[0], kept[[0, 3]])
    assert len(read) == 4
    np.testing.assert_allclose(store.vectors([TEXTS[1]])[0][0], kept[1], atol=1e-6)
    assert read[4:] == [TEXTS[1]]

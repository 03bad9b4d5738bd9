import re

import numpy as np
import pytest

from askless.data.demo.documents import EVENTS, documents


def test_the_same_seed_gives_the_same_documents_and_another_seed_others():
    assert documents(100, 3) == documents(100, 3)
    assert documents(100, 3) != documents(100, 4)


def test_a_document_has_text_reference_and_kind():
    for doc in documents(500, 0):
        assert set(doc) == {"text", "reference", "kind"}
        assert 4 <= len(re.findall(r"\.(?= |$)", doc["text"])) <= 11
        assert not re.search(r"[{}]", doc["text"] + doc["reference"])


def test_all_kinds_occur_and_about_one_in_eight_is_a_bulletin():
    kinds = [doc["kind"] for doc in documents(3000, 0)]
    assert set(kinds) == {*EVENTS, "bulletin"}
    assert np.mean([kind == "bulletin" for kind in kinds]) == pytest.approx(0.12, abs=0.02)


def test_every_name_and_number_of_the_reference_is_in_the_document():
    for doc in documents(500, 1):
        if doc["kind"] != "bulletin":
            names = set(re.findall(r"\b(?:[A-Z]\w+|\d+)\b", doc["reference"][1:])) - {"A", "On", "After"}
            assert len(names) >= 3
            assert all(name in doc["text"] for name in names), doc


def test_no_sentence_of_an_event_holds_the_whole_summary():
    for doc in documents(300, 2):
        if doc["kind"] != "bulletin":
            wanted = set(re.findall(r"\d+|[A-Z]\w+", doc["reference"]))
            assert not any(wanted <= set(re.findall(r"\w+", s)) for s in doc["text"].split(". "))


def test_the_lead_of_a_bulletin_is_its_summary():
    bulletins = [doc for doc in documents(1000, 2) if doc["kind"] == "bulletin"]
    assert bulletins and all(doc["text"].startswith(doc["reference"] + " ") for doc in bulletins)

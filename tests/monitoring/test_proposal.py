"""What a person is given to decide on: a bundle, a difference of a line, a page of reasons."""

import json

import numpy as np
import pyarrow as pa
import pytest

from askless import schema
from askless.bundles.bundle import Bundle
from askless.errors import DataError
from askless.monitoring import baseline
from askless.monitoring.drift import look
from askless.monitoring.proposal import changed, difference, reasons, redecided, write
from askless.monitoring.recalibration import recalibrate
from askless.policies.base import Budget
from tests.monitoring.test_recalibration import BEYOND, LONGER, TEXTS, loaded, logged, texts_of  # noqa: F401


@pytest.fixture(scope="module")
def champion(loaded, tmp_path_factory):  # noqa: F811
    """The bundle of the version in service, deferring a quarter."""
    folder = tmp_path_factory.mktemp("champion") / "bundle"
    Bundle.of(loaded.policy, loaded.classes, {"task": "t", "seed": 1, "budget": 0.25}, loaded.small).save(folder)
    (folder / "card.md").write_text("a card")
    baseline.write(folder, schema.with_meta(logged(TEXTS), "baseline", {"agree_from": None}))
    return folder


@pytest.fixture(scope="module")
def proposed(loaded, champion, tmp_path_factory):  # noqa: F811
    before, now = baseline.read(champion), logged(LONGER, audits=0.1)
    now = now.set_column(now.schema.get_field_index("text"), now.schema.field("text"), pa.array(LONGER))
    found = recalibrate(loaded, Budget(share=0.25), before, now, texts_of(now, LONGER), margin=0.01, confidence=0.95)
    seen = look(before, now, now.filter(now["audit"]), level=0.05, looks=24)
    page = reasons(seen, found, now, "askless-t", "usd")
    folder = tmp_path_factory.mktemp("proposals") / "version-3-0123abcd"
    return found, now, write(folder, Bundle.load(champion), now, found, page)


def test_the_bundle_is_the_champions_but_for_its_dial(loaded, champion, proposed):  # noqa: F811
    found, _, folder = proposed
    assert sorted(p.name for p in folder.iterdir()) == ["bundle", "bundle.diff", "reasons.md"]
    old, new = (json.loads((path / "bundle.json").read_text()) for path in (champion, folder / "bundle"))
    facts = {**old.pop("facts"), "budget": found.after, "recalibrated_on": "version-3-0123abcd"}
    assert new.pop("facts") == facts
    assert new == old
    assert (folder / "bundle/card.md").read_text() == "a card"
    again = Bundle.load(folder / "bundle").policy
    assert again.points_.share.tolist() == loaded.policy.points_.share.tolist()


def test_the_difference_is_of_two_lines(champion, proposed):
    found, _, folder = proposed
    lines = (folder / "bundle.diff").read_text().splitlines()
    assert lines[:2] == ["--- champion/bundle.json", "+++ proposed/bundle.json"]
    assert [line for line in lines[2:] if line[0] in "+-"] == [
        '-  "budget": 0.25,',
        f'+  "budget": {found.after},',
        '+  "recalibrated_on": "version-3-0123abcd",',
    ]


def test_a_dial_that_the_registry_alone_knows_is_in_the_difference_too():
    text = json.dumps({"facts": {"seed": 1}}, indent=1, sort_keys=True) + "\n"
    said = difference(changed(text, 0.4), changed(text, 0.1, "here"))
    assert [line for line in said.splitlines()[2:] if line[0] in "+-"] == [
        '-  "budget": 0.4,',
        '+  "budget": 0.1,',
        '+  "recalibrated_on": "here",',
    ]
    assert difference(text, text) == ""


def test_the_page_says_what_is_proposed_why_and_what_to_do(proposed):
    found, now, folder = proposed
    page = (folder / "reasons.md").read_text()
    more = 1000 * np.nanmean(now["paid"].to_numpy(zero_copy_only=False)) * (found.held - found.drifted)
    assert page.startswith("# Version 1 of askless-t: an operating point set anew\n")
    assert f"**Proposed: `budget` `0.25` -> `{found.after:g}`.** At calibration 25.0 % of the rows" in page
    assert f"50.0 % of these rows go to an expensive expert as it works now, {100 * found.held:.1f} % by the" in page
    assert f" by the one proposed: {-more:.3g} usd less per 1,000 items." in page
    assert "| the scores |" in page and "Drift: 400 rows of version 1" in page
    assert "askless promote askless-t VERSION --by-hand --reason TEXT" in page
    assert "cannot promise" in page and "defers the share of calibration again." in page
    assert len(page.splitlines()) < 60


def test_rows_as_they_would_have_been_decided_are_what_the_new_version_is_held_against(loaded, proposed):  # noqa: F811
    found, now, folder = proposed
    rows = baseline.read(folder / "bundle")
    assert rows["text"].null_count == rows.num_rows == now.num_rows
    sent = np.array([bool(each) for each in rows["asked"].to_pylist()])
    assert sent.mean() == found.held
    assert rows["agree"].equals(now["agree"]) and rows["paid"].equals(now["paid"])
    # Measured against itself the new version has not drifted, though the old one had.
    assert not look(rows, redecided(loaded, now, Budget(share=found.after)), rows, level=0.05).alarm


def test_who_is_newly_asked_costs_the_mean_and_who_is_not_is_free(loaded, proposed):  # noqa: F811
    _, now, _ = proposed
    paid = now["paid"].to_numpy(zero_copy_only=False)
    everybody, nobody = (redecided(loaded, now, Budget(share=share)) for share in (1.0, 0.0))
    assert everybody["cost"].to_numpy() == pytest.approx(np.where(np.isnan(paid), np.nanmean(paid), paid))
    assert set(everybody["expert"].to_pylist()) == {"llm"}
    assert nobody["cost"].to_numpy() == pytest.approx(0.0, abs=1e-12)
    assert set(nobody["expert"].to_pylist()) == {"small"}


def test_where_no_dial_keeps_the_share_the_page_says_so(loaded):  # noqa: F811
    before, now = logged(TEXTS), logged(BEYOND, audits=0.0)
    found = recalibrate(loaded, None, before, now, texts_of(now, BEYOND), margin=0.01, confidence=0.95)
    page = reasons(look(before, now, now, level=0.05), found, now, "askless-t", "usd")
    assert "**Proposed: `budget` its own rule -> `0`.**" in page
    assert "**No operating point defers the share of calibration again:**" in page


def test_all_of_a_proposal_is_written_or_nothing(loaded, champion, proposed, tmp_path, monkeypatch):  # noqa: F811
    found, now, _ = proposed

    def full(*_):
        raise DataError("disk", "full", "room", "Make some.")

    monkeypatch.setattr(baseline, "write", full)
    with pytest.raises(DataError):
        write(tmp_path / "proposals/p", Bundle.load(champion), now, found, "page")
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []

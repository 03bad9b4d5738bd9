"""Two LLMs of which only is known who was right: no policy sees it, given as it is or as labels."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from askless.data.recorded import load
from askless.errors import DataError
from askless.plans.evaluate import evaluate
from tests.realdata import real_folder

pytestmark = pytest.mark.realdata
NAMES = {"mixtral": ("mistralai/Mixtral-8x7B-Instruct-v0.1", 0.0006), "gpt-4": ("gpt-4-1106-preview", 0.0247)}
EVERY = 7


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("judged")
    rows = pq.read_table(real_folder() / "routellm" / "mmlu_mixtral_gpt4.parquet").to_pydict()
    rows = {name: values[::EVERY] for name, values in rows.items()}
    ids = [f"m{k}" for k in range(len(rows["prompt"]))]
    items = {"id": ids, "text": rows["prompt"], "group": rows["subject"]}
    pq.write_table(pa.table(items), folder / "items.parquet")
    pq.write_table(pa.table(items | {"label": ["True"] * len(ids)}), folder / "gold.parquet")
    for name, (column, cost) in NAMES.items():
        said = {"id": ids, "expert": [name] * len(ids), "correct": rows[column], "cost_usd": [cost] * len(ids)}
        pq.write_table(pa.table(said), folder / f"{name}.parquet")
    return folder


def test_judgements_as_labels_are_refused(files):
    with pytest.raises(DataError, match="every gold label is 'True'"):
        load(files / "gold.parquet", [files / f"{e}.parquet" for e in NAMES], columns={"label": "correct"})


def test_no_policy_comes_near_the_oracle(files):
    study = load(files / "items.parquet", [files / f"{e}.parquet" for e in NAMES])
    assert (study.judged, study.experts) == ("correct", ("mixtral", "gpt-4"))
    kinds = ["two_tier", "query_allocator", "length", "random"]
    done = evaluate(study, policies=kinds, seeds=(0,), bootstrap=40)
    large, oracle = (done["policies"][name]["quality"] for name in ("always_gpt-4", "oracle"))
    assert oracle > large + 0.05
    for kind in kinds:
        assert done["policies"][kind]["peak"]["quality"]["value"] < large + 0.02
        assert done["policies"][kind]["auc"] < done["policies"]["oracle"]["auc"] - 0.05

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import csv

from deferral import datasets
from deferral.config import Source
from deferral.errors import ConfigError, DataError

WANTED = {"text": ["a b", "c"], "label": ["1", None], "group": [None, None], "source_id": ["7", "8"]}


def read(kind, path, **options):
    return datasets.read(Source(kind=kind, **options), path).to_pydict()


def test_csv(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("\ufefftext,label,source_id,more\na b,1,7,x\nc,,8,\n", encoding="utf-8")
    assert read("csv", path) == WANTED


@pytest.mark.parametrize("labels", [["1", None], [1, None], [1.0, None], pa.array([1.0, float("nan")])])
def test_parquet(tmp_path, labels):
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"text": ["a b", "c"], "label": labels, "source_id": [7, 8]}), path)
    assert read("parquet", path) == WANTED


@pytest.mark.parametrize("ends", [("", "\n", "\n"), ("[", ",", "]")])
def test_jsonl(tmp_path, ends):
    path = tmp_path / "x.jsonl"
    first, between, last = ends
    path.write_text(
        f'{first}{{"text": "a b", "label": 1, "source_id": 7}}{between}{{"source_id": "8", "text": "c"}}{last}'
    )
    assert read("jsonl", path) == WANTED


def test_no_label_column(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("text,labels\na,1\n")
    with pytest.raises(DataError, match=r"missing column 'label' \(columns are \['text', 'labels'\]\)"):
        read("csv", path)


def test_truncated_parquet(tmp_path):
    path = tmp_path / "x.parquet"
    path.write_bytes(b"PAR1 and no more")
    with pytest.raises(DataError, match="unreadable .* Allowed: a whole Parquet file"):
        read("parquet", path)


def test_demo_is_generated_and_read_back(tmp_path):
    source = Source(kind="demo", rows=50, seed=3)
    made = datasets.read(source)
    assert made.schema == datasets.RAW and made.num_rows == 50
    assert set(made["label"].to_pylist()) == {"0", "1"} and None not in made["group"].to_pylist()
    assert made == datasets.read(source) and made != datasets.read(Source(kind="demo", rows=50, seed=4))
    csv.write_csv(made, tmp_path / "demo.csv")
    assert datasets.read(source, tmp_path / "demo.csv") == made
    with pytest.raises(ConfigError, match="Set rows"):
        datasets.read(Source(kind="demo"))

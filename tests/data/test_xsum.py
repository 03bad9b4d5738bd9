import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from askless.config import Source
from askless.data import readers, sources
from askless.errors import DataError


def written(path, **columns):
    pq.write_table(pa.table(columns), path)
    return path


@pytest.mark.parametrize("ids", [["7", "8"], [7, 8]])
def test_a_split_of_the_public_copy(tmp_path, ids):
    path = written(tmp_path / "0000.parquet", id=ids, summary=["r", ""], document=["one\ntwo", ""], more=[1, 2])
    assert readers.read(Source(kind="xsum"), path).to_pydict() == {
        "text": ["one\ntwo", ""],
        "label": [None, None],
        "reference": ["r", None],
        "group": [None, None],
        "source_id": ["7", "8"],
    }
    assert readers.read(Source(kind="xsum", rows=1), path).num_rows == 1


def test_another_parquet_file(tmp_path):
    path = written(tmp_path / "0000.parquet", text=["a"], reference=["b"])
    with pytest.raises(DataError, match="no column 'document'. Allowed: one of text, reference"):
        readers.read(Source(kind="xsum"), path)


def test_the_public_file_is_taken_from_a_mirror_by_its_name(tmp_path, monkeypatch):
    (tmp_path / "xsum").mkdir()
    mirrored = written(tmp_path / "xsum" / "0000.parquet", id=["7"], summary=["r"], document=["d"])
    monkeypatch.setenv("ASKLESS_MIRROR", str(tmp_path / "xsum"))
    assert sources.obtain(Source(kind="xsum"), tmp_path / "raw").read_bytes() == mirrored.read_bytes()

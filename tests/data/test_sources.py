import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from askless.config import Source, VectorSource
from askless.data import sources
from askless.errors import ConfigError, DataError

CONTENT = bytes(range(256)) * 9_000
SHA = hashlib.sha256(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Serves CONTENT with ranges; the server's `plan` says how each next request misbehaves."""

    def do_GET(self):  # noqa: N802
        self.server.asked.append(self.headers.get("Range"))
        act = self.server.plan.pop(0) if self.server.plan else "serve"
        if isinstance(act, int):
            return self.send_error(act)
        start = 0
        matches = self.headers.get("If-Range") in (None, self.server.tag)
        if (wanted := self.headers.get("Range")) and matches:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
        if start >= len(CONTENT):
            return self.send_error(416)
        self.send_response(206 if start else 200)
        if self.server.tag:
            self.send_header("ETag", self.server.tag)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
        body = CONTENT[start:]
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: self.server.cut] if act == "break" else body)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setenv("ASKLESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("ASKLESS_MIRROR", raising=False)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        httpd.plan, httpd.asked, httpd.tag, httpd.cut = [], [], '"v1"', 1_200_000
        httpd.url = f"http://127.0.0.1:{httpd.server_port}/raw/file.bin"
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield httpd
        httpd.shutdown()
        thread.join()


def source(url=None, path=None, sha256=None):
    return Source(kind="csv", url=url, path=path, sha256=sha256)


def left_over(folder):
    return sorted(p.name for p in Path(folder).iterdir()) if Path(folder).exists() else []


def test_downloads_once_and_then_takes_the_kept_file(server, tmp_path):
    got = sources.obtain(source(server.url, sha256=SHA), tmp_path / "raw")
    assert got == tmp_path / "raw" / "file.bin" and got.read_bytes() == CONTENT
    got.unlink()
    sources.obtain(source(server.url, sha256=SHA.upper()), tmp_path / "raw")
    assert got.read_bytes() == CONTENT and server.asked == [None]
    assert [name for name in left_over(tmp_path / "cache") if not name.endswith("-file.bin")] == []


def test_goes_on_within_a_run_where_the_connection_broke(server, tmp_path):
    server.plan = ["break"]
    got = sources.obtain(source(server.url, sha256=SHA), tmp_path / "raw")
    assert got.read_bytes() == CONTENT
    assert len(server.asked) == 2 and server.asked[1] == "bytes=1048576-"


def test_goes_on_in_a_later_run(server, tmp_path):
    server.plan = ["break", 503, 503]
    with pytest.raises(
        DataError, match=r"HTTP status 503.*Run again \(1,048,576 bytes are kept and it goes on there\)"
    ):
        sources.obtain(source(server.url), tmp_path / "raw")
    assert left_over(tmp_path / "raw") == []
    got = sources.obtain(source(server.url), tmp_path / "raw")
    assert got.read_bytes() == CONTENT and server.asked[-1] == "bytes=1048576-"


def test_starts_anew_where_the_server_has_another_version(server, tmp_path):
    server.plan = ["break", 503, 503]
    with pytest.raises(DataError):
        sources.obtain(source(server.url), tmp_path / "raw")
    server.tag = '"v2"'
    assert sources.obtain(source(server.url), tmp_path / "raw").read_bytes() == CONTENT


@pytest.mark.parametrize(("sha256", "resumed"), [(None, None), (SHA, "bytes=1048576-")])
def test_goes_on_without_a_version_only_if_a_checksum_follows(server, tmp_path, sha256, resumed):
    server.tag, server.plan = None, ["break"]
    got = sources.obtain(source(server.url, sha256=sha256), tmp_path / "raw")
    assert got.read_bytes() == CONTENT and server.asked[1] == resumed


def test_a_part_file_that_is_too_long_is_dropped(server, tmp_path):
    server.plan = ["break", 503, 503]
    with pytest.raises(DataError):
        sources.obtain(source(server.url, sha256=SHA), tmp_path / "raw")
    [part] = (tmp_path / "cache").glob("*.part")
    part.write_bytes(CONTENT + b"more")
    assert sources.obtain(source(server.url, sha256=SHA), tmp_path / "raw").read_bytes() == CONTENT


def test_a_wrong_checksum_leaves_nothing(server, tmp_path):
    with pytest.raises(DataError, match=f"a download with SHA-256 {SHA}. Allowed: SHA-256 {'0' * 64}. Download again"):
        sources.obtain(source(server.url, sha256="0" * 64), tmp_path / "raw")
    assert left_over(tmp_path / "raw") == left_over(tmp_path / "cache") == []


def test_a_missing_page_is_not_tried_twice(server, tmp_path):
    server.plan = [404, "serve"]
    with pytest.raises(
        DataError, match=r"HTTP status 404. Allowed: .* put file.bin into the folder named by ASKLESS_M"
    ):
        sources.obtain(source(server.url), tmp_path / "raw")
    assert len(server.asked) == 1


def test_no_network(tmp_path, monkeypatch):
    monkeypatch.setenv("ASKLESS_CACHE", str(tmp_path / "cache"))
    with pytest.raises(
        DataError, match=r"not reachable or broken off \(ConnectionError\).*Run again, or put x.csv into"
    ):
        sources.obtain(source("http://127.0.0.1:9/x.csv"), tmp_path / "raw")
    assert left_over(tmp_path / "raw") == left_over(tmp_path / "cache") == []


def test_mirror_is_looked_at_first_and_by_file_name(server, tmp_path, monkeypatch):
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    (mirror / "file.bin").write_bytes(b"mirrored")
    monkeypatch.setenv("ASKLESS_MIRROR", str(mirror))
    assert sources.obtain(source(server.url), tmp_path / "raw").read_bytes() == b"mirrored"
    assert sources.obtain(source(path=tmp_path / "absent" / "file.bin"), tmp_path / "raw").read_bytes() == b"mirrored"
    assert server.asked == []
    with pytest.raises(DataError, match=f"mirror/file.bin: SHA-256 .* Allowed: {SHA}"):
        sources.obtain(source(server.url, sha256=SHA), tmp_path / "other")
    assert left_over(tmp_path / "other") == []
    (mirror / "file.bin").unlink()
    assert sources.obtain(source(server.url), tmp_path / "raw").read_bytes() == CONTENT


def test_mirror_that_is_no_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("ASKLESS_MIRROR", str(tmp_path / "none"))
    with pytest.raises(ConfigError, match="Allowed: a folder of raw files"):
        sources.obtain(source(path=tmp_path / "x.csv"), tmp_path / "raw")


def test_path_is_copied_and_checked(tmp_path, monkeypatch):
    monkeypatch.delenv("ASKLESS_MIRROR", raising=False)
    given = tmp_path / "given.csv"
    given.write_bytes(CONTENT)
    assert sources.obtain(source(path=given, sha256=SHA), tmp_path / "raw").read_bytes() == CONTENT
    assert sources.obtain(source(path=given), tmp_path) == given
    with pytest.raises(DataError, match="sha256 in params.yaml"):
        sources.obtain(source(path=given, sha256="1" * 64), tmp_path / "raw2")
    with pytest.raises(DataError, match="absent.csv: no such file .for posts.*put absent.csv into the folder"):
        sources.obtain(source(path=tmp_path / "absent.csv"), tmp_path / "raw2", "posts")
    with pytest.raises(DataError, match="a folder .for posts.. Allowed: a file that exists"):
        sources.obtain(source(path=tmp_path / "raw"), tmp_path / "raw2", "posts")
    assert left_over(tmp_path / "raw2") == []


def test_no_address(tmp_path):
    with pytest.raises(ConfigError, match=r"Source of csv: got neither path nor url.*'glove', 'keswani', 'olhs'"):
        sources.obtain(source(), tmp_path)
    with pytest.raises(ConfigError, match="http:// or https://"):
        sources.obtain(source("ftp://host/file"), tmp_path)


def test_public_addresses_stand_in_for_a_url(tmp_path, monkeypatch):
    monkeypatch.setenv("ASKLESS_MIRROR", str(tmp_path))
    (tmp_path / "glove.6B.zip").write_bytes(b"not the real one")
    with pytest.raises(DataError, match=sources.PUBLIC["glove"].sha256):
        sources.obtain(VectorSource(kind="glove"), tmp_path / "raw")
    (tmp_path / "labelled_data.npy").write_bytes(b"no checksum is known")
    assert sources.obtain(Source(kind="keswani"), tmp_path / "raw").name == "labelled_data.npy"


def test_a_folder_that_cannot_be_written(tmp_path, monkeypatch):
    monkeypatch.delenv("ASKLESS_MIRROR", raising=False)
    given = tmp_path / "given.csv"
    given.write_bytes(b"x")
    with pytest.raises(DataError, match="could not be written"):
        sources.obtain(source(path=given), given / "raw")


def test_a_cache_that_cannot_be_written(server, tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("ASKLESS_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(DataError, match="Free space or set ASKLESS_CACHE"):
        sources.obtain(source(server.url), tmp_path / "raw")

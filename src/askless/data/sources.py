"""Where raw files come from: a mirror folder, a path, or a URL with a checksum and a download that resumes."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import urlparse

from askless.config import Source, VectorSource
from askless.errors import ConfigError, DataError
from askless.files import replacing, sha256_of, write_text

MIRROR, CACHE = "ASKLESS_MIRROR", "ASKLESS_CACHE"
CHUNK = 1 << 20
TIMEOUT = (10.0, 60.0)
PARTIAL, UNSATISFIABLE = 206, 416


class Address(NamedTuple):
    """Where a public file is, and its checksum in hexadecimal, where it is known."""

    url: str
    sha256: str | None = None


PUBLIC: Mapping[str, Address] = {
    "olhs": Address(
        "https://raw.githubusercontent.com/t-davidson/hate-speech-and-offensive-language/master/data/labeled_data.csv",
        "fcb8bc7c68120ae4af04a5b9acd58585513ede11e1548ebf36a5c2040b6f6281",
    ),
    "keswani": Address(
        "https://raw.githubusercontent.com/vijaykeswani/Deferral-To-Multiple-Experts/main/output/labelled_data.npy"
    ),
    # Made by Hugging Face from the authors' archive, and made anew at times: no checksum is stated.
    "xsum": Address(
        "https://huggingface.co/datasets/EdinburghNLP/xsum/resolve/refs%2Fconvert%2Fparquet/default/test/0000.parquet"
    ),
    "glove": Address(
        "https://nlp.stanford.edu/data/glove.6B.zip",
        "617afb2fe6cbd085c235baf7a465b96f4112bd7f7ccb2b2cbd649fed9cbcf2fb",
    ),
}


def obtain(source: Source | VectorSource, into: Path | str, name: str = "") -> Path:
    """A copy of the raw file of a source in the folder `into`, checked against its SHA-256 where one is known.

    Looked at in this order: the folder named by `ASKLESS_MIRROR` (by file name, its subfolders too), `source.path`,
    `source.url` (or the public address of its kind). Downloads are kept, and resumed, in the folder named by
    `ASKLESS_CACHE`. `name` is what messages call the source, its kind if not given.

    Raises `ConfigError` where the source names no file, `DataError` where the file is missing, unreachable or not the
    one meant; nothing is left in `into` then.
    """
    name = name or source.kind
    address = _address(source, name)
    file = _file(source, address)
    found = at_hand(source, name) or _downloaded(address, file, name)
    if not found.is_file():
        raise DataError(
            found,
            f"{'a folder' if found.is_dir() else 'no such file'} (for {name})",
            "a file that exists",
            f"Correct the path, or put {file} into the folder named by {MIRROR}.",
        )
    verify(found, address.sha256)
    target = Path(into) / file
    if not (target.exists() and target.samefile(found)):
        with replacing(target) as part:
            shutil.copyfile(found, part)
    return target


def at_hand(source: Source | VectorSource, name: str = "") -> Path | None:
    """The file of a source on this machine, which may be missing; None for one that is downloaded."""
    return _mirrored(_file(source, _address(source, name or source.kind))) or source.path


def _file(source: Source | VectorSource, address: Address) -> str:
    return source.path.name if source.path else PurePosixPath(urlparse(address.url).path).name


def verify(path: Path, sha256: str | None) -> None:
    """Raise `DataError` unless the file has this SHA-256 (in hexadecimal); None stands for any."""
    if sha256 is None:
        return
    got = sha256_of(path)
    if got != sha256.lower():
        raise DataError(
            path,
            f"SHA-256 {got}",
            sha256.lower(),
            "Fetch the original file again, or correct sha256 in params.yaml if this file is the one meant.",
        )


def _address(source: Source | VectorSource, name: str) -> Address:
    """The URL and checksum that count for a source; the URL is empty where a path is given."""
    if source.path:
        return Address("", source.sha256)
    known = PUBLIC.get(source.kind)
    url = source.url or (known.url if known else None)
    if url is None:
        raise ConfigError(f"Source of {name}: got neither path nor url. Set one, or use a kind of {sorted(PUBLIC)}.")
    if urlparse(url).scheme not in ("http", "https") or not PurePosixPath(urlparse(url).path).name:
        raise ConfigError(f"Source of {name}: got url {url!r}. Allowed: http:// or https:// and a file. Correct it.")
    public = next((address.sha256 for address in PUBLIC.values() if address.url == url), None)
    return Address(url, source.sha256 or public)


def _mirrored(file: str) -> Path | None:
    folder = os.environ.get(MIRROR)
    if not folder:
        return None
    if not Path(folder).is_dir():
        raise ConfigError(f"{MIRROR}: got {folder!r}. Allowed: a folder of raw files. Create it or unset the variable.")
    return next((path for path in sorted(Path(folder).rglob(file)) if path.is_file()), None)


def _downloaded(address: Address, file: str, name: str) -> Path:
    import pooch

    folder = Path(os.environ.get(CACHE) or pooch.os_cache("askless"))
    label = hashlib.sha256(address.url.encode()).hexdigest()[:8]
    pooch.get_logger().setLevel("ERROR")
    try:
        return Path(
            pooch.retrieve(
                address.url,
                known_hash=f"sha256:{address.sha256.lower()}" if address.sha256 else None,
                fname=f"{label}-{file}",
                path=folder,
                downloader=Download(folder / f"{label}-{file}.part", name, checked=bool(address.sha256)),
            )
        )
    except ValueError as error:
        found = re.search(r"but got (?:sha256:)?([0-9a-f]{64})", str(error))
        raise DataError(
            address.url,
            f"a download with SHA-256 {found[1] if found else 'unknown'}",
            f"SHA-256 {address.sha256}",
            f"Download again; if it stays so the file has changed: put the original into the folder named by {MIRROR}.",
        ) from None
    except OSError as error:
        raise DataError(
            folder, f"could not be written ({error})", "a writable folder with room", f"Free space or set {CACHE}."
        ) from error


class Download:
    """A downloader for pooch: it shows its progress, and goes on where an interrupted download stopped.

    It goes on only where a mix of two versions would be noticed: the server names the version, or all is `checked`.

    Parameters
    ----------
    part
        The file that holds what has come so far.
    name
        What the progress bar and messages call it.
    checked
        Whether the whole is held to a checksum afterwards.
    attempts
        How often it is tried, 1 or more.
    """

    def __init__(self, part: Path, name: str, *, checked: bool = False, attempts: int = 3) -> None:
        self.part, self.name, self.checked, self.attempts = part, name, checked, attempts

    def __call__(self, url: str, output_file: str | Path, caller: Any, check_only: bool = False) -> None:
        """Fetch `url` into `output_file` by way of the part file; `DataError` where it cannot be had."""
        import requests

        for attempt in range(1, self.attempts + 1):
            try:
                self._fetch(url)
                break
            except requests.HTTPError as error:
                status = 0 if error.response is None else error.response.status_code
                if (status < 500 and status != UNSATISFIABLE) or attempt == self.attempts:
                    raise self._failed(url, f"HTTP status {status}") from None
            except requests.RequestException as error:
                if attempt == self.attempts:
                    raise self._failed(url, f"not reachable or broken off ({type(error).__name__})") from None
        shutil.move(self.part, output_file)
        self._tag.unlink(missing_ok=True)

    @property
    def _tag(self) -> Path:
        """Where the server's name for the version of a half-loaded file is kept."""
        return self.part.with_suffix(".tag")

    def _fetch(self, url: str) -> None:
        import requests
        from tqdm import tqdm

        have = self._kept()
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
        if have and self._tag.exists():
            headers["If-Range"] = self._tag.read_text(encoding="utf-8")
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
            resumed = answer.status_code == PARTIAL
            if resumed and not answer.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
                raise requests.exceptions.InvalidHeader
            if answer.status_code == UNSATISFIABLE:
                self.part.unlink()
            answer.raise_for_status()
            have = have if resumed else 0
            self._remember(answer.headers)
            total = int(answer.headers.get("Content-Length", 0)) + have or None
            with (
                open(self.part, "ab" if resumed else "wb") as file,
                tqdm(total=total, initial=have, desc=self.name, unit="B", unit_scale=True, disable=None) as bar,
            ):
                for chunk in answer.iter_content(CHUNK):
                    file.write(chunk)
                    bar.update(len(chunk))

    def _kept(self) -> int:
        """Bytes of an earlier try that can be gone on from."""
        return self.part.stat().st_size if self.part.exists() and (self.checked or self._tag.exists()) else 0

    def _remember(self, headers: Mapping[str, str]) -> None:
        tag = headers.get("ETag", "")
        tag = headers.get("Last-Modified", "") if not tag or tag.startswith("W/") else tag
        if tag:
            write_text(self._tag, tag)
        else:
            self._tag.unlink(missing_ok=True)

    def _failed(self, url: str, got: str) -> DataError:
        file = PurePosixPath(urlparse(url).path).name
        kept = self._kept()
        return DataError(
            url,
            got,
            "a server that gives the file",
            f"Run again{f' ({kept:,} bytes are kept and it goes on there)' if kept else ''}, "
            f"or put {file} into the folder named by {MIRROR}.",
        )

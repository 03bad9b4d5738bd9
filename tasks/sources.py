"""The files outside the pipeline that a task reads: links, by which DVC sees that one changed, and their digests."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from askless import config, experts
from askless.data import readers, sources
from askless.errors import DataError
from askless.experts.recorded import RecordedExpert
from askless.files import read_json, replacing_folder, sha256_of, write_text

DIGESTS = "files"


def read_by(settings: config.Params, name: str) -> dict[str, dict[str, Path]]:
    """By stage the files that it reads and nobody here made, under the names that params.yaml gives them.

    Where a file is in the folder of `ASKLESS_MIRROR` it is that one. What is downloaded has a checksum of its own.
    """
    about, train = settings.task(name), settings.train[name]
    found: dict[str, dict[str, Path]] = {}
    for stage, source in (("prepare", about.source), ("embed", about.vectors)):
        if source is not None and source.kind not in readers.WITHOUT_FILE and (path := sources.at_hand(source)):
            found[stage] = {str(source.path or source.url or source.kind): path}
    llms = settings.llms(name)
    own = [expert for expert in dict.fromkeys((train.small, *train.baselines)) if expert not in llms]
    for stage, asked in {**{f"generate/{llm}": [llm] for llm in llms}, "train": own}.items():
        options = [settings.expert(expert) for expert in asked]
        recorded = [o["path"] for o in options if o.get("path") and _recorded(o)]
        found |= {stage: {str(path): Path(path) for path in recorded}} if recorded else {}
    return found


def _recorded(options: config.Options) -> bool:
    return issubclass(experts.resolve(options["backend"]), RecordedExpert)


def digests(files: Mapping[str, Path], noted: Path) -> dict[str, str]:
    """The SHA-256 of each file by its name; of one that is not here, as in a pulled clone, the one `noted` last.

    Raises `DataError` for a file that never was here.
    """
    before = read_json(noted).get(DIGESTS, {}) if noted.exists() else {}
    found = {}
    for name, path in files.items():
        if path.is_file():
            found[name] = sha256_of(path)
        elif name in before:
            found[name] = before[name]
        else:
            raise DataError(path, "no such file", "a file that exists", f"Correct the path {name} in params.yaml.")
    return found


def digest_of_folder(folder: Path) -> str:
    """One digest for the names and contents of all tables in a folder."""
    listed = "".join(f"{sha256_of(path)}  {path.name}\n" for path in sorted(folder.glob("*.parquet")))
    return hashlib.sha256(listed.encode()).hexdigest()


def link(files: Mapping[str, Mapping[str, Path]], folder: Path, answered: Path | None) -> None:
    """Let DVC look at these files, and at all in `answered` if that is given, as if they were in `folder`.

    It follows a link to a file in a folder, and one to a folder that stands alone.
    """
    with replacing_folder(folder / "files") as part:
        write_text(part / ".gitkeep", "")
        for stage, named in files.items():
            for number, path in enumerate(path for path in named.values() if path.is_file()):
                (part / f"{stage.replace('/', '-')}-{number}-{path.name}").symlink_to(path.absolute())
    place, part = folder / "answered", folder / ".answered.part"
    part.unlink(missing_ok=True)
    if answered is None:
        part.write_text("train.<task>.distil is null: nothing is learnt from new items.\n", encoding="utf-8")
    else:
        answered.mkdir(parents=True, exist_ok=True)
        part.symlink_to(answered.absolute())
    os.replace(part, place)

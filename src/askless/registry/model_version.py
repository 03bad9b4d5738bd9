"""One version of a registered model as plain values, and the words for what was decided about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

PROMOTED, REFUSED, RESTORED, ROLLED_BACK = "promoted", "refused", "restored", "rolled back"
TEXTS = ("task", "kind", "seed", "unit", "headline", "threshold", "dvc_lock_sha256", "git_commit")
DECIDED = ("verdict", "reason", "decided", "proposed_by")


@dataclass(frozen=True)
class Version:
    """One version of a registered model, and what its tags say; a number that was not written down is None.

    `quality` and `cost_per_1k` are those of the headline at registration. At its operating point, chosen on valid,
    `budget` is the share of items deferred and `threshold` what each is held against. `verdict` (promoted, refused,
    restored or rolled back), `reason` and `decided` tell the last decision about it, `replaced` whom it followed as
    champion, `proposed_by` who proposed what a person is to decide about.
    """

    model: str
    number: int
    aliases: tuple[str, ...]
    run_id: str
    created: str
    task: str
    kind: str
    experts: tuple[str, ...]
    seed: str
    unit: str
    headline: str
    quality: float | None
    cost_per_1k: float | None
    budget: float | None
    threshold: str
    dvc_lock_sha256: str
    git_commit: str
    verdict: str
    reason: str
    decided: str
    proposed_by: str
    replaced: int | None

    @classmethod
    def of(cls, entry: Any, aliases: Sequence[str]) -> Version:
        """From what MLflow says of it."""
        tags: Mapping[str, str] = entry.tags
        return cls(
            model=entry.name,
            number=int(entry.version),
            aliases=tuple(sorted(aliases)),
            run_id=entry.run_id or tags.get("run_id", ""),
            created=when(entry.creation_timestamp / 1000),
            experts=tuple(filter(None, tags.get("experts", "").split(","))),
            quality=_number(tags.get("quality")),
            cost_per_1k=_number(tags.get("cost_per_1k")),
            budget=_number(tags.get("budget")),
            replaced=int(tags["replaced"]) if tags.get("replaced") else None,
            **{name: tags.get(name, "") for name in (*TEXTS, *DECIDED)},
        )

    @property
    def address(self) -> str:
        """Where its bundle is, for ever."""
        return f"models:/{self.model}/{self.number}"

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self) | {"address": self.address}


def when(seconds: float) -> str:
    """A time since 1970 as a date and a time of day in UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _number(text: str | None) -> float | None:
    return None if text in (None, "", "None") else float(str(text))

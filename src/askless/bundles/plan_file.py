"""A plan as files: `plan.yaml`, a page that a person reviews, and the bundle in `plan.files` that decides by it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from askless.bundles.bundle import Bundle, files_of
from askless.experts.base import Expert
from askless.files import write_text
from askless.plans.plan import Plan
from askless.policies.state import plain

FORMAT = "askless/plan/4"
HEAD = "A plan made by askless. Experts are in order of their mean cost, the cheapest first."
_Dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class _Blocks(_Dumper):  # type: ignore[misc]
    """Mappings one key a line, lists of plain values on one."""


_Blocks.add_representer(
    list,
    lambda dumper, values: dumper.represent_sequence(
        "tag:yaml.org,2002:seq", values, flow_style=not any(isinstance(v, (list, dict)) for v in values)
    ),
)


def write(plan: Plan, path: Path | str, facts: Mapping[str, Any] = {}, small: Expert | None = None) -> Bundle:
    """Write the page of `plan` to `path` and its bundle beside it.

    Parameters
    ----------
    plan
        Made, ready to decide.
    path
        Of the page, `.yaml`.
    facts
        More of the bundle's facts, such as its `task`.
    small
        The small expert, where it was trained with the plan; left out where the plan does not ask it.

    Returns
    -------
    Bundle
        Decides as the plan does. It knows the page by its digest: one that was changed is refused when it is loaded.
    """
    path, text = Path(path), page(plan)
    about = {
        "seed": 0,
        "unit": plan.unit,
        "budget": _budget(plan),
        "promised": plan.promised,
        "page": hashlib.sha256(text.encode()).hexdigest(),
        **facts,
    }
    asked = small if small is not None and small.name in plan.policy.experts else None
    bundle = Bundle.of(plan.policy, plan.classes, about, asked).save(files_of(path))
    write_text(path, text)
    return bundle


def _budget(plan: Plan) -> dict[str, float] | None:
    return {k: v for k, v in vars(plan.budget).items() if v is not None} if plan.budget else None


def page(plan: Plan) -> str:
    """What a person reviews: what the plan says in words, then the same and more as YAML."""
    comments = "".join(f"# {line}\n" for line in (HEAD, *plan.words()))
    return comments + yaml.dump(as_dict(plan), Dumper=_Blocks, sort_keys=False, allow_unicode=True, width=120)


def as_dict(plan: Plan) -> dict[str, Any]:
    """The plan as plain values in the order a reader wants them; what the policy has learnt is in the bundle."""
    values = {
        "format": FORMAT,
        "goal": plan.goal.as_dict(),
        "experts": list(plan.policy.experts),
        "reference": plan.reference,
        "classes": list(plan.classes),
        "unit": plan.unit,
        "budget": _budget(plan),
        "certify": plan.certify,
        "promise": asdict(plan.promise),
        "certificate": plan.certificate and asdict(plan.certificate),
        "notes": list(plan.notes),
        "looks": [asdict(look) for look in plan.seen.looks],
        "policy": {
            "kind": plan.kind,
            "arguments": {k: v for k, v in plan.policy.get_params().items() if k != "experts"},
        },
    }
    return {name: plain(value) for name, value in values.items()}

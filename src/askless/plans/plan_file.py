"""A plan as a YAML file that a person can review and a program can decide with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from askless import policies as registry
from askless.errors import AsklessError, DataError
from askless.files import read_yaml, write_text
from askless.plans.plan import FittedRows, Goal, Plan, Promise, StepSummary
from askless.policies.base import Budget
from askless.policies.state import plain
from askless.stats.guarantees import Certificate

FORMAT = "askless/plan/3"
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


def write(plan: Plan, path: Path | str) -> Path:
    """Write `plan` to `path`, what it says in words as comments at the top."""
    comments = "".join(f"# {line}\n" for line in (HEAD, *plan.words()))
    body = yaml.dump(as_dict(plan), Dumper=_Blocks, sort_keys=False, allow_unicode=True, width=120)
    return write_text(path, comments + body)


def read(path: Path | str) -> Plan:
    """The plan in `path`, its policy ready to decide; raises `DataError` for a file that is none or is damaged."""
    path = Path(path)
    if not path.is_file():
        raise DataError(path, "no such file", "a plan written by `askless plan`", "Make one, or correct the path.")
    try:
        found = read_yaml(path)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        first = str(error).splitlines()[0]
        raise DataError(path, f"not YAML ({first})", "a plan written by `askless plan`", "Plan again.") from error
    if not isinstance(found, Mapping) or found.get("format") != FORMAT:
        got = f"format {found.get('format')!r}" if isinstance(found, Mapping) else type(found).__name__
        raise DataError(path, got, f"format {FORMAT!r}", "Plan again with this version.")
    try:
        return from_dict(found)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, AsklessError) as error:
        why = f"no key {error}" if isinstance(error, KeyError) else str(error)
        raise DataError(path, f"a damaged plan ({why})", "the file as it was written", "Plan again.") from error


def as_dict(plan: Plan) -> dict[str, Any]:
    """The plan as plain values in the order a reader wants them."""
    values = {
        "format": FORMAT,
        "goal": plan.goal.as_dict(),
        "experts": list(plan.policy.experts),
        "reference": plan.reference,
        "classes": list(plan.classes),
        "unit": plan.unit,
        "budget": {k: v for k, v in vars(plan.budget).items() if v is not None} if plan.budget else None,
        "certify": plan.certify,
        "promise": asdict(plan.promise),
        "certificate": plan.certificate and asdict(plan.certificate),
        "notes": list(plan.notes),
        "looks": [asdict(look) for look in plan.seen.looks],
        "policy": {
            "kind": plan.kind,
            "arguments": {k: v for k, v in plan.policy.get_params().items() if k != "experts"},
            "learnt": plan.policy.state(),
        },
        "seen": {k: v for k, v in asdict(plan.seen).items() if k != "looks"},
    }
    return {name: plain(value) for name, value in values.items()}


def from_dict(found: Mapping[str, Any]) -> Plan:
    """The plan that `as_dict` gave."""
    policy = registry.build(
        "policy", {"kind": found["policy"]["kind"], **found["policy"]["arguments"]}, experts=tuple(found["experts"])
    )
    policy.restore(found["policy"]["learnt"])
    promise, certificate, seen = found["promise"], found["certificate"], found["seen"]
    looks = tuple(StepSummary(**{**look, "threshold": tuple(look["threshold"])}) for look in found["looks"])
    spans = {k: tuple(promise[k]) for k in ("quality", "cost", "loss")}
    sample = {name: np.array(values, float) for name, values in seen["sample"].items()}
    return Plan(
        goal=Goal(**found["goal"]),
        kind=found["policy"]["kind"],
        policy=policy,
        budget=Budget(**found["budget"]) if found["budget"] else None,
        reference=found["reference"],
        classes=tuple(found["classes"]),
        unit=found["unit"],
        promise=Promise(**{**promise, **spans}),
        certificate=certificate
        and Certificate(**{**certificate, **{k: tuple(certificate[k]) for k in ("p_values", "terms")}}),
        seen=FittedRows(**{**seen, "looks": looks, "sample": sample}),
        notes=tuple(found["notes"]),
        certify=found["certify"],
    )

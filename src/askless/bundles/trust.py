"""What terms that came with a bundle may reach: addresses that somebody agreed to once, and keys of APIs alone."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from askless.errors import ConfigError
from askless.files import write_text

VARIABLE = "ASKLESS_TRUST"
KEY = re.compile(r"[A-Z][A-Z0-9_]*_API_KEY")
HERE = re.compile(r"https?://(localhost|127\.0\.0\.1|\[::1\])(:[0-9]+)?(/[^\\@]*)?")
OWN = "Give --params with a params.yaml of your own, which may say so."

Experts = Mapping[str, Mapping[str, Any]]


def check(experts: Experts, where: str, agreed: bool = False) -> None:
    """Refuse what nobody agreed to.

    Parameters
    ----------
    experts
        Expert to its options, as they came along.
    where
        Where from, for the message.
    agreed
        Whether the addresses are agreed to now; it is remembered for this user.

    Raises
    ------
    ConfigError
        For `trust_remote_code`, for a key's variable that does not end in _API_KEY, and for an address beyond this
        machine that was never agreed to, by this user or in the variable `ASKLESS_TRUST`.
    """
    for name, options in experts.items():
        if options.get("trust_remote_code"):
            raise ConfigError(
                f"{where}: expert '{name}' has trust_remote_code, which runs code that came along. "
                f"Allowed in terms that came along: false. {OWN}"
            )
        key = _variable(options)
        if not isinstance(key, str) or not KEY.fullmatch(key):
            raise ConfigError(
                f"{where}: expert '{name}' would send what the variable {key!r} holds. "
                f"Allowed in terms that came along: names that end in _API_KEY. {OWN}"
            )
    beyond = addresses(experts)
    if not beyond:
        return
    mark = digest(beyond)
    if agreed:
        _remember(mark, beyond)
    elif mark not in {*_remembered(), *os.environ.get(VARIABLE, "").split(",")}:
        asked = "; ".join(f"'{name}' at {url!r} with the key in {key}" for name, url, key in beyond)
        raise ConfigError(
            f"{where}: texts would be sent to {asked}. Allowed: addresses that you agreed to. Give --trust once, set "
            f"{VARIABLE}={mark} where nobody can type, or give --params with terms of your own."
        )


def addresses(experts: Experts) -> list[tuple[str, str, str]]:
    """Name, address and key's variable of each expert that is asked beyond this machine, at an address of its own."""
    return sorted(
        (name, str(options["base_url"]), str(_variable(options)))
        for name, options in experts.items()
        if options.get("base_url") is not None and not HERE.fullmatch(str(options["base_url"]))
    )


def _variable(options: Mapping[str, Any]) -> Any:
    """What names the variable that holds an expert's key."""
    return options.get("api_key_env", "OPENAI_API_KEY")


def digest(beyond: list[tuple[str, str, str]]) -> str:
    """By which an agreement to `addresses` is remembered: the same until one of them changes."""
    return hashlib.sha256(json.dumps(beyond).encode()).hexdigest()[:32]


def remembered_in() -> Path:
    """The file of what this user agreed to."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config", "askless", "trusted.json")


def _remembered() -> dict[str, Any]:
    try:
        found = json.loads(remembered_in().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _remember(mark: str, beyond: list[tuple[str, str, str]]) -> None:
    write_text(remembered_in(), json.dumps({**_remembered(), mark: beyond}, indent=1, sort_keys=True) + "\n")

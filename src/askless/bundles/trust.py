"""What terms that came with a bundle may reach: servers and hubs that somebody agreed to once, keys of APIs alone."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from askless import experts as backends
from askless.config import Costs, Price
from askless.errors import ConfigError
from askless.experts.local.checkpoint import DEMO
from askless.files import read_json, user_folder, write_text
from askless.hosts import is_local_url
from askless.text.packaged import PACKAGE

VARIABLE, REDIRECT = "ASKLESS_TRUST", "OPENAI_BASE_URL"
KEY = re.compile(r"[A-Z][A-Z0-9_]*_API_KEY")
OWN = "Give --params with a params.yaml of your own, which may say so."

Experts = Mapping[str, Mapping[str, Any]]
Server = tuple[str, Mapping[str, Any], Mapping[str, Any]]


def check(experts: Experts, costs: Costs, where: str, agreed: bool = False) -> None:
    """Refuse what nobody agreed to.

    Parameters
    ----------
    experts
        Expert to its options, as they came along.
    costs
        Their prices: what a spend limit means depends on them.
    where
        Where from, for the message.
    agreed
        Whether servers and models of the hub are agreed to now; it is remembered for this user.

    Raises
    ------
    ConfigError
        For `trust_remote_code`, for a key's variable that does not end in _API_KEY, and for a server beyond this
        machine, or a model that would be fetched from the hub, that was never agreed to, with these options and prices,
        by this user or in the variable `ASKLESS_TRUST`.
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
    beyond = reached(experts, costs)
    if not beyond:
        return
    mark = digest(beyond)
    if agreed:
        agree(experts, costs)
    elif mark not in {*_remembered(), *os.environ.get(VARIABLE, "").split(",")}:
        raise ConfigError(
            f"{where}: {'; '.join(map(_shown, beyond))}. Allowed: servers, models and prices that you agreed to. Give "
            f"--trust once, set {VARIABLE}={mark} where nobody can type, or give --params with terms of your own."
        )


def agree(experts: Experts, costs: Costs) -> None:
    """Remember that this user has asked them: terms that he wrote himself are not asked about when they come back."""
    if beyond := reached(experts, costs):
        _remember(digest(beyond), beyond)


def reached(experts: Experts, costs: Costs) -> list[Server]:
    """Name, options and price of each expert that is asked, or fetched, beyond this machine."""
    return [
        (name, options, vars(costs.prices.get(name, Price())))
        for name, options in sorted(experts.items())
        if _asked_beyond(name, options) or _fetched(options)
    ]


def _asked_beyond(name: str, options: Mapping[str, Any]) -> bool:
    url = options.get("base_url")
    if url is None:
        return backends.resolve(str(options.get("backend")), name).hosted
    return not is_local_url(str(url))


def _fetched(options: Mapping[str, Any]) -> bool:
    """Whether it runs here and its model would come from the hub: none that is shipped, installed or in a folder."""
    model = options.get("model")
    if not isinstance(model, str) or options.get("base_url") is not None:
        return False
    return not model.startswith((DEMO, PACKAGE)) and not Path(model).exists()


def _shown(server: Server) -> str:
    """A server, what it is asked with, and for what, or a model that would be fetched, in a line."""
    name, options, price = server
    url = options.get("base_url")
    others = {key: options[key] for key in sorted({*options} - {"backend", "base_url", "api_key_env"})}
    cost = {key: value for key, value in price.items() if value and value != "price"} or "no price"
    if not _asked_beyond(name, options):
        return f"the model of {name!r} would be fetched from the hub: {_words(others)}; its price: {_words(cost)}"
    redirect = os.environ.get(REDIRECT)
    at = repr(url) if url else f"{redirect!r}, as {REDIRECT} says," if redirect else "the API of OpenAI"
    key = f"with the key in {_variable(options)}"
    return f"texts would be sent to {name!r} at {at} {key}, {_words(others)}; its price: {_words(cost)}"


def _words(values: Mapping[str, Any] | str) -> str:
    return values if isinstance(values, str) else ", ".join(f"{key} {value!r}" for key, value in values.items())


def _variable(options: Mapping[str, Any]) -> Any:
    """What names the variable that holds an expert's key."""
    return options.get("api_key_env", "OPENAI_API_KEY")


def digest(beyond: Sequence[Server]) -> str:
    """By which an agreement to `servers` is remembered: the same until an option or a price changes."""
    return hashlib.sha256(json.dumps(beyond, sort_keys=True).encode()).hexdigest()[:32]


def remembered_in() -> Path:
    """The file of what this user agreed to."""
    return user_folder() / "trusted.json"


def _remembered() -> dict[str, Any]:
    try:
        found = read_json(remembered_in())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _remember(mark: str, beyond: Sequence[Server]) -> None:
    write_text(remembered_in(), json.dumps({**_remembered(), mark: beyond}, indent=1, sort_keys=True) + "\n")

"""What providers charge for their models, as the package genai-prices lists it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

RATES = {
    "input_mtok": "usd_per_1m_prompt_tokens",
    "output_mtok": "usd_per_1m_completion_tokens",
    "cache_read_mtok": "usd_per_1m_cached_tokens",
    "cache_write_mtok": "usd_per_1m_cache_write_tokens",
    "output_reasoning_mtok": "usd_per_1m_reasoning_tokens",
    "requests_kcount": "usd_per_1k_answers",
}


def listed(model: str, base_url: str | None) -> dict[str, Any] | None:
    """The price of a model.

    Where it depends on the hour, the dearest of today's; where on the length of a prompt, that of short ones.

    Parameters
    ----------
    model
        Its name, as its provider knows it.
    base_url
        Where it is asked; None is OpenAI, or where OPENAI_BASE_URL in the environment says.

    Returns
    -------
    dict
        Fields of `config.Price`, with the `source`: what says so, and of what. None for a model or a provider that is
        not listed, and where the package is not installed: then nothing is known, which is not 0.
    """
    try:
        from genai_prices.data_snapshot import get_snapshot
    except ImportError:
        return None
    from importlib.metadata import version

    url = base_url or os.environ.get("OPENAI_BASE_URL") or None
    try:
        provider, found = get_snapshot().find_provider_model(model, None, None if url else "openai", url)
    except LookupError:
        return None
    rates, batch = _dearest(found), _dearest(found, {"processing": "batch"})
    if not rates:
        return None
    source = f"genai-prices {version('genai-prices')}, {found.id} of {provider.name}"
    return {**rates, **({} if batch == rates else {"batch": batch}), "source": source}


def _dearest(model: Any, context: Mapping[str, str] | None = None) -> dict[str, float]:
    """The rates of today's dearest hour."""
    today = datetime.now(UTC).replace(minute=0)
    every = [_rates(model.get_prices(today + timedelta(hours=hour), context)) for hour in range(24)]
    return max(every, key=lambda each: each.get("usd_per_1m_prompt_tokens", 0.0))


def _rates(prices: Any) -> dict[str, float]:
    found = {ours: getattr(prices, theirs, None) for theirs, ours in RATES.items()}
    return {ours: float(getattr(rate, "base", rate)) for ours, rate in found.items() if rate is not None}

"""What providers charge for their models, as the package genai-prices lists it."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import Any

RATES = {
    "input_mtok": "usd_per_1m_prompt_tokens",
    "output_mtok": "usd_per_1m_completion_tokens",
    "cache_read_mtok": "usd_per_1m_cached_tokens",
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
    today = datetime.now(UTC).replace(minute=0)
    every = [_rates(found.get_prices(today + timedelta(hours=hour))) for hour in range(24)]
    rates = max(every, key=lambda each: each.get("usd_per_1m_prompt_tokens", 0.0))
    if not rates:
        return None
    return {**rates, "source": f"genai-prices {version('genai-prices')}, {found.id} of {provider.name}"}


def _rates(prices: Any) -> dict[str, float]:
    found = {ours: getattr(prices, theirs, None) for theirs, ours in RATES.items()}
    return {ours: float(getattr(rate, "base", rate)) for ours, rate in found.items() if rate is not None}

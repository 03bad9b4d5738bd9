"""What providers that speak OpenAI's chat API leave out of it, as they document it: the one place that knows.

Any other server is asked for all, and what it refuses is learnt from its errors (`problems.refused_field`).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from urllib.parse import urlsplit

BATCHES = "batches"
# A provider by the end of its host; what it does not take: fields of a request, and batches of OpenAI's form.
_LACKS: Mapping[str, tuple[str, tuple[str, ...]]] = MappingProxyType(
    {
        "api.anthropic.com": ("Anthropic", ("logprobs", "seed", "response_format", BATCHES)),
        "generativelanguage.googleapis.com": ("Google's Gemini API", ("logprobs", BATCHES)),
        "api.mistral.ai": ("Mistral", ("logprobs", "seed", BATCHES)),
        "amazonaws.com": ("Amazon Bedrock", (BATCHES,)),
        "openrouter.ai": ("OpenRouter", (BATCHES,)),
    }
)


def provider(address: str | None) -> tuple[str, tuple[str, ...]]:
    """The provider at an address, and what it does not take; no name and nothing for one that is not known.

    >>> provider("https://api.mistral.ai/v1")
    ('Mistral', ('logprobs', 'seed', 'batches'))
    >>> provider("http://localhost:8000/v1")
    ('', ())
    """
    host = (urlsplit(address).hostname if address else None) or ""
    return next((each for end, each in _LACKS.items() if host == end or host.endswith(f".{end}")), ("", ()))

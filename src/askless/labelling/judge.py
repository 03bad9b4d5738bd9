"""An LLM that reads an item and the answers given, and says which class is right: how it is asked, and priced."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from askless import experts
from askless.bundles.terms import Terms
from askless.config import Price
from askless.errors import ConfigError
from askless.experts.paid import PaidExpert
from askless.prompts import PromptSpec

TASK = (
    "Others have answered the question below. What they said stands behind its text, and each of them may be wrong. "
    "Find the right answer by yourself, whether anybody gave it or nobody."
)
# Items are single lines (`prepare.clean`).
GIVEN = "\n\nAnswers given: "


@dataclass(frozen=True)
class Judging:
    """How the answers given are shown to a judge, who has one verdict on an item, whatever was shown with it.

    So an item that is decided anew, and perhaps otherwise, is not paid for again, and a text leads to its verdict.

    Parameters
    ----------
    expert
        The judge; from now on its keys are those of items alone.
    """

    expert: PaidExpert

    def __post_init__(self) -> None:
        for name in ("key", "keys"):
            setattr(self.expert, name, partial(_of_item, getattr(self.expert, name)))
        if (secrets := getattr(self.expert, "secrets", None)) is not None:
            # A server may quote the item alone.
            setattr(self.expert, "secrets", lambda text: (*secrets(text), *_of_item(secrets, text)))  # noqa: B010

    def shown(self, text: str, given: Iterable[str]) -> str:
        """An item with the classes that anybody named, in the order of the classes: not who, and not how many."""
        words, named = self.expert.words(), set(given)
        return f"{text}{GIVEN}{', '.join(words[name].strip() for name in words if name in named) or 'none'}"

    def longest(self, text: str) -> str:
        """The most that can be shown of an item."""
        return self.shown(text, self.expert.words())


def judged(terms: Terms, name: str, model: str, prices: Mapping[str, Price]) -> Terms:
    """Terms with one more expert, a judge of the answers of all others, who is asked by their prompt and `TASK`.

    Raises `ConfigError` for a name that another has, and as `Terms.of_models`.
    """
    if name in terms.experts:
        raise ConfigError(
            f"--judge got {name}, which is one of --llm. Allowed: another name; or --reference {name}, whose answers "
            "are taken for true without a look at the others'."
        )
    arm, how = next(iter(terms.experts.items()))
    expert = experts.build(experts.Setting(arm, terms.task, terms.classes, terms.prompt), how)
    assert isinstance(expert, PaidExpert)
    asked = expert.template()
    prompt = replace(
        asked, template=f"{TASK}\n\n{asked.template}", reply="words" if asked.reply == "stated" else asked.reply
    )
    own = Terms.of_models(terms.task, terms.classes, {name: model}, PromptSpec(template="{text}"), prices)
    options = {**own.experts[name], "prompt": prompt.values()}
    costs = replace(terms.costs, prices={**terms.costs.prices, name: own.costs.prices[name]})
    return replace(terms, experts={**terms.experts, name: options}, costs=costs)


def _of_item(key: Callable[[str], Any], text: str) -> Any:
    return key(text.partition(GIVEN)[0])

"""On what terms the expensive experts of a bundle are asked: their options, their prices, the task's prompt."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from askless import config, experts, price_list
from askless.bundles import trust
from askless.bundles.bundle import Bundle
from askless.costs import CostModel
from askless.errors import ConfigError, DataError
from askless.experts.asked import options_of
from askless.experts.local.checkpoint import DEMO
from askless.experts.paid import PaidExpert
from askless.files import read_json, write_text
from askless.prompts import Draw, PromptSpec
from askless.spending.billing import FaultHandling
from askless.spending.guard import GuardedExpert
from askless.spending.ledger import Ledger

FILE = "terms.json"
TERMS = 1


@dataclass(frozen=True)
class Terms:
    """How the expensive experts of one task's policy are asked, as params.yaml has it.

    Parameters
    ----------
    task
        Its name.
    classes
        The task's classes, none for summaries.
    prompt
        Name of the task's prompt.
    experts
        Expensive expert to its backend and options, a prompt of params.yaml in full.
    costs
        Unit and prices.
    longest
        Texts of more characters are not answered; None for no limit.
    usage
        Expert to what an answer of it took on record, as `Usage.state` has it.
    """

    task: str
    classes: tuple[str, ...]
    prompt: str
    experts: Mapping[str, Mapping[str, Any]]
    costs: config.Costs
    longest: int | None = None
    usage: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @classmethod
    def of(cls, settings: config.Params, task: str, names: tuple[str, ...]) -> Terms:
        """The terms that parameters state for the experts `names` of a task."""
        about = settings.task(task)
        options = {name: options_of(settings, task, name) for name in names}
        return cls(task, about.classes, about.prompt, options, settings.costs, about.max_chars)

    @classmethod
    def of_models(
        cls,
        task: str,
        classes: tuple[str, ...],
        models: Mapping[str, str | Mapping[str, Any]],
        prompt: PromptSpec,
        prices: Mapping[str, config.Price],
    ) -> Terms:
        """The terms on which models are asked that a person names.

        Parameters
        ----------
        task, classes
            As in the class.
        models
            Expert to `model`, `backend:model` or either with `@https://...` behind it, the address of its server; or to
            its options in full.
        prompt
            What each is asked.
        prices
            Of the experts, where the list of prices does not know their model or is not to count.

        Raises
        ------
        ConfigError
            For a prompt that does not fit the classes, an unknown option or backend, and a model without a price.
        """
        if wrong := prompt.problems(classes):
            raise ConfigError(f"The prompt: {'; '.join(wrong)}.")
        if isinstance(prompt.examples, Draw):
            raise ConfigError(
                "The prompt draws its examples. Allowed beside a plan: a list of them, with text and label."
            )
        asked = prompt.written(classes, prompt.examples).values()
        options = {
            name: {**(_model(how) if isinstance(how, str) else how), "prompt": asked} for name, how in models.items()
        }
        found = dict(prices)
        for name, each in options.items():
            experts.build(experts.Setting(name, task, classes), each)
            if name not in found and (price := price_list.listed(each["model"], each.get("base_url"))) is not None:
                found[name] = config.Price(**price)
        if lacking := [name for name in options if name not in found]:
            example = "{usd_per_1m_prompt_tokens: 0.15, usd_per_1m_completion_tokens: 0.6}"
            raise ConfigError(
                f"The list of prices does not know the models of {', '.join(lacking)}. Give --prices FILE with "
                f"prices: {{{', '.join(f'{name}: {example}' for name in lacking)}}}, your figures in place of these; "
                f"{lacking[0]}: {{}} for one that is free."
            )
        return cls(task, classes, "", options, config.Costs("usd", found))

    def demo_models(self) -> tuple[str, ...]:
        """Sizes of the demo's models among its experts."""
        models = {str(options.get("model", "")) for options in self.experts.values()}
        return tuple(sorted(name.removeprefix(DEMO) for name in models if name.startswith(DEMO)))

    def write(self, folder: Path) -> Path:
        """Put them into a bundle's folder."""
        return write_text(folder / FILE, json.dumps({"format": TERMS, **asdict(self)}, indent=1, sort_keys=True) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Terms:
        """Those that came with a bundle; raises `DataError` where none did, or a file that is none."""
        path = folder / FILE
        remedy = "Give --params with a params.yaml that has these experts and prices, or plan again with --llm."
        try:
            kept = read_json(path)
        except FileNotFoundError:
            raise DataError(path, "no such file", "the terms on which expensive experts are asked", remedy) from None
        except (OSError, ValueError) as error:
            raise DataError(path, f"unreadable ({error})", "the file as it was written", remedy) from error
        try:
            if not isinstance(kept, dict) or kept.pop("format", None) != TERMS:
                raise ValueError(f"no terms of format {TERMS}")
            terms = TypeAdapter(cls).validate_python(kept)
            for name in (terms.task, *terms.experts):
                config.check_name(name)
            if not all(isinstance(options.get("backend"), str) for options in terms.experts.values()):
                raise ValueError("an expert without the name of a backend")
        except (ConfigError, ValidationError, ValueError) as error:
            first = str(error).splitlines()[0]
            raise DataError(path, f"not the terms of experts ({first})", "the file as it was written", remedy) from None
        return terms

    def expert(self, name: str, answers: Path, *, live: bool = False) -> PaidExpert:
        """The expert `name`, its answers kept in the folder `answers`; `live`: somebody waits for each (no batches).

        Raises `ConfigError` for an expert that is not asked for money, `ExpertError` where its key is missing.
        """
        setting = experts.Setting(name, self.task, self.classes, self.prompt, answers=answers)
        expert = experts.build(setting, self.experts[name])
        if not isinstance(expert, PaidExpert):
            backend = self.experts[name].get("backend")
            able = ", ".join(experts.backends(lambda kind: issubclass(kind, PaidExpert)))
            raise ConfigError(f"Expert '{name}' of backend {backend} cannot be asked about new items. Allowed: {able}.")
        expert.live = live
        expert.check_access()
        return expert

    def guarded(
        self,
        name: str,
        ledger: Ledger,
        answers: Path,
        handling: FaultHandling | None = None,
        *,
        live: bool = False,
        **options: Any,
    ) -> GuardedExpert:
        """The expert `name` behind a ledger; raises as `expert` does, and `ConfigError` for a price without a most."""
        expert = self.expert(name, answers, live=live)
        return GuardedExpert(expert, CostModel.of(self.costs), ledger, handling, **options)


def _model(said: str) -> dict[str, Any]:
    """Backend, model and address of `backend:model@https://...`; without a known backend it is `openai`."""
    model, at, url = said.rpartition("@")
    if not (at and url.startswith(("http://", "https://"))):
        model, url = said, ""
    backend, colon, rest = model.partition(":")
    known = bool(colon) and backend in experts.known()
    options = {"backend": backend if known else "openai", "model": rest if known else model}
    return {**options, **({"base_url": url} if url else {})}


def of_bundle(bundle: Bundle, params: Path | None, agreed: bool = False) -> Terms:
    """The terms that `params` states for the experts of a bundle that has a folder, else (None) those kept in it.

    Raises `ConfigError` for parameters that know another task or other classes, and for kept terms that reach what
    nobody agreed to (`trust.check`); `agreed` agrees to them now.
    """
    assert bundle.folder is not None
    if params is None:
        terms = Terms.read(bundle.folder)
        trust.check(terms.experts, terms.costs, str(bundle.folder / FILE), agreed)
        return terms
    terms = Terms.of(config.load(params), bundle.task, bundle.expensive)
    if terms.classes != bundle.classes:
        raise ConfigError(
            f"{params}: task '{bundle.task}' has classes {list(terms.classes)}, the model {list(bundle.classes)}. "
            "Allowed: the same. Give the parameters that it was made with, or another model."
        )
    return replace(terms, usage=Terms.read(bundle.folder).usage) if (bundle.folder / FILE).exists() else terms

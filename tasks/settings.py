"""What each stage of a task reads of params.yaml, so that everything else there re-runs nothing."""

from __future__ import annotations

import json
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from askless import config, experts, policies
from askless.errors import AsklessError, ConfigError
from askless.experts.asked import spec_of
from askless.experts.paid import PaidExpert
from askless.files import replacing_folder, write_text
from askless.policies.bandit.learner import Learner
from tasks import sources
from tasks.options import counts_seconds


@task(cache_policy=NO_CACHE)
def write_settings(name: str, params: str, data: str) -> str:
    """Check all that a task's stages will ask, and write for each what it alone reads, digests of files too.

    So DVC needs no key of params.yaml that may be absent, and a value or a file re-runs the stages that it concerns.

    Parameters
    ----------
    name
        Of the task.
    params
        Path of params.yaml.
    data
        In it `settings/<task>` is replaced (`prepare.json`, `embed.json`, `generate/<llm>.json`, `train.json`,
        `evaluate.json`), and `sources/<task>`: links to the files that are read.

    Returns
    -------
    str
        The folder of the settings.
    """
    settings = config.load(params)
    check(settings, name)
    folder, files = Path(data, "settings", name), sources.read_by(settings, name)
    answered = Path(data, "answered", name) if settings.train[name].distil else None
    sources.link(files, Path(data, "sources", name), answered)
    with replacing_folder(folder) as part:
        for about, values in stage_settings(settings, name).items():
            if found := sources.digests(files.get(about, {}), folder / f"{about}.json"):
                values[sources.DIGESTS] = found
            if answered and about == "train":
                values["answered"] = sources.digest_of_folder(answered)
            text = json.dumps(values, indent=1, sort_keys=True, default=plain)
            write_text(part / f"{about}.json", f"{text}\n")
    return str(folder)


def check(settings: config.Params, name: str) -> None:
    """Raise `ConfigError` with all that is wrong with the experts and policies of a task, before anybody is asked."""
    train, llms, wrong = settings.train[name], settings.llms(name), []
    for expert in dict.fromkeys((train.small, *train.baselines, *llms)):
        try:
            built = experts.build(*_asked(settings, name, expert))
            if isinstance(built, PaidExpert) and built.hosted:
                built.validate()
            if isinstance(built, PaidExpert) and settings.costs.unit == "usd" and expert not in settings.costs.prices:
                wrong.append(
                    f"costs.prices.{expert}: missing, and the model is not among the listed ones. Say what it "
                    "charges: {usd_per_1m_prompt_tokens: ..., usd_per_1m_completion_tokens: ...}, or {} for "
                    f"nothing, there or as tasks.{name}.llms.{expert}.price."
                )
        except AsklessError as error:
            wrong.append(f"experts.{expert}: {error}")
    decide = {f"policies.{name}": settings.policies[name], f"train.{name}.teams": train.teams}
    for where, options in decide.items():
        for policy, given in options.items():
            try:
                own = {key: value for key, value in given.items() if key not in ("experts", "llms")}
                if issubclass(policies.check(policy, own), Learner):
                    wrong += _of_learner(settings, name, policy)
            except AsklessError as error:
                wrong.append(f"{where}.{policy}: {error}")
    if wrong:
        raise ConfigError("\n".join(wrong))


def _of_learner(settings: config.Params, name: str, policy: str) -> list[str]:
    """What is wrong with a policy that learns while it answers, in sentences."""
    wrong = []
    if not settings.task(name).classes:
        wrong.append(f"policies.{name}.{policy}: it learns from labels. Allowed: a task of classification.")
    if settings.evaluate[name].headline == policy:
        wrong.append(
            f"evaluate.{name}.headline: '{policy}' learns while it answers and has no operating point. Allowed: a team "
            f"or a policy that is fixed beforehand, or {config.AUTO}. `askless learn` makes a model that learns."
        )
    return wrong


def stage_settings(settings: config.Params, name: str) -> dict[str, Any]:
    """What each stage of a task reads of the parameters; a prompt among the options of the LLM that gets it."""
    task, train, llms = vars(settings.task(name)), settings.train[name], settings.llms(name)
    own, judge = dict.fromkeys((train.small, *train.baselines)), settings.task(name).judge
    judges = {judge: _judging(settings, judge)} if judge else {}
    asked = {llm: _said(settings, name, llm) for llm in llms}
    small = {expert: settings.expert(expert) for expert in own if expert not in llms}
    answers = {key: task[key] for key in ("classes", "kind", "quality")} | {"judge": judges}
    learnt = {"costs": settings.costs, "llms": llms, "train": train, "experts": small}
    generate = {
        f"generate/{llm}": {**answers, "expert": asked.get(llm), "seconds": counts_seconds(settings, llm)}
        | {"checks": task["checks"]}
        for llm in settings.base.llms
    }
    return {
        "prepare": {key: task[key] for key in _PREPARED},
        "embed": {key: task[key] for key in ("kind", "vectors")},
        **generate,
        "train": {**answers, **learnt},
        "evaluate": {
            **answers,
            **learnt,
            "experts": {**small, **asked},
            "evaluate": settings.evaluate[name],
            "policies": settings.policies[name],
            **{key: task[key] for key in ("max_chars", "note", "positive", "source", "vectors")},
        },
    }


_PREPARED = ("checks", "classes", "empty_text", "kind", "max_chars", "max_rows", "source", "split")


def _said(settings: config.Params, name: str, llm: str) -> dict[str, Any]:
    """An LLM's options and the prompt that it gets, its examples as they are to be drawn: that stage has the rows."""
    spec = spec_of(settings, name, llm)
    own = settings.task(name).prompt if spec is None else spec
    return {"options": settings.expert(llm), "prompt": own}


def _judging(settings: config.Params, judge: str) -> dict[str, Any]:
    """A judge's options and its own prompt: the task's is not for it."""
    options = settings.expert(judge)
    return {"options": options, "prompt": settings.prompts.get(str(options.get("prompt")))}


def _asked(settings: config.Params, name: str, expert: str) -> tuple[experts.Setting, dict[str, Any]]:
    """What an expert is built of, without the examples of its prompt, which no stage has prepared yet."""
    about, options, spec = settings.task(name), settings.expert(expert), spec_of(settings, name, expert)
    if spec is not None:
        options["prompt"] = spec.written(about.classes).values()
    return experts.Setting(expert, name, about.classes, about.prompt), options


def plain(value: Any) -> Any:
    """A dataclass or a path as JSON has it."""
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else str(value)

"""What is wrong between sections: names that no other section describes, and what cannot be asked or decided."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from askless.config.sections import AUTO, TABLES, Params, Task, check_name, network_of
from askless.errors import ConfigError
from askless.prompts import PROMPTS, TEMPLATE, PromptSpec

BY_TASK = ("train", "policies", "evaluate")
Use = tuple[str, str, Iterable[str], Iterable[str]]


def problems(params: Params, inline: Collection[str]) -> Iterator[str]:
    """A sentence for each; `inline` are the tasks that write their prompt themselves."""
    base, tasks = params.base, params.tasks
    teams = [team for train in params.train.values() for team in train.teams]
    decide = [policy for part in params.policies.values() for policy in part]
    for name in (*tasks, *params.experts, *params.prompts, *teams, *map(network_of, teams), *decide):
        try:
            check_name(name)
        except ConfigError as error:
            yield str(error)
    for team in teams:
        if network_of(team) in params.experts:
            yield (
                f"team '{team}' answers with a network of its own, '{network_of(team)}', and an expert has "
                "that name. Allowed: each name once. Rename one of the two."
            )
    uses: list[Use] = [
        ("base.tasks", "task", base.tasks, tasks),
        ("base.llms", "expert", base.llms, params.experts),
        *((f"tasks.{name}.judge", "expert", [t.judge] if t.judge else [], params.experts) for name, t in tasks.items()),
        *((f"tasks.{name}.llms", "LLM of base.llms", t.llms or (), base.llms) for name, t in tasks.items()),
        *((section, "task", getattr(params, section), tasks) for section in BY_TASK),
        *(use for name in tasks for use in _of_task(params, name)),
        *_prompts_named(params),
    ]
    for where, what, names, known in uses:
        for name in names:
            if name not in known:
                yield f"{ConfigError.unknown(what, name, known)} (at {where})"
    for name, task in tasks.items():
        yield from _unlisted(params, name)
        yield from _of_prompts(params, name, task, inline)
        yield from _without_vectors(params, name, task)
        if task.kind == "summarisation" and (teams := list(params.train[name].teams)):
            yield (
                f"train.{name}.teams: got {', '.join(teams)}; teams learn classes. "
                f"Allowed for summaries: none. Put a policy of kind summary_gain into policies.{name}."
            )


def _without_vectors(params: Params, name: str, task: Task) -> Iterator[str]:
    """What of a task needs word vectors, where it has none."""
    if task.vectors is not None:
        return
    train = params.train[name]
    small = {"small": (train.small,), "baselines": train.baselines}
    needs = [
        f"train.{name}.{key}: '{expert}'"
        for key, experts in small.items()
        for expert in experts
        if (options := params.experts.get(expert, {})).get("backend") in ("mlp", "extractive") and _of_words(options)
    ]
    needs += [f"train.{name}.teams: '{team}'" for team, options in train.teams.items() if _of_words(options)]
    needs += [f"tasks.{name}.quality: 'embedding'"] if task.quality == "embedding" else []
    for need in needs:
        yield f"{need} reads word vectors, and tasks.{name}.vectors names none. Name some, or take another."


def _of_words(options: Mapping[str, Any]) -> bool:
    """Whether a team or an expert with these options reads word vectors."""
    return options.get("features") != "encoder"


def _prompts_named(params: Params) -> Iterator[Use]:
    """The prompts that tasks and experts name."""
    known = {*PROMPTS, *params.prompts}
    for name, task in params.tasks.items():
        yield f"tasks.{name}.prompt", "prompt", [task.prompt] if task.prompt else [], known
    for name, options in params.experts.items():
        own = options.get("prompt")
        if isinstance(own, Mapping) and TEMPLATE not in own:
            yield f"experts.{name}.prompt", "prompt", [*own, *map(str, own.values())], known
        elif isinstance(own, str):
            yield f"experts.{name}.prompt", "prompt", [own], known


def _of_prompts(params: Params, name: str, task: Task, inline: Collection[str]) -> Iterator[str]:
    """What is wrong with the prompts that the LLMs of a task get."""
    asked = {llm: params.experts[llm] for llm in params.llms(name) if llm in params.experts}
    own = {llm: options.get("prompt") for llm, options in asked.items() if options.get("backend") != "recorded"}
    for llm, said in own.items():
        used = said.get(task.prompt, task.prompt) if isinstance(said, Mapping) else said or task.prompt
        where = f"experts.{llm}.prompt" if said else f"tasks.{name}.prompt" if used in inline else f"prompts.{used}"
        if used in params.prompts or not used:
            where = where if used else f"tasks.{name}.prompt"
            for problem in params.prompts.get(used, PromptSpec()).problems(task.classes):
                yield f"{where}.{problem}."
        elif used in PROMPTS and task.classes and task.source.kind in TABLES:
            words = ", ".join(f'"{label}": ...' for label in task.classes)
            yield (
                f"tasks.{name}.prompt: '{used}' asks \"{PROMPTS[used].template.splitlines()[0][:60]}...\", and the "
                "texts are your own. Write what is to be asked, such as "
                f'prompt: {{question: "What is this text about?", descriptions: {{{words}}}}}.'
            )


def _of_task(params: Params, name: str) -> Iterator[Use]:
    """What the sections that have a part for each task name in that of `name`."""
    train, evaluate, policies = params.train[name], params.evaluate[name], params.policies[name]
    for part, names in (("small", [train.small]), ("baselines", train.baselines), ("llms", train.llms)):
        yield f"train.{name}.{part}", "expert", names, params.experts
    yield f"train.{name}.distil", "expert", [train.distil] if train.distil else [], params.experts
    for team, options in train.teams.items():
        yield f"train.{name}.teams.{team}.llms", "expert", options.get("llms", ()), params.experts
    for policy, options in policies.items():
        yield f"policies.{name}.{policy}.experts", "expert", options.get("experts", ()), params.experts
    yield f"evaluate.{name}.reference", "expert", [evaluate.reference] if evaluate.reference else [], params.experts
    yield f"evaluate.{name}.headline", "policy", [evaluate.headline], [*train.teams, *policies, AUTO]


def _unlisted(params: Params, name: str) -> Iterator[str]:
    """Where a task asks an LLM that it does not list: no stage makes its answers."""
    llms, train = params.llms(name), params.train[name]
    for where, _, names, _ in _of_task(params, name):
        if not where.endswith((".llms", ".experts", ".reference")):
            continue
        allowed = llms if where.endswith(".llms") else tuple(dict.fromkeys((train.small, *train.baselines, *llms)))
        for expert in names:
            if expert in params.experts and expert not in allowed:
                yield (
                    f"{where} asks '{expert}', whose answers no stage makes. "
                    f"Allowed: {', '.join(allowed) or 'none'}. Add it to base.llms, or name another."
                )

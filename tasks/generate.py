"""An expert's answers to every example."""

from __future__ import annotations

from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from deferral import config, experts, schema
from deferral.summary_quality import measured, of_task
from tasks import worth_a_retry


@task(tags={"gpu"}, cache_policy=NO_CACHE, retries=1, retry_delay_seconds=10, retry_condition_fn=worth_a_retry)
def answer_examples(
    name: str, expert: str, params: str, examples: str, answers: str, candidate: str, vectors: str = ""
) -> str:
    """Ask `expert` about every example, keeping each paid answer in `answers` as it comes; summaries get their quality.

    `vectors`, the folder of the task's word vectors, is opened where that quality is `embedding`, and nowhere else.
    A Prefect concurrency limit on the tag `gpu` makes generations take turns.
    """
    settings = config.load(params)
    task_settings = settings.task(name)
    rows = schema.read(examples, "examples", classes=task_settings.classes)
    setting = experts.Setting(
        name=expert,
        task=name,
        classes=task_settings.classes,
        prompt=task_settings.prompt,
        answers=Path(answers),
    )
    predictions = experts.build(setting, settings.expert(expert)).answer(rows)
    schema.check_answers(rows, predictions, f"predictions of {expert}")
    if task_settings.kind == "summarisation":
        predictions = measured(rows, predictions, of_task(name, settings, vectors, answers))
    schema.write(predictions, candidate, "predictions")
    return candidate

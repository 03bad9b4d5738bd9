"""Stage `generate`: one LLM's answers to every example, shard by shard, resumable."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from prefect import flow, get_run_logger

from askless import config
from askless.experts.answer_store import asking
from askless.experts.asked import options_of
from askless.experts.paid import PaidExpert
from flows.shards import ShardRun
from flows.stage import MOST_OF_A_DAY, run_stage
from tasks.data import publish
from tasks.generate import (
    answer_shard,
    asked,
    cut_examples,
    forget_expert,
    merge_parts,
    seed_answers,
    set_aside,
    unread_replies,
    write_unasked,
)
from tasks.progress import Reporter
from tasks.runners import workers
from tasks.runs import tracked_generation
from tasks.spending import forecast_spending
from tasks.validation import validate_predictions


# A server answers batches within a day.
@flow(flow_run_name="generate {task} {llm}", timeout_seconds=2 * MOST_OF_A_DAY)
def generate(
    task: str,
    llm: str,
    params: str = "params.yaml",
    data: str = "data",
    reports: str = "reports",
    yes: bool = False,
    unread: bool = False,
) -> str:
    """Make `data/predictions/<task>/<llm>.parquet`; answers already paid for are never asked again.

    An LLM that the task does not list is not asked. Answers of predictions that were pulled count as paid for.

    A forecast comes first; beyond the limit of `generate.ask_above_usd` a person is asked, unless `yes`. With
    `unread`, replies of which no answer could be read are asked for again.
    """
    examples = str(Path(data, "prepared", task, "examples.parquet"))
    if llm not in config.load(params).llms(task):
        get_run_logger().info(f"{llm} is not among tasks.{task}.llms: it is not asked")
        return write_unasked(str(Path(data, "predictions", task, "generated", f"{llm}.parquet")))
    good = str(Path(data, "predictions", task, "generated", f"{llm}.parquet"))
    candidate = str(Path(data, "candidates", task, f"{llm}.parquet"))
    folder, answers = str(Path(data, "candidates", task, llm)), str(Path(data, "answers", task))
    if seeded := seed_answers(task, llm, params, examples, answers, good):
        get_run_logger().info(f"{seeded:,} answers of {good} were paid for elsewhere, and are kept")
    again = unread_replies(task, llm, params, examples, answers) if unread else []
    forecast_spending(task, llm, params, examples, answers, yes, again)
    if again:
        set_aside(llm, answers, again)
        get_run_logger().info(f"{len(again):,} replies of which no answer could be read are asked for again")
    rows = cut_examples(task, llm, params, examples, folder)
    answer_shards(task, llm, config.load(params), folder, answers, rows)
    merge_parts(task, llm, params, folder, len(rows), answers, candidate, str(Path(data, "vectors", task)))
    validate_predictions(task, llm, params, candidate, str(Path(reports, task, "checks")))
    return publish(candidate, good)


def answer_shards(task: str, llm: str, settings: config.Params, folder: str, answers: str, rows: list[int]) -> None:
    """Let the workers that params.yaml asks for answer every shard, and report how far they are.

    A server is asked by threads of this process alone, whatever the runner: so its limits hold over all shards.
    """
    how, expert = settings.generate, asked(settings, task, llm)
    kept = str(Path(answers, f"{llm}.sqlite").absolute())
    replies = expert.replies if isinstance(expert, PaidExpert) else 1
    about = str(Path(folder).absolute()), kept, llm, settings.costs.prices, how.max_usd, replies
    one = answer_shard.with_options(tags={expert.server or "gpu"})
    with (
        asking(Path(answers), [llm]),
        tracked_generation(task, llm, asdict(how), how.report_seconds) as metrics,
        workers(how, expert.server is not None, *about) as at_hand,
    ):
        parameters = {"setting": expert.setting, "options": options_of(settings, task, llm), "shards": at_hand.shards}
        reporter = Reporter(f"{task} {llm}", sum(rows), how.report_seconds, get_run_logger().info, metrics)
        try:
            ShardRun(at_hand, one, parameters, len(rows)).work(reporter)
        finally:
            forget_expert()


if __name__ == "__main__":
    run_stage(
        generate,
        ["task", "llm"],
        yes="spend more than generate.ask_above_usd without asking",
        unread="ask again for replies of which no answer could be read; how many is said, and counted in the forecast",
    )

"""New files of texts, each labelled once by an LLM and by a small model that learns from it, with a promise."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow.parquet as pq
from prefect import task
from prefect.cache_policies import NO_CACHE

from askless import config, schema
from askless.annotating import run as runs
from askless.annotating.people import ForPeople
from askless.annotating.rounds import Wish
from askless.annotating.table import TextTable
from askless.bundles.terms import Terms
from askless.data.tables import TableFile
from askless.errors import DataError
from askless.files import locked, sha256_of
from askless.labelling.answerer import guarded
from askless.labelling.run import Run, folder_of
from askless.report.annotated import PAGE, write_page
from askless.spending.billing import FaultHandling
from tasks import worth_a_retry
from tasks.answering import Facts, Place, outcome, put_aside


@dataclass(frozen=True)
class Folders(Place):
    """Where the files to annotate of a task come in, and where they are labelled."""

    @property
    def incoming(self) -> Path:
        """New files."""
        return Path(self.data, "unlabelled", self.task)

    @property
    def answered(self) -> Path:
        """A Parquet file for each of them, once it is labelled, and its run's folder."""
        return Path(self.data, "annotated", self.task)


@task(
    tags={"gpu"},
    task_run_name="annotate {file}",
    cache_policy=NO_CACHE,
    retries=1,
    retry_delay_seconds=10,
    retry_condition_fn=worth_a_retry,
)
def annotate_file(
    name: str,
    params: str,
    data: str,
    file: str,
    llms: list[str],
    agree: float | None,
    max_usd: float | None,
    small: str,
) -> Facts:
    """Label one file of a task as `askless annotate` does, unless it is labelled; returns what came of it.

    The LLM is the last of the experts `llms` of the parameters, cheaper ones before it; the parameters have their
    prices, the task's classes and its prompt. Answers are kept with the pipeline's. Killed, the next run goes on where
    it was and asks nothing twice. A file that cannot be read is put aside with the reason.
    """
    settings, place, path = config.load(params), Folders(name, data), Path(file)
    out = place.answered / f"{path.name}.parquet"
    with locked(place.answered / ".annotate.lock", wait=0) as mine:
        if not mine:
            return outcome(path, "busy", "another run annotates files of this task")
        if not path.exists():
            return outcome(path, "gone", "it was taken away meanwhile")
        sha = sha256_of(path)
        about = schema.meta_of(pq.read_schema(out).empty_table()) if out.exists() else None
        if about is not None and about.get("sha256") != sha:
            allowed = "Allowed: new content under a new name. Give it one."
            return put_aside(
                place, path, f"{path}: a file of this name was annotated, and held something else. {allowed}"
            )
        # The page is what is written last; who removed the run's folder wants no other.
        if about is not None and ((folder_of(out) / PAGE).exists() or not folder_of(out).exists()):
            return outcome(path, "done before")
        terms = _terms(settings, name, llms)
        try:
            column = settings.task(name).source.columns.get("text", "text")
            table = TextTable.read(TableFile.of(path), column, name, runs.NEW, terms.longest)
        except DataError as error:
            return put_aside(place, path, str(error))
        wish = Wish(agree, small={"backend": small}, encoded=folder_of(out) / "encoded")
        begun = {"command": "annotate", "sha256": sha, "llm": ",".join(llms), "agree": agree, "small": small}
        answers, waits = Path(data, "answers", name), FaultHandling(waits=True)
        with (
            Run.opened(out, begun) as run,
            run.ledger(max_usd) as ledger,
            guarded(terms, llms, ledger, answers, waits) as experts,
        ):
            asked, found = runs.annotate_table(table, [*experts.values()], wish)
            meta = {"llm": llms[-1], "sha256": sha}
            facts = runs.write(run.folder, out, table, asked, found, wish, terms, ForPeople(), meta)
            write_page(run.folder, facts, runs.words(facts))
        shutil.rmtree(folder_of(out) / "encoded", ignore_errors=True)
    told = ("rows", "by_llm", "by_small", "failed", "paid_usd", "promised", "stopped")
    return {**outcome(path, "annotated"), **{key: facts[key] for key in told}, "words": runs.words(facts)[1]}


def _terms(settings: config.Params, name: str, llms: list[str]) -> Terms:
    """How the LLMs are asked, at their prices; raises `ConfigError` where one has none. The small model is free."""
    listed = settings.costs.prices
    if none := [llm for llm in llms if llm not in listed]:
        raise config.ConfigError(
            f"No price is known of '{none[0]}'. Allowed: an expert with one. Add costs.prices.{none[0]}."
        )
    prices = runs.prices({llm: listed[llm] for llm in llms})
    return replace(Terms.of(settings, name, tuple(llms)), costs=config.Costs("usd", prices))

"""`askless serve`: a version behind OpenAI's chat API."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from askless.commands.options import TermsFile, Trust, params_here, say

if TYPE_CHECKING:
    from askless.serving.service import Service


class ServeFault(StrEnum):
    """What becomes of a request whose expensive expert fails."""

    SMALL = "small"
    FAIL = "fail"


Model = Annotated[
    str, typer.Argument(metavar="ADDRESS", help="models:/name@alias, /name/version, a plan, or a folder.")
]
Host = Annotated[str, typer.Option(help="Where to listen. Anything but this machine needs a key.")]
Port = Annotated[int, typer.Option(min=0, max=65_535, help="0 takes a free one.")]
Log = Annotated[
    Path | None, typer.Option(metavar="FOLDER", help="The log of decisions.", show_default="data/log/<task>")
]
LogText = Annotated[bool, typer.Option("--log-text", help="Write texts and summaries into the log as well.")]
LogSeconds = Annotated[float, typer.Option(min=0.1, max=3600, help="How often the log is written.")]
Answers = Annotated[
    Path | None,
    typer.Option(metavar="FOLDER", help="Where expensive answers are kept.", show_default="data/answers/<task>"),
]
Ledger = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Where calls are written down.", show_default="serve.sqlite in the log's folder"),
]
MaxUsd = Annotated[
    float | None,
    typer.Option(
        "--max-usd-per-day",
        metavar="DOLLARS",
        help="What expensive experts may be paid in a day, UTC.",
        show_default="no limit",
    ),
]
OnFault = Annotated[
    ServeFault, typer.Option("--on-fault", help="Where an expensive expert fails: the small one's answer, or HTTP 503.")
]
Patience = Annotated[
    float, typer.Option(min=0.01, metavar="SECONDS", help="How long an expensive expert is waited for.")
]
Concurrency = Annotated[int, typer.Option(min=1, max=256, help="Calls to expensive experts at once.")]
MaxWaiting = Annotated[int, typer.Option(min=1, max=100_000, help="Requests at once; others get 429.")]
MaxKilobytes = Annotated[int, typer.Option(min=1, max=16_384, help="Of the body of a request.")]
ReloadSeconds = Annotated[float, typer.Option(min=0, help="How often the alias is looked up; 0 never.")]
Grace = Annotated[float, typer.Option(min=0, help="Seconds to finish what is under way when it is stopped.")]
ShadowOf = Annotated[
    str | None, typer.Option("--shadow", metavar="ADDRESS", help="A version that decides too, and answers nobody.")
]
ShadowShare = Annotated[float, typer.Option(min=0, max=1, help="Of the requests, drawn by a hash of the text.")]


def serve(
    model: Model,
    host: Host = "127.0.0.1",
    port: Port = 8080,
    params: TermsFile = None,
    trust: Trust = False,
    log: Log = None,
    log_text: LogText = False,
    log_seconds: LogSeconds = 30.0,
    answers: Answers = None,
    ledger: Ledger = None,
    max_usd: MaxUsd = None,
    on_fault: OnFault = ServeFault.SMALL,
    patience: Patience = 30.0,
    concurrency: Concurrency = 16,
    max_waiting: MaxWaiting = 64,
    max_kilobytes: MaxKilobytes = 256,
    reload_seconds: ReloadSeconds = 10.0,
    grace: Grace = 30.0,
    shadow: ShadowOf = None,
    shadow_share: ShadowShare = 0.1,
) -> None:
    """Serve a version to any OpenAI client: the model decides who answers, and the answer says who it was.

    Keys that clients must show are read from ASKLESS_SERVE_KEY. Stop it by Ctrl-C or SIGTERM: what is under way is
    finished and the log is written.

    Example: askless serve models:/askless-olhs@champion --max-usd-per-day 5
    """
    from askless.bundles.bundle import Bundle
    from askless.bundles.terms import of_bundle
    from askless.errors import require
    from askless.hosts import is_local
    from askless.registry import versions as registry

    require("uvicorn", "prometheus_client")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    from askless.serving.access import Keys
    from askless.serving.server import address, bound
    from askless.serving.server import serve as run
    from askless.serving.service import Limits

    keys = Keys.of_environment(host)
    params = params_here(params, model)
    task = of_bundle(Bundle.load(registry.resolve(model)), params, trust).task
    folder = log or Path("data/log", task)
    limits = Limits(max_kilobytes, max_waiting, concurrency, patience, on_fault is ServeFault.FAIL, grace)
    places = (folder, answers or Path("data/answers", task), ledger or folder / "serve.sqlite")
    how = {"texts": log_text, "seconds": log_seconds, "reload": reload_seconds, "share": shadow_share}
    with bound(host, port) as listening, _service(model, params, places, max_usd, limits, shadow, how) as service:
        now = service.watch.current.version.deciding
        who = f"{len(keys.keys)} known" if keys.keys else "none asked for"
        say(f"Serving {service.watch.model} (version {now}) at {address(listening)}. Keys: {who}.")
        if not is_local(host):
            say(
                f"Warning: --host {host} lets other machines ask without encryption, so that keys and texts can be "
                "read on the way. Put a proxy with TLS before it."
            )
        _tune()
        ended = run(service, keys, listening)
        say("Stopped. The log is written." if ended else "Stopped. Calls that did not end in time are in doubt.")
    if not ended:
        # Threads that wait for a server would hold the process.
        sys.stdout.flush()
        os._exit(0)


def _tune() -> None:
    """Set what holds for the whole process."""
    from askless.serving.server import Sparing

    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    for handler in logging.getLogger().handlers:
        handler.addFilter(Sparing())
    # Decisions are small: handing them to other threads costs more than making them, and a thread that waits for the
    # interpreter's lock should not wait the usual 5 ms (benchmarks/README.md).
    with suppress(ModuleNotFoundError):
        import torch

        torch.set_num_threads(1)
    sys.setswitchinterval(0.0001)


@contextmanager
def _service(
    model: str,
    params: Path | None,
    places: tuple[Path, Path, Path],
    max_usd: float | None,
    limits: Any,
    shadow: str | None,
    how: dict[str, Any],
) -> Iterator[Service]:
    """Everything that serves, made and not started."""
    from askless import config
    from askless.errors import DataError
    from askless.files import locked
    from askless.monitoring.decision_log import DecisionLog
    from askless.monitoring.shadow_log import beside
    from askless.serving.log_writer import LogWriter
    from askless.serving.measures import Measures
    from askless.serving.service import Service
    from askless.serving.shadow import Shadow
    from askless.serving.versions import ExpertPool, Watch, load
    from askless.spending.ledger import Ledger as Calls

    folder, answers, ledger = places
    monitor = config.load(params).monitor if params else config.Monitor()
    texts, measures = how["texts"] or monitor.log_text, Measures()

    def log_in(place: Path, classes: tuple[str, ...]) -> LogWriter:
        return LogWriter(DecisionLog(place, monitor.log_megabytes, folder), classes, texts, how["seconds"], measures)

    with locked(ledger.with_name(f".{ledger.name}.lock"), wait=0) as mine:
        if not mine:
            remedy = "Give this one another --ledger."
            raise DataError(ledger, "another server writes down its calls there", "one server at a time", remedy)
        with Calls(ledger, max_usd, daily=True) as calls:
            pool = ExpertPool(calls, answers)
            measures.watches(lambda: calls.left)
            watch = Watch(model, lambda name: load(name, params, pool), how["reload"], "champion", measures)
            classes = watch.current.version.terms.classes
            beside_it = None
            if shadow is not None:
                looks = Watch(shadow, lambda name: load(name, params, None), how["reload"], "shadow", measures)
                beside_it = Shadow(looks, log_in(beside(folder), classes), how["share"], measures)
            yield Service(watch, log_in(folder, classes), limits, measures, beside_it)

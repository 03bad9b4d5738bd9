"""What keeping an answer takes, with a server's whole reply beside it and without, in processor time (best of 3).

    python -m benchmarks.answer_store [--answers 4000]

One at a time, as answers are kept that are paid for: each is in the file before it is. Then eight at a time.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
import time
from pathlib import Path

from askless.experts.answer_store import REPLY, REPLY_ID, AnswerStore, Row

TOP = [{"token": token, "logprob": -0.1, "bytes": [49]} for token in "10abc"]
CHOICE = {
    "index": 0,
    "message": {"role": "assistant", "content": "1", "refusal": None, "annotations": []},
    "logprobs": {"content": [{"token": "1", "logprob": -0.1, "bytes": [49], "top_logprobs": TOP}]},
    "finish_reason": "stop",
}
ROW: Row = {
    "text": "1",
    "finish": "stop",
    "logprob": -0.1,
    "prompt_tokens": 120,
    "completion_tokens": 1,
    "seconds": 0.4,
}


def kept(answers: int, at_once: int, replies: bool) -> float:
    """Microseconds of processor time for an answer."""
    rows: dict[str, Row] = {}
    for n in range(answers):
        name = hashlib.sha256(str(n).encode()).hexdigest()
        body = json.dumps({"id": f"chatcmpl-{name[:32]}", "model": "m", "choices": [CHOICE], "usage": ROW})
        rows[name] = {**ROW, **({REPLY: body, REPLY_ID: name[:32]} if replies else {})}
    items = list(rows.items())
    with tempfile.TemporaryDirectory() as folder, AnswerStore(Path(folder, "a.sqlite")) as store:
        start = time.process_time()
        for at in range(0, answers, at_once):
            store.put_many(dict(items[at : at + at_once]))
        return 1e6 * (time.process_time() - start) / answers


def main() -> None:
    """Print a line for each way, all in one run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--answers", type=int, default=4000)
    answers = parser.parse_args().answers
    for at_once in (1, 8):
        with_reply, without = (min(kept(answers, at_once, replies) for _ in range(3)) for replies in (True, False))
        print(f"{at_once} at a time: {with_reply:.0f} us with its reply, {without:.0f} us without")


if __name__ == "__main__":
    main()

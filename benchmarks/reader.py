"""What reading a reply takes beside `json.loads(body)["choices"][0]["message"]["content"]`, in processor time.

    python -m benchmarks.reader [--rounds 200]

All replies of tests/experts/remote/test_odd_replies.py that name a class or say why not, as often each.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import time
from collections.abc import Callable

from askless.experts.base import Setting
from askless.experts.remote.openai import OpenAiExpert, whole_reply
from askless.prompts import Prompt
from tests.experts.remote.test_odd_replies import READ


def reader(words: tuple[str, ...]) -> Callable[[bytes], object]:
    """Makes the row to keep of a reply of a server."""
    setting = Setting("llm", "odd", words)
    prompt = Prompt("{text}", {word: word for word in words})
    expert = OpenAiExpert(setting, model="m", base_url="http://localhost:1/v1", prompt=prompt)
    return lambda body: expert.read(whole_reply(body), "key", 0.4, "hello")


def content(body: bytes) -> object:
    """The floor: what a script of three lines reads."""
    with contextlib.suppress(Exception):
        return json.loads(body)["choices"][0]["message"]["content"]
    return None


def main() -> None:
    """Print a line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200)
    rounds = parser.parse_args().rounds
    work = [(reader(words), json.dumps(body).encode()) for words, body, *_ in READ.values()]
    spent = []
    for one in (lambda read, body: read(body), lambda read, body: content(body)):
        start = time.process_time()
        for _ in range(rounds):
            for read, body in work:
                one(read, body)
        spent.append(1e6 * (time.process_time() - start) / rounds / len(work))
    print(f"{len(work)} replies: {spent[0]:.0f} us to read one into a checked row, {spent[1]:.0f} us for its content")


if __name__ == "__main__":
    main()

"""Train the demo's LLMs from nothing: Llama architecture, fixed steps and seeds, one thread.

The same machine gives the same bytes. Every batch is generated afresh from (seed, step): posts and documents
through the demo's prompts, and questions for single facts, without which so small a model never copies.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from askless.errors import ConfigError
from askless.prompts import PROMPTS
from tasks.demo_texts import facts, pretraining_documents, pretraining_posts

if TYPE_CHECKING:
    import torch

MODELS = Path(str(files("askless.data.demo"))) / "models"
VOCABULARY = 2000
END, PAD = "</s>", "<pad>"


@dataclass(frozen=True)
class Size:
    """The shape of a model and how long it is trained.

    Parameters
    ----------
    hidden
        Width of the hidden states.
    layers, heads
        How many layers, and attention heads, a divisor of `hidden`.
    inner
        Width inside the feed-forward blocks.
    rate, steps
        Highest learning rate, and steps of training.
    varied
        Whether its training texts vary more.
    """

    hidden: int
    layers: int
    heads: int
    inner: int
    rate: float
    steps: int
    varied: bool = False


SIZES = {
    "xs": Size(hidden=64, layers=2, heads=4, inner=160, rate=5e-3, steps=600),
    "s": Size(hidden=112, layers=2, heads=4, inner=304, rate=3.5e-3, steps=2500),
    "l": Size(hidden=160, layers=3, heads=5, inner=432, rate=2.5e-3, steps=2800, varied=True),
}
POSTS, DOCUMENTS, FACTS = 16, 8, 24
WARM_UP, DECAY = 60, 0.4


def pretrain(size: str, out: Path, *, steps: int | None = None, seed: int = 0, progress: bool = True) -> Path:
    """Train the LLM of this size; save its weights (bf16), configuration and tokenizer into the folder `out`.

    `steps` is the size's own number unless given. Raises `ConfigError` for an unknown size.
    """
    if size not in SIZES:
        raise ConfigError.unknown("size", size, SIZES)
    import torch
    from tqdm import tqdm

    shape = SIZES[size]
    steps = shape.steps if steps is None else steps
    with _one_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tokenizer = make_tokenizer(seed)
        model = _model(shape, tokenizer)
        optimizer = torch.optim.AdamW(model.parameters(), lr=shape.rate, betas=(0.9, 0.97), weight_decay=0.05)
        bar = tqdm(range(steps), desc=f"pretrain {size}", unit="step", disable=not progress, mininterval=1)
        for step in bar:
            optimizer.param_groups[0]["lr"] = shape.rate * _schedule(step, steps)
            loss = _loss(model, tokenizer, shape, [seed, step])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            if step % 50 == 0:
                bar.set_postfix(loss=f"{loss.item():.3f}")
    out.mkdir(parents=True, exist_ok=True)
    model.to(torch.bfloat16).save_pretrained(out)
    tokenizer.save_pretrained(out)
    return out


def tokenizer_corpus(seed: int = 0) -> Iterator[str]:
    """The texts on which the tokenizer is trained: pre-training text only."""
    ask, sum_up = PROMPTS["demo-olhs"], PROMPTS["demo-xsum"]
    for post in pretraining_posts(6000, [seed, 1]):
        yield ask.fill(post["text"]) + ask.words[post["label"]]
    for document in pretraining_documents(2000, [seed, 1]):
        yield f"{sum_up.fill(document['text'])} {document['reference']}"
    for text, question, value in facts(2000, [seed, 1]):
        yield f"{text}\n{question}: {value}"


def make_tokenizer(seed: int = 0) -> Any:
    """Train the byte-level BPE tokenizer that all sizes share; it adds no token of its own to a prompt."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=[END, PAD], initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator(tokenizer_corpus(seed), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token=END,
        pad_token=PAD,
        padding_side="left",
        model_max_length=512,
        clean_up_tokenization_spaces=False,
    )


def _model(shape: Size, tokenizer: Any) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=shape.hidden,
        intermediate_size=shape.inner,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        max_position_embeddings=512,
        initializer_range=0.04,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config).train()


def _schedule(step: int, steps: int) -> float:
    """Linear warm-up, constant, then linear down to 3 %."""
    left = (steps - step) / max(1.0, DECAY * steps)
    return min(1.0, (step + 1) / WARM_UP, 0.03 + 0.97 * left)


def _loss(model: Any, tokenizer: Any, shape: Size, seed: list[int]) -> torch.Tensor:
    """Cross-entropy of the answers, plus a tenth of that of every fourth token of the prompts."""
    ask, sum_up = PROMPTS["demo-olhs"], PROMPTS["demo-xsum"]
    read = pretraining_posts(POSTS, [*seed, 2], varied=shape.varied)
    posts = [(ask.fill(p["text"]), ask.words[p["label"]]) for p in read]
    questions = [(f"{text}\n{name}:", f" {value}") for text, name, value in facts(FACTS, [*seed, 3])]
    documents = [(sum_up.fill(d["text"]), f" {d['reference']}") for d in pretraining_documents(DOCUMENTS, [*seed, 4])]
    short = _forward(model, tokenizer, posts + questions, [1.0] * POSTS + [0.5] * FACTS)
    return short + _forward(model, tokenizer, documents, [1.0] * DOCUMENTS)


def _forward(model: Any, tokenizer: Any, pairs: list[tuple[str, str]], weights: list[float]) -> torch.Tensor:
    """The weighted loss of one padded batch; only the positions that count go through the output layer."""
    import torch

    prompts, answers = (tokenizer(list(side))["input_ids"] for side in zip(*pairs, strict=True))
    rows = [p + a + [tokenizer.eos_token_id] for p, a in zip(prompts, answers, strict=True)]
    width = max(map(len, rows))
    ids = torch.tensor([row + [tokenizer.pad_token_id] * (width - len(row)) for row in rows])
    weight = torch.zeros(ids.shape)
    for i, (prompt, row) in enumerate(zip(prompts, rows, strict=True)):
        weight[i, len(prompt) - 1 : len(row) - 1] = weights[i] / (len(row) - len(prompt)) / sum(weights)
        weight[i, 0 : len(prompt) - 1 : 4] = 0.1 / len(range(0, len(prompt) - 1, 4)) / len(rows)
    hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state
    chosen = weight[:, :-1] > 0
    loss = torch.nn.functional.cross_entropy(
        model.lm_head(hidden[:, :-1][chosen]), ids[:, 1:][chosen], reduction="none"
    )
    return (loss * weight[:, :-1][chosen]).sum()


@contextmanager
def _one_thread() -> Iterator[None]:
    """Run with one thread, which alone makes sums come out in one order."""
    import torch

    threads, parallel = torch.get_num_threads(), os.environ.get("TOKENIZERS_PARALLELISM")
    torch.set_num_threads(1)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        if parallel is None:
            del os.environ["TOKENIZERS_PARALLELISM"]
        else:
            os.environ["TOKENIZERS_PARALLELISM"] = parallel


def main(
    size: Annotated[str, typer.Option(help=f"One of {', '.join(SIZES)}.")],
    out: Annotated[Path, typer.Option(help="The folder for the model.")],
    steps: Annotated[int | None, typer.Option(help="Instead of the size's own number.")] = None,
    seed: Annotated[int, typer.Option()] = 0,
) -> None:
    """Train one of the demo's LLMs."""
    typer.echo(f"Saved {pretrain(size, out, steps=steps, seed=seed)}")


if __name__ == "__main__":
    typer.run(main)

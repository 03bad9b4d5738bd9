"""Tiny real models and tables for the tests of experts: random weights, tokenizers trained here, no network."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from askless import schema
from askless.experts.base import Setting
from askless.prompts import Prompt

WORDS = "the a cat dog sat ran on mat it is was not good bad yes no never always and Offensive: Answer: 0 1".split()
PROMPT = Prompt("{text}\nOffensive:", {"0": " no", "1": " yes"})
LONG_WORDS = Prompt("{text}\nOffensive:", {"0": " no never good", "1": " zzyzx", "2": " yes"})
CHAT = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
NO_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}" + CHAT


def texts(n: int, seed: int = 0, longest: int = 30) -> list[str]:
    """Different short texts of known words."""
    import numpy as np

    rng = np.random.default_rng(seed)
    return [f"{i} " + " ".join(rng.choice(WORDS, rng.integers(1, longest))) for i in range(n)]


def examples(items: list[str]) -> pa.Table:
    """An examples table of these texts."""
    ids = [f"id{i}" for i in range(len(items))]
    return schema.table("examples", {"id": ids, "text": items, "split": ["test"] * len(items)})


def setting(answers: Path | None = None, classes: tuple[str, ...] = ("0", "1"), name: str = "tiny") -> Setting:
    """What a task tells the expert."""
    return Setting(name=name, task="demo", classes=classes, prompt="demo-olhs", answers=answers)


def make_model(folder: Path, *, template: str | None = None, seed: int = 0, kind: str = "llama") -> Path:
    """A random-weight model with a byte-level BPE tokenizer, saved as a transformers checkpoint."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    special = ["<s>", "</s>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator([" " + " ".join(WORDS)] * 20, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<s>", eos_token="</s>")
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    shape = {"vocab_size": len(tokenizer), "bos_token_id": 0, "eos_token_id": 1}
    torch.manual_seed(seed)
    if kind == "gpt2":
        network = GPT2LMHeadModel(
            GPT2Config(n_embd=32, n_layer=2, n_head=2, n_positions=512, initializer_range=0.3, **shape)
        )
    else:
        network = LlamaForCausalLM(
            LlamaConfig(
                hidden_size=32,
                intermediate_size=64,
                num_hidden_layers=2,
                num_attention_heads=2,
                max_position_embeddings=512,
                initializer_range=0.3,
                **shape,
            )
        )
    network.save_pretrained(folder)
    return folder

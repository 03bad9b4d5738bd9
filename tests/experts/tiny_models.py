"""Tiny real models and tables for the tests of experts: random weights, tokenizers trained here, no network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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
    """A random-weight Llama or GPT-2 with a byte-level BPE tokenizer, saved as a transformers checkpoint."""
    import torch
    import transformers as t

    raw = bpe("<s>", "</s>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>")
    tokenizer = t.PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<s>", eos_token="</s>")
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    shape = {"vocab_size": len(tokenizer), "bos_token_id": 0, "eos_token_id": 1, "initializer_range": 0.3}
    torch.manual_seed(seed)
    if kind == "gpt2":
        network = t.GPT2LMHeadModel(t.GPT2Config(n_embd=32, n_layer=2, n_head=2, n_positions=512, **shape))
    else:
        sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
        network = t.LlamaForCausalLM(t.LlamaConfig(max_position_embeddings=512, **sizes, **shape))
    network.save_pretrained(folder)
    return folder


def make_summariser(folder: Path, kind: str) -> Path:
    """A random-weight T5 or BART with a byte-level BPE tokenizer that closes each text with </s>."""
    import torch
    import transformers as t
    from tokenizers import processors

    raw = bpe("<pad>", "</s>", "<s>")
    raw.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    names = {"pad_token": "<pad>", "eos_token": "</s>", "bos_token": "<s>"}
    t.PreTrainedTokenizerFast(tokenizer_object=raw, **names).save_pretrained(folder)
    shape: dict[str, Any] = {"vocab_size": raw.get_vocab_size(), "pad_token_id": 0, "eos_token_id": 1}
    torch.manual_seed(3)
    network: Any
    if kind == "t5":
        sizes = {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2, "decoder_start_token_id": 0}
        network = t.T5ForConditionalGeneration(t.T5Config(**sizes, **shape))
        torch.nn.init.normal_(network.lm_head.weight, std=0.6)
        with torch.no_grad():
            network.lm_head.weight[1] *= -4
    else:
        sizes = {f"{side}_{name}": 2 for side in ("encoder", "decoder") for name in ("layers", "attention_heads")}
        sizes |= {"d_model": 32, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "max_position_embeddings": 128}
        starts = {"bos_token_id": 2, "decoder_start_token_id": 1, "init_std": 0.5}
        network = t.BartForConditionalGeneration(t.BartConfig(**sizes, **starts, **shape))
        network.final_logits_bias[0, 1] = 6.0
        network.generation_config.forced_bos_token_id = 2
        network.generation_config.num_beams = 4
        network.generation_config.no_repeat_ngram_size = 2
    network.save_pretrained(folder)
    return folder


def make_encoder(folder: Path, pool: str = "mean_tokens", *, normalized: bool = True, prompt: str = "") -> Path:
    """A random-weight BERT that reads 32 tokens, laid out as sentence-transformers keeps its models."""
    import json

    import torch
    import transformers as t
    from tokenizers import processors

    raw = bpe("[PAD]", "[CLS]", "[SEP]")
    raw.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)])
    names = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    t.PreTrainedTokenizerFast(tokenizer_object=raw, **names).save_pretrained(folder)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    torch.manual_seed(0)
    config = t.BertConfig(vocab_size=raw.get_vocab_size(), max_position_embeddings=64, initializer_range=0.5, **sizes)
    t.BertModel(config).save_pretrained(folder)
    steps = [("Transformer", ""), ("Pooling", "1_Pooling"), *([("Normalize", "2_Normalize")] if normalized else [])]
    kept = {
        "modules.json": [
            {"idx": at, "name": str(at), "path": path, "type": f"sentence_transformers.models.{step}"}
            for at, (step, path) in enumerate(steps)
        ],
        "1_Pooling/config.json": {"word_embedding_dimension": 16, f"pooling_mode_{pool}": True},
        "sentence_bert_config.json": {"max_seq_length": 32, "do_lower_case": False},
        "config_sentence_transformers.json": {"prompts": {"own": prompt}, "default_prompt_name": "own"},
    }
    for name, value in kept.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(json.dumps(value))
    return folder


def bpe(*special: str) -> Any:
    """A tokenizer of bytes, trained on `WORDS`; the `special` tokens come first."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made = {"vocab_size": 400, "special_tokens": list(special), "initial_alphabet": alphabet, "show_progress": False}
    raw.train_from_iterator([" " + " ".join(WORDS)] * 20, trainers.BpeTrainer(**made))
    return raw

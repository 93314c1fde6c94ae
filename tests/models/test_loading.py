"""What tells models apart, and what is never run or read."""

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from seamaug.config import LanguageModelConfig, PolicyConfig
from seamaug.errors import ModelError
from seamaug.models import loading
from seamaug.models.policy import Policy
from seamaug.records import user_message

PLANTED = """
import pathlib
pathlib.Path({mark!r}).write_text("this ran")
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
class PlantedConfig(LlamaConfig):
    model_type = "planted"
class PlantedModel(LlamaForCausalLM):
    config_class = PlantedConfig
class PlantedTokenizer(PreTrainedTokenizerFast):
    pass
"""


@pytest.fixture
def folder(saved: Callable[..., str], copied: Callable[[str], Path]) -> Path:
    return copied(saved("llama", "causal"))


def mark_of(folder: Path) -> str:
    return loading.fingerprint(PolicyConfig(name=str(folder)), "policy")


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def load(folder: Path, **settings: Any) -> Policy:
    return Policy(PolicyConfig(name=str(folder), device="cpu", **settings))


def test_fingerprint_follows_the_content(folder: Path) -> None:
    first = mark_of(folder)
    for name in (".gitignore", "README.md", "optimizer.pt"):
        (folder / name).write_text("nothing that is loaded")
    assert mark_of(folder) == first
    weights = folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    changed = mark_of(folder)
    assert changed != first
    content[-1] ^= 1
    weights.write_bytes(content)
    assert mark_of(folder) == first


def test_fingerprint_covers_names_and_subfolders(folder: Path) -> None:
    marks = {mark_of(folder)}
    (folder / "part").mkdir()
    (folder / "part" / "more.json").write_text("{}")
    marks.add(mark_of(folder))
    (folder / "part" / "more.json").rename(folder / "part" / "other.json")
    marks.add(mark_of(folder))
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    marks.add(mark_of(folder))
    assert len(marks) == 4


def test_fingerprint_does_not_depend_on_the_place(folder: Path, tmp_path: Path) -> None:
    first = mark_of(folder)
    assert mark_of(folder.rename(tmp_path / "moved")) == first


@pytest.mark.parametrize("which", ["config", "tokenizer"])
def test_remote_code_is_not_run(
    folder: Path, tmp_path: Path, which: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules")
    )
    mark = tmp_path / "ran"
    (folder / "planted.py").write_text(PLANTED.format(mark=str(mark)))
    if which == "config":
        classes = {
            "AutoConfig": "planted.PlantedConfig",
            "AutoModelForCausalLM": "planted.PlantedModel",
        }
        change(folder / "config.json", model_type="planted", auto_map=classes)
    else:
        classes = {"AutoTokenizer": [None, "planted.PlantedTokenizer"]}
        change(
            folder / "tokenizer_config.json", tokenizer_class="PlantedTokenizer", auto_map=classes
        )
    with pytest.raises(ModelError, match="trust_remote_code"):
        load(folder)
    assert not mark.exists()
    load(folder, trust_remote_code=True)
    assert mark.exists(), "the planted code must be one that would run"


def pickled(folder: Path, weights: Any) -> None:
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")


def test_pickled_weights_are_read_only_where_they_are_allowed(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    pickled(folder, weights)
    with pytest.raises(ModelError, match=r"policy model .* cannot be loaded"):
        load(folder)
    assert load(folder, allow_pickle=True).model.state_dict().keys() >= weights.keys()


def test_code_in_allowed_pickles_is_not_run(folder: Path, tmp_path: Path) -> None:
    """torch's restricted unpickler knows tensors, and little else."""
    mark = tmp_path / "ran"

    class Planted:
        def __reduce__(self) -> Any:
            return Path.touch, (mark,)

    pickled(folder, {"model.norm.weight": Planted()})
    with pytest.raises(ModelError, match=r"policy model .* cannot be loaded"):
        load(folder, allow_pickle=True)
    assert not mark.exists()
    torch.load(folder / "pytorch_model.bin", weights_only=False)
    assert mark.exists(), "the planted code must be one that would run"


@pytest.mark.parametrize(
    "escape",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.__class__.__base__.__subclasses__() }}",
        "{{ ''|attr('__class__')|attr('__mro__') }}",
        "{{ raise_exception.__globals__['os'].system('x') }}",
        "{{ cycler.__init__.__globals__.os.popen('x') }}",
        "{{ '{0.__class__.__init__.__globals__}'.format(messages) }}",
        "{{ messages.append(messages) }}",
    ],
)
def test_a_model_s_chat_template_stays_in_its_sandbox(folder: Path, escape: str) -> None:
    (folder / "chat_template.jinja").write_text(escape)
    tokenizer = loading.load_tokenizer(PolicyConfig(name=str(folder)), "policy")
    shown = ""  # what it may not reach is an error, or nothing
    with suppress(ModelError):
        shown = loading.render(tokenizer, user_message("hello"), generation_prompt=True)
    assert shown == ""


def test_damaged_weights(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ModelError, match=r"policy model .* cannot be loaded"):
        load(folder)


def test_damaged_config(folder: Path) -> None:
    (folder / "config.json").write_text("{")
    with pytest.raises(ModelError, match="policy model"):
        load(folder)


def test_folder_without_tokenizer(saved: Callable[..., str], copied: Callable[[str], Path]) -> None:
    folder = copied(saved("gpt2", "causal"))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    with pytest.raises(ModelError, match="has no tokenizer"):
        load(folder, chat_template="question_answer")


def test_missing_folder_is_not_looked_up_on_the_hub(tmp_path: Path) -> None:
    for name in (str(tmp_path / "nowhere"), "~/no-such-folder-here"):
        with pytest.raises(ModelError, match="there is no folder"):
            loading.locate(PolicyConfig(name=name), "policy")
    assert loading.locate(PolicyConfig(name="someone/model"), "policy") == "someone/model"


def test_longest_sequence(folder: Path) -> None:
    model = load(folder)
    assert model.max_length == 256
    assert load(folder, max_length=40).max_length == 40
    model.tokenizer.model_max_length = 100
    assert loading.longest_sequence(model.config, model.model.config, model.tokenizer) == 100
    model.tokenizer.model_max_length = int(1e30)
    assert loading.longest_sequence(model.config, model.model.config, model.tokenizer) == 256


@pytest.mark.parametrize("fast", ["_is_amx_tile_supported", "_is_avx512_bf16_supported", ""])
def test_precision(monkeypatch: pytest.MonkeyPatch, fast: str) -> None:
    def kind(**settings: Any) -> torch.dtype:
        return loading.dtype_of(LanguageModelConfig(**settings))

    for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda name=name: name == fast)
    assert kind(device="cpu") == (torch.bfloat16 if fast else torch.float32)
    assert kind(device="cuda") == torch.bfloat16
    assert kind(device="cuda", dtype="float32") == torch.float32
    assert kind(device="cpu", dtype="float16") == torch.float16

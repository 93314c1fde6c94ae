"""The script behind the embedded models runs, and what the package ships is in order."""

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = ROOT / "seamaug" / "embedded"
SCRIPT = ROOT / "examples" / "embedded" / "train.py"
WEIGHT_ENDINGS = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".h5", ".onnx", ".npy")


def read(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as handle:
        return [json.loads(line) for line in handle]


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    with gzip.open(path, "wt", encoding="utf-8") as handle:
        handle.writelines(json.dumps(row) + "\n" for row in rows)


def sample_data(folder: Path) -> None:
    """Write a small folder in the layout of the real data, from the shipped seeds."""
    seeds = read(SHIPPED / "seeds.jsonl.gz")
    names = sorted({row["set"] for row in seeds})
    few = [row | {"n_turns": 1} for n in names for row in [r for r in seeds if r["set"] == n][:24]]
    unwanted = few[0] | {"id": "x", "prompt": "Not allowed?", "set": "hh_harmless"}
    talk = few[1] | {
        "id": "y",
        "n_turns": 2,
        "prompt": "Human: Where is it?\n\nAssistant: Where is what?\n\nHuman: My hat.",
    }
    write(folder / "preference-demo.jsonl.gz", [*few, unwanted])
    write(folder / "preference-larger.jsonl.gz", [*few, unwanted, talk])
    sources = ["gsm8k-train", "oasst", "p3-t0/demo", "dolly-3k", "gpteacher-codegen"]
    sft = [
        {"prompt": f"Explain: {r['prompt']}", "response": r["chosen"], "source": sources[i % 5]}
        for i, r in enumerate(few)
    ]
    write(folder / "sft-mixed.jsonl.gz", sft)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run the script once in quick mode on the small sample."""
    base = tmp_path_factory.mktemp("embedded")
    sample_data(base)
    command = [sys.executable, str(SCRIPT), "--quick", "--data", str(base)]
    done = subprocess.run(
        [*command, "--out", str(base / "out")],
        env=os.environ | {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return base / "out"


def conversation_tokens(tokenizer: Any, *turns: tuple[str, str]) -> list[int]:
    messages = [{"role": role, "content": text} for role, text in turns]
    generate = turns[-1][0] != "assistant"
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=generate)
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def check_models(folder: Path) -> None:
    """Load the three models the ordinary way and use each once."""
    import torch
    from sentence_transformers import SentenceTransformer
    from transformers import (
        AutoModelForCausalLM,
        AutoModelForSequenceClassification,
        AutoTokenizer,
    )

    policy = AutoModelForCausalLM.from_pretrained(folder / "policy")
    reward = AutoModelForSequenceClassification.from_pretrained(folder / "reward")
    for name in ("policy", "reward"):
        tokenizer = AutoTokenizer.from_pretrained(folder / name)
        asked = (("system", "Be brief. "), ("user", "What is 12 + 30?\n"))
        prompt = conversation_tokens(tokenizer, *asked)
        full = conversation_tokens(tokenizer, *asked, ("assistant", " It is 42.\n"))
        assert full[: len(prompt)] == prompt
        assert full.count(tokenizer.eos_token_id) == 1
        assert full[-1] == tokenizer.eos_token_id != tokenizer.pad_token_id
    assert reward.config.pad_token_id == tokenizer.pad_token_id
    batch = tokenizer.pad({"input_ids": [prompt, full]}, return_tensors="pt")
    with torch.no_grad():
        scores = reward(**batch).logits
        alone = reward(input_ids=torch.tensor([prompt])).logits
        assert policy(**batch).logits.shape == (2, len(full), policy.config.vocab_size)
    assert scores.shape == (2, 1)
    assert torch.allclose(scores[0], alone[0], atol=0.05)
    vectors = SentenceTransformer(str(folder / "embedder"), device="cpu").encode(["a b", "c"])
    assert abs(float((vectors[0] ** 2).sum()) - 1) < 1e-4


def test_quick_run_makes_loadable_models(made: Path) -> None:
    check_models(made)
    rows = read(made / "seeds.jsonl.gz")
    assert rows
    assert all(row["set"] != "hh_harmless" for row in rows)
    figures = json.loads((made / "metrics.json").read_text(encoding="utf-8"))
    assert figures["quick"] is True
    assert set(figures["training_rows"]["examples"]) >= {"gsm8k-train", "oasst", "p3-t0"}
    assert not {"dolly-3k", "gpteacher-codegen"} & set(figures["training_rows"]["examples"])
    assert not list(made.glob(".*"))


def test_shipped_models_load() -> None:
    check_models(SHIPPED)


def test_shipped_assets_are_small_permissive_and_safe() -> None:
    files = [p for p in SHIPPED.rglob("*") if p.is_file() and "__pycache__" not in p.parts]
    assert sum(path.stat().st_size for path in files) < 15_000_000
    assert not [path for path in files if path.name.endswith(WEIGHT_ENDINGS)]
    for name in ("policy", "reward", "embedder"):
        assert (SHIPPED / name / "model.safetensors").exists()
    for path in files:
        if path.suffix in {".json", ".md", ".jinja"}:
            text = path.read_text(encoding="utf-8")
            assert not [place for place in ("/root/", "/work/", "/tmp/") if place in text], path


def test_shipped_seeds_are_permissive() -> None:
    path = SHIPPED / "seeds.jsonl.gz"
    # Bytes 4 to 7 hold the time and byte 3 the flags (a file name, for one): all must be empty,
    # or the same rows would not give the same file.
    assert path.read_bytes()[3:8] == bytes(5)
    rows = read(path)
    assert len(rows) == 2047
    assert {row["licence"] for row in rows} <= {"MIT", "Apache-2.0", "MIT(upstream)"}
    assert "hh_harmless" not in {row["set"] for row in rows}
    notes = (SHIPPED / "DATA_LICENSES.md").read_text(encoding="utf-8")
    assert all(row["source"] in notes for row in rows)
    assert "Copyright (c) 2021 OpenAI" in notes
    assert "Copyright (c) 2022 Anthropic" in notes

"""Make the bundled seeds and the three tiny models that seamaug ships.

Run: python examples/embedded/train.py --data DIR --out seamaug/embedded
"""

import argparse
import json
import shutil
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from data import Corpus, load, write_seeds
from embedder import train_embedder
from policy import save_policy, train_policy, train_tokenizer
from report import measure, write_licences, write_readme
from reward import SWEEP, Trained, save_reward, train_once
from transformers import AutoModelForCausalLM, AutoTokenizer


def policy_stage(corpus: Corpus, work: Path, args: argparse.Namespace) -> None:
    """Train the tokenizer and the policy, unless an earlier run left them in `work`."""
    if (work / "policy.json").exists():
        return
    texts = [text for e in corpus.examples for text in (e.prompt, e.response)]
    tokenizer = train_tokenizer([*texts, *[p.rejected for p in corpus.train_pairs]])
    began = time.monotonic()
    policy = train_policy(tokenizer, corpus.examples, args.policy_steps, args.seed)
    seconds = time.monotonic() - began
    save_policy(policy, tokenizer, work / "policy")
    note = {"examples": len(corpus.examples), "steps": args.policy_steps, "seconds": seconds}
    (work / "policy.json").write_text(json.dumps(note), encoding="utf-8")


def reward_stage(corpus: Corpus, work: Path, out: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Train every candidate of the sweep and save the best one on the validation slice."""
    tokenizer = AutoTokenizer.from_pretrained(work / "policy")
    # The saved policy, not the one in memory: the result is the same when the run is resumed.
    policy = AutoModelForCausalLM.from_pretrained(work / "policy", dtype="float32")
    sweep = SWEEP[:1] if args.quick else SWEEP
    limit = 8 if args.quick else None
    done: list[Trained] = []
    for settings in sweep:
        done.append(train_once(policy, tokenizer, corpus, settings, args.seed, limit))
        print(
            f"{settings} validation {done[-1].validation:.3f} {done[-1].seconds:.0f} s", flush=True
        )
    best = max(done, key=lambda trained: trained.validation)
    save_reward(best.model, tokenizer, out / "reward")
    notes = [
        asdict(t.settings)
        | {"validation": t.validation, "best_step": t.best_step, "steps": t.steps}
        | {"seconds": t.seconds}
        for t in done
    ]
    return {"pairs": len(corpus.train_pairs), "sweep": notes, "chosen": done.index(best)}


def make(corpus: Corpus, work: Path, out: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Write every asset into `out` and return how it was made."""
    write_seeds(corpus.seeds, out / "seeds.jsonl.gz")
    policy_stage(corpus, work, args)
    shutil.copytree(work / "policy", out / "policy")
    limit = 8 if args.quick else -1
    return {
        "policy": json.loads((work / "policy.json").read_text(encoding="utf-8")),
        "reward": reward_stage(corpus, work, out, args),
        "embedder": train_embedder(corpus, out / "embedder", args.seed, 3, limit),
    }


def publish(made: Path, out: Path) -> None:
    """Swap the finished files in, so that nobody reads a half-written model."""
    out.mkdir(parents=True, exist_ok=True)
    for path in made.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    for item in sorted(made.iterdir()):
        fresh, old = out / f".new-{item.name}", out / f".old-{item.name}"
        shutil.move(item, fresh)
        if (out / item.name).is_dir():
            (out / item.name).rename(old)
        fresh.rename(out / item.name)
        shutil.rmtree(old, ignore_errors=True)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of *.jsonl.gz files")
    parser.add_argument("--out", type=Path, default=Path("seamaug/embedded"))
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--policy-steps", type=int, default=1800)
    parser.add_argument("--quick", action="store_true", help="a few steps only, for tests")
    parser.add_argument(
        "--work", type=Path, help="keep the trained policy here; a later run reuses it"
    )
    args = parser.parse_args()
    if args.quick:
        args.policy_steps = 8
    return args


def main() -> None:
    """Train, measure and publish."""
    args = parse()
    corpus = load(args.data, args.seed)
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "out"
        work = args.work or Path(scratch) / "work"
        for folder in (out, work):
            folder.mkdir(parents=True, exist_ok=True)
        notes = make(corpus, work, out, args)
        figures = measure(out, corpus, notes, args.seed, args.quick)
        text = json.dumps(figures, indent=2, sort_keys=True)
        (out / "metrics.json").write_text(text + "\n", encoding="utf-8")
        write_readme(out, figures)
        write_licences(out, corpus, args.data / "licenses")
        publish(out, args.out)
    print(text)


if __name__ == "__main__":
    main()

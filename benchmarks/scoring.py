"""The scorer against its peers: ratios of times, on one machine, over the same weights and texts.

    python benchmarks/scoring.py --data DIR --out benchmarks/results/scoring.json

DIR holds preference-demo.jsonl.gz and preference-larger.jsonl.gz; without it the bundled seeds
serve. Peers: lm-evaluation-harness (where `lm_eval` is installed), the published SEAM procedure,
and for the reward model a transformers pipeline and a loop over padded batches. Differing answers
in float32 end the run with an error: a time is worth nothing where they differ.

    python benchmarks/scoring.py --device cuda --shape 8B --out scoring-8b.json

compares with the harness alone, in bfloat16. `--quick` runs everything in a minute, for tests.
"""

import argparse
import gc
import json
import logging
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import memory
import peers
import report
from compare import measure_policy, measure_reward
from rich.console import Console
from timing import machine, versions
from transformers.utils import logging as hf_logging
from workloads import SHAPES, PromptSet, make_model, workloads

from seamaug.config import PolicyConfig
from seamaug.models.tokens import PolicyTokens
from seamaug.resources import EMBEDDED, resource

PADDED_SIZES = (16, 32)
console = Console(width=None if sys.stdout.isatty() else 110)


def policy_engines(folder: str, given: argparse.Namespace) -> dict[str, Any]:
    """Engines by name; the first is the one whose answers the others are compared with."""
    tokens = PolicyTokens(PolicyConfig(name=folder))
    if given.weights == "bfloat16":
        ours = peers.OurPolicy(folder, dtype="bfloat16", device=given.device)
        theirs = {"hflm bfloat16": "auto"}
        engines: dict[str, Any] = {"seamaug bfloat16": ours}
    else:
        engines = {
            "published": peers.PublishedPolicy(folder, tokens),
            "seamaug float32": peers.OurPolicy(folder, dtype="float32"),
            "seamaug auto": peers.OurPolicy(folder, dtype="auto"),
        }
        theirs = {"hflm float32": "float32", "hflm bfloat16": "bfloat16"}
    if peers.HAS_HFLM:
        engines |= {
            name: peers.Harness(folder, tokens, dtype=dtype, device=given.device)
            for name, dtype in theirs.items()
        }
    return engines


def reward_engines(folder: str) -> dict[str, Any]:
    """Engines by name; the first is the one whose answers the others are compared with."""
    return {
        "pipeline, one at a time": peers.PipelineReward(folder),
        "seamaug float32": peers.OurReward(folder, dtype="float32"),
        "seamaug auto": peers.OurReward(folder, dtype="auto"),
        **{f"padded batches of {n}": peers.PaddedReward(folder, n) for n in PADDED_SIZES},
    }


def measure_model(
    name: str,
    folders: dict[str, str],
    loads: dict[str, tuple[str, list[PromptSet]]],
    given: argparse.Namespace,
) -> dict[str, Any]:
    """All workloads of one model pair; the policies are gone before the reward models come."""
    found: dict[str, Any] = {workload: {"source": loads[workload][0]} for workload in loads}
    for role, build, take in (
        ("policy", lambda folder: policy_engines(folder, given), measure_policy),
        ("reward", reward_engines, measure_reward),
    ):
        if role not in folders:
            continue
        engines = build(folders[role])
        for workload, (_, sets) in loads.items():
            console.print(f"{name}, {workload}, {role} …")
            found[workload][role] = take(folders[role], sets, engines, given)
        del engines
        gc.collect()
    return found


def measure_memory(given: argparse.Namespace) -> list[dict[str, Any]]:
    """Peak memory of scoring, per precision."""
    small: dict[str, Any] = {"runs": 1, "batch_tokens": 1024, "vocabulary": 8192, "hidden": 64}
    return [
        {"asked": dtype, **memory.measured(dtype, **(small if given.quick else {}))}
        for dtype in (("auto",) if given.quick else ("float32", "auto"))
    ]


def run(given: argparse.Namespace) -> dict[str, Any]:
    """Everything, as the results hold it."""
    models: dict[str, Any] = {}
    own = workloads(given.data, short=given.short, long=given.long, responses=given.responses)
    only_policy = given.weights == "bfloat16"
    with tempfile.TemporaryDirectory(prefix="seamaug-bench-") as scratch:
        folders = {
            role: make_model(
                Path(scratch, role),
                SHAPES[given.shape],
                role,
                dtype=given.weights,
                device=given.device,
            )
            for role in (("policy",) if only_policy else ("policy", "reward"))
        }
        models[given.shape] = measure_model(given.shape, folders, own, given)
    if not (only_policy or given.quick):
        many = workloads(given.data, short=8, long=3, responses=given.responses)
        bundled = {role: str(resource(EMBEDDED, role)) for role in ("policy", "reward")}
        models[EMBEDDED] = measure_model(EMBEDDED, bundled, many, given)
    used = [] if only_policy else measure_memory(given)
    lines = [
        line
        for model, loads in models.items()
        for workload, parts in loads.items()
        for role in ("policy", "reward")
        if role in parts
        for line in report.ratios(model, workload, role, parts[role])
    ]
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "command": _command(given),
        "machine": machine(given.device),
        "versions": versions(),
        "targets": lines + report.memory_lines(used),
        "memory": used,
        "models": models,
    }


def _command(given: argparse.Namespace) -> str:
    """The command with everything that decides the figures, and no folder of this machine."""
    words = ["python benchmarks/scoring.py", *(["--data DIR"] if given.data else [])]
    names = ("shape", "weights", "device", "short", "long", "responses", "repeats", "patience")
    words += [f"--{name} {getattr(given, name)}" for name in names]
    return " ".join([*words, *(["--quick"] if given.quick else [])])


def disagreeing(result: dict[str, Any]) -> list[str]:
    """Engines in float32 whose answers are not those of the reference."""
    return [
        f"{model}, {workload}, {role}, {name}: {item['max_difference']:.1e}"
        for model, loads in result["models"].items()
        for workload, parts in loads.items()
        for role in ("policy", "reward")
        for name, item in parts.get(role, {"engines": {}})["engines"].items()
        if item["dtype"] == "float32" and not item["agrees"]
    ]


def arguments() -> argparse.Namespace:
    """The command line; `--quick` and large shapes settle some of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of preference-demo and -larger")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--shape", choices=sorted(SHAPES), default="135M")
    parser.add_argument("--weights", choices=("float32", "bfloat16"), help="bfloat16: policy alone")
    parser.add_argument("--short", type=int, default=2, help="prompts of the short workload")
    parser.add_argument("--long", type=int, default=2, help="prompts of the long workload")
    parser.add_argument("--responses", type=int, default=31, help="per prompt, with the golden one")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--patience", type=float, default=45, help="seconds per engine, workload")
    parser.add_argument("--quick", action="store_true", help="a tiny model and two prompts")
    given = parser.parse_args()
    if given.quick:
        given.shape, given.short, given.long, given.responses, given.repeats = "tiny", 2, 2, 5, 2
    if given.weights is None:
        large = given.device != "cpu" or given.shape in ("1.5B", "8B")
        given.weights = "bfloat16" if large else "float32"
    return given


def main() -> None:
    """Measure, write, show; exit 1 where answers differ."""
    given = arguments()
    for name in ("lm_eval", "accelerate"):
        logging.getLogger(name).setLevel(logging.ERROR)
    hf_logging.set_verbosity_error()
    hf_logging.disable_progress_bar()
    result = run(given)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    report.show(result, console)
    if different := disagreeing(result):
        sys.exit("answers differ: " + "; ".join(different))


if __name__ == "__main__":
    main()

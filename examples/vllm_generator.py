"""A vLLM server writes the variants; any other server with OpenAI's chat API will do as well.

    vllm serve Qwen/Qwen3-4B-Instruct-2507 --port 8000 --max-model-len 8192
    python examples/vllm_generator.py prefs.jsonl --policy my-sft --reward my-rm --budget 1000

A run that is stopped goes on with the same command, and asks for no stored reply again.
"""

import argparse
from collections import Counter
from pathlib import Path

from seamaug import expand

ROWS = str(Path(__file__).with_name("prefs.jsonl"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("seeds", nargs="?", default=ROWS, help="prompt, chosen, rejected by row")
    parser.add_argument("--policy")
    parser.add_argument("--reward")
    parser.add_argument("--url", default="http://127.0.0.1:8000/v1")
    parser.add_argument("--model", default="Qwen/Qwen3-4B-Instruct-2507", help="as it is served")
    parser.add_argument("--key", help="environment variable that holds the server's key")
    parser.add_argument("--budget", default=50, help="new examples, such as 500 or 10k")
    parser.add_argument("--max-tokens", default="2M", help="that the LLM may read and write")
    parser.add_argument("--out", default="runs/vllm")
    given = parser.parse_args()

    result = expand(
        given.seeds,
        policy=given.policy,
        reward=given.reward,
        generator=given.model,
        budget=given.budget,
        max_tokens=given.max_tokens,
        out=given.out,
        quiet=False,  # shows progress on a terminal
        settings={
            "generator.engine": "server",
            "generator.url": given.url,
            "generator.api_key_env": given.key,
            "generator.temperature": 0.8,
            "generate.operators": ["paraphrase", "formal", "persona", "distractor", "typos"],
        },
    )
    candidates = result.provenance.to_list()
    kept = Counter(row["operator"] for row in candidates if row["verdict"] == "kept")
    print(f"{result.summary['outcome']}: {kept.total()} kept of {len(candidates)}")
    for operator, account in result.summary["generation"].items():
        tokens = account["prompt_tokens"] + account["new_tokens"]
        print(f"{operator:22}{account['requests']:6} requests, {account['unreadable']} unreadable,"
              f"{tokens:9,} tokens, {kept[operator]} kept")  # fmt: skip


if __name__ == "__main__":
    main()

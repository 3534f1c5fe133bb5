"""
Averages the weights of several fine-tunes of one checkpoint (a "model soup", Wortsman et al. 2022): one model, the size
of each, usually better than the best of them.

    python soup.py --out DIR CHECKPOINT CHECKPOINT …              all of them
    python soup.py --sst2 DIR --out DIR CHECKPOINT CHECKPOINT …   those that help

With --sst2 it is greedy: checkpoints join in the order of their dev accuracy, and stay if the average does not get worse on dev.
"""

import argparse
import json
from pathlib import Path

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, BertForSequenceClassification

from finetune import accuracy
from model_folder import copy_tokenizer
from text_data import read_sst2


def average(states: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """The mean of every floating-point tensor; others are taken from the first state."""
    return {
        name: torch.stack([state[name] for state in states]).mean(dim=0) if value.is_floating_point() else value
        for name, value in states[0].items()
    }


def average_all(checkpoints: list[Path], out: Path) -> None:
    models = [AutoModelForSequenceClassification.from_pretrained(path) for path in checkpoints]
    first = models[0]
    other = next((path for path, model in zip(checkpoints, models) if model.config.id2label != first.config.id2label), None)
    if other is not None:
        raise SystemExit(f"{other} has other labels than {checkpoints[0]}, or another order of them")
    first.load_state_dict(average([model.state_dict() for model in models]))
    first.save_pretrained(out)
    copy_tokenizer(checkpoints[0], out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoints", type=Path, nargs="+")
    parser.add_argument("--sst2", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    if args.sst2 is None:
        average_all(args.checkpoints, args.out)
    else:
        average_greedily(args)


def average_greedily(args: argparse.Namespace) -> None:
    tokenizer = AutoTokenizer.from_pretrained(args.checkpoints[0])
    model = BertForSequenceClassification.from_pretrained(args.checkpoints[0])
    dev, test = (read_sst2(args.sst2 / f"sst2_{split}.tsv") for split in ("dev", "test"))

    candidates = []
    for path in args.checkpoints:
        state = BertForSequenceClassification.from_pretrained(path).state_dict()
        model.load_state_dict(state)
        candidates.append((accuracy(model, tokenizer, dev), path.name, state))
        print(f"{path.name}: dev {candidates[-1][0]:.4f}", flush=True)
    candidates.sort(key=lambda candidate: -candidate[0])

    chosen, names, best = [candidates[0][2]], [candidates[0][1]], candidates[0][0]
    for _, name, state in candidates[1:]:
        model.load_state_dict(average([*chosen, state]))
        score = accuracy(model, tokenizer, dev)
        print(f"with {name}: dev {score:.4f}", flush=True)
        if score >= best:
            chosen, names, best = [*chosen, state], [*names, name], score
    model.load_state_dict(average(chosen))
    report = {"checkpoints": names, "dev": best, "test": accuracy(model, tokenizer, test)}
    print(json.dumps(report), flush=True)
    model.save_pretrained(args.out)
    tokenizer.save_pretrained(args.out)
    (args.out / "finetune.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

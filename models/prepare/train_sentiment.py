"""
Trains the three-class sentiment model that teaches the shipped one: 12 layers, every row of sentiment_data.py's epochs.

    python train_sentiment.py BASE FIRST --data DATA
    python train_sentiment.py FIRST OUT --data DATA --first-epoch 1 --rate 8e-5

It can be stopped at any point; the same command continues (training.py). Word, position and segment embeddings stay as they are:
words that training never sees keep their meaning, and a table that came in 4-bit blocks can be stored in 4 bits again, exactly.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from torch.nn import functional
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from sentiment_data import NAMES, Row, grouped, rows_of_epoch
from training import Recipe, Task, save_checkpoint, token_counts, train, without_dropout

MAX_TOKENS = 96
SMOOTHING = 0.05


def sentiment_task(tokenizer, data: Path, seed: int, first_epoch: int) -> Task[Row]:
    """To tell the label of every row. @param first_epoch number of the epoch of the data that training begins with"""
    groups = grouped(data)

    def lengths(rows: Sequence[Row]) -> list[int]:
        return token_counts(tokenizer, [row.text for row in rows], MAX_TOKENS)

    def loss(model: torch.nn.Module, rows: list[Row]) -> torch.Tensor:
        texts = [row.text for row in rows]
        inputs = tokenizer(texts, padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt")
        # Without token_type_ids, which the tokenizer of XLM-R does not give either.
        logits = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).logits
        return functional.cross_entropy(logits.float(), torch.tensor([row.label for row in rows]), label_smoothing=SMOOTHING)

    return Task(lambda epoch: rows_of_epoch(groups, seed, first_epoch + epoch), lengths, loss)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", type=Path, help="folder of an encoder, such as shrink.py writes, or of an earlier run")
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--first-epoch", type=int, default=0, help="of the data; BASE has learnt those before")
    parser.add_argument("--rate", type=float, default=1.2e-4)
    parser.add_argument("--decay", type=float, default=0.9, help="of the rate, a layer towards the input")
    parser.add_argument("--size", type=int, default=64, help="rows of a batch")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--bf16", action="store_true", help="only where the processor multiplies bf16 faster: measure first")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    # The pooler and the head of an encoder start at random.
    torch.manual_seed(args.seed)
    config = without_dropout(args.base)
    config.id2label = dict(enumerate(NAMES))
    config.label2id = {name: i for i, name in enumerate(NAMES)}
    config.problem_type = "single_label_classification"
    model = AutoModelForSequenceClassification.from_pretrained(args.base, config=config)
    recipe = Recipe(epochs=args.epochs, rate=args.rate, decay=args.decay, size=args.size, seed=args.seed, bf16=args.bf16)
    state = args.out / "state.pt"
    task = sentiment_task(AutoTokenizer.from_pretrained(args.base), args.data, args.seed, args.first_epoch)
    trained = train(model, task, recipe, state)
    save_checkpoint(trained, args.base, args.out, vars(args))
    state.unlink()


if __name__ == "__main__":
    main()

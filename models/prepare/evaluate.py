"""
What a quantised graph is worth: accuracy, speed on one thread, and whether a score depends on the batch.

    python evaluate.py model_quantized.onnx --tokenizer DIR --data sst2_dev.tsv
"""

import argparse
import json
import random
import time
from pathlib import Path

import numpy as np
import onnxruntime
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from text_data import Example, read_sst2


class Classifier:
    """An ONNX graph with its tokenizer, as a worker runs it: one thread, no spinning."""

    def __init__(self, model: Path, tokenizer: PreTrainedTokenizerBase) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        self.inputs = [i.name for i in self.session.get_inputs()]
        self.tokenizer = tokenizer

    def encode(self, texts: list[str]) -> list[list[int]]:
        return self.tokenizer(texts, truncation=True, max_length=512)["input_ids"]

    def scores(self, rows: list[list[int]]) -> np.ndarray:
        """Softmax of one padded batch; shape [rows, labels]."""
        width = max(len(row) for row in rows)
        ids = np.zeros((len(rows), width), dtype=np.int64)
        mask = np.zeros_like(ids)
        for i, row in enumerate(rows):
            ids[i, : len(row)] = row
            mask[i, : len(row)] = 1
        feeds = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        logits = self.session.run(["logits"], {name: feeds[name] for name in self.inputs})[0]
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
        return exponentials / exponentials.sum(axis=1, keepdims=True)


def sorted_batches(rows: list[list[int]], budget: int = 256) -> list[list[int]]:
    """Indices of rows in batches of like length, at most `budget` padded tokens each."""
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    batches: list[list[int]] = []
    for i in order:
        if batches and (len(batches[-1]) + 1) * len(rows[i]) <= budget:
            batches[-1].append(i)
        else:
            batches.append([i])
    return batches


def sorted_scores(classifier: Classifier, texts: list[str]) -> np.ndarray:
    """Scores in batches of like length; shape [texts, labels], in the order of `texts`."""
    rows = classifier.encode(texts)
    result: list[np.ndarray | None] = [None] * len(rows)
    for batch in sorted_batches(rows):
        for index, scores in zip(batch, classifier.scores([rows[i] for i in batch])):
            result[index] = scores
    return np.array(result)


def accuracy(classifier: Classifier, examples: list[Example]) -> float:
    """Share of texts whose best class is their label."""
    scores = sorted_scores(classifier, [e.text for e in examples])
    return float((scores.argmax(axis=1) == [e.label for e in examples]).mean())


def batch_dependence(classifier: Classifier, texts: list[str], rounds: int = 3, seed: int = 0) -> float:
    """Largest difference between a text's score alone and in random batches of 2 to 32 texts of any length."""
    rows = classifier.encode(texts)
    alone = np.concatenate([classifier.scores([row]) for row in rows])
    rng = random.Random(seed)
    worst = 0.0
    for _ in range(rounds):
        order = rng.sample(range(len(rows)), len(rows))
        while order:
            batch = [order.pop() for _ in range(min(len(order), rng.randint(2, 32)))]
            together = classifier.scores([rows[i] for i in batch])
            worst = max(worst, float(np.abs(together - alone[batch]).max()))
    return worst


def seconds(classifier: Classifier, rows: list[list[int]], batches: list[list[int]]) -> float:
    """CPU seconds, not wall clock: one thread does all, and what else runs on the machine does not count."""
    start = time.process_time()
    for batch in batches:
        classifier.scores([rows[i] for i in batch])
    return time.process_time() - start


def speeds(classifiers: dict[str, Classifier], texts: list[str], rounds: int = 9) -> dict[str, dict[str, list[float]]]:
    """
    Rows per CPU second of every variant, `sorted` (batches of like length) and `single` (one text at a time).

    The variants take turns, round by round, because the speed of a shared machine drifts; compare within a round.
    """
    rows = next(iter(classifiers.values())).encode(texts)
    plans = {"sorted": sorted_batches(rows), "single": [[i] for i in range(0, len(rows), 4)]}
    for classifier in classifiers.values():
        seconds(classifier, rows, plans["sorted"])
    result: dict[str, dict[str, list[float]]] = {name: {plan: [] for plan in plans} for name in classifiers}
    for _ in range(rounds):
        for plan, batches in plans.items():
            count = sum(len(batch) for batch in batches)
            for name, classifier in classifiers.items():
                result[name][plan].append(count / seconds(classifier, rows, batches))
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="sentence<TAB>label lines")
    args = parser.parse_args()
    examples = read_sst2(args.data)
    classifier = Classifier(args.model, AutoTokenizer.from_pretrained(args.tokenizer))
    report = {
        "accuracy": accuracy(classifier, examples),
        "worst_difference_alone_or_in_a_batch": batch_dependence(classifier, [e.text for e in examples]),
        "megabytes": args.model.stat().st_size / 1e6,
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()

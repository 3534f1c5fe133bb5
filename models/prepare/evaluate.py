"""
Evaluates an ONNX graph: metrics of its scores, and their dependence on the batch.

    python evaluate.py model_quantized.onnx --folder EXPORTED --data dev.tsv [--thresholds-from other.tsv]

The data is a TSV or JSONL file of texts with labels. Softmax models are judged by accuracy, multi-label ones by mean average
precision and F1, regression by correlation.
"""

import argparse
import json
import random
import time
from pathlib import Path

import numpy as np
import onnxruntime

import metrics
from model_folder import ModelFolder, feeds, read_model_folder
from text_data import read_split


class Classifier:
    """An ONNX graph of a model folder, as a worker runs it: one thread, no spinning."""

    def __init__(self, graph: Path, folder: ModelFolder) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
        self.inputs = [i.name for i in self.session.get_inputs()]
        self.folder = folder

    def scores(self, rows: list[list[int]]) -> np.ndarray:
        """Scores of one batch: softmax, sigmoid or the values themselves; shape [rows, labels]."""
        logits = self.session.run(["logits"], feeds(self.inputs, rows))[0]
        if self.folder.apply == "none":
            return logits
        if self.folder.apply == "sigmoid":
            return 1 / (1 + np.exp(-logits))
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
    rows = classifier.folder.encode(texts)
    result: list[np.ndarray | None] = [None] * len(rows)
    for batch in sorted_batches(rows):
        for index, scores in zip(batch, classifier.scores([rows[i] for i in batch])):
            result[index] = scores
    return np.array(result)


def batch_dependence(classifier: Classifier, texts: list[str], rounds: int = 3, seed: int = 0) -> float:
    """Largest difference between a text's score alone and in random batches of 2 to 32 texts of any length."""
    rows = classifier.folder.encode(texts)
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
    rows = next(iter(classifiers.values())).folder.encode(texts)
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
    parser.add_argument("graph", type=Path, help="ONNX file")
    parser.add_argument("--folder", type=Path, required=True, help="folder with config.json and the tokenizer")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--thresholds-from", type=Path, help="choose the thresholds of a multi-label model on these texts")
    args = parser.parse_args()
    folder = read_model_folder(args.folder)
    classifier = Classifier(args.graph, folder)

    def judge(file: Path, chosen: dict | None) -> dict:
        split = read_split(file, folder.labels, folder.apply)
        return metrics.figures(folder.apply, sorted_scores(classifier, split.texts), split.truth, chosen)

    chosen = judge(args.thresholds_from, None) if args.thresholds_from else None
    report = judge(args.data, chosen)
    texts = read_split(args.data, folder.labels, folder.apply).texts
    report["worst_difference_alone_or_in_a_batch"] = batch_dependence(classifier, texts)
    report["megabytes"] = args.graph.stat().st_size / 1e6
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()

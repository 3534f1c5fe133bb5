"""Scores of a three-class sentiment model for many texts: a model folder with its graph, or a checkpoint of Transformers."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from evaluate import Classifier, sorted_batches
from model_folder import ModelFolder, find_graph, read_model_folder
from sentiment_tests import LABELS


class Checkpoint:
    """A checkpoint in PyTorch, with the interface of `evaluate.Classifier`."""

    def __init__(self, path: Path, folder: ModelFolder, threads: int) -> None:
        # Measuring a graph must not load PyTorch.
        import torch
        from transformers import AutoModelForSequenceClassification

        torch.set_num_threads(threads)
        self.torch, self.folder = torch, folder
        self.model = AutoModelForSequenceClassification.from_pretrained(path).eval()

    def scores(self, rows: list[list[int]]) -> np.ndarray:
        from model_folder import feeds

        tensors = {name: self.torch.from_numpy(value) for name, value in feeds(["input_ids", "attention_mask"], rows).items()}
        with self.torch.inference_mode():
            return self.model(**tensors).logits.float().softmax(dim=-1).numpy()


class SentimentModel:
    """
    Scores in the order of LABELS, whatever the order and the case of the model's own labels. A model without a neutral class
    gives it 0.
    """

    def __init__(self, folder: Path, graph: Path | None = None, threads: int = 1) -> None:
        # The tokenizer's own threads would take cores that were not given.
        os.environ["TOKENIZERS_PARALLELISM"] = "true" if threads > 1 else "false"
        self.folder, self.threads = read_model_folder(folder), threads
        found = graph or find_graph(folder)
        self.graph = found
        if found is not None:
            self.classifier, self.budget = Classifier(found, self.folder), 256
        else:
            self.classifier, self.budget = Checkpoint(folder, self.folder, threads), 2048
        own = [name.casefold() for name in self.folder.labels]
        if self.folder.apply != "softmax" or not {"negative", "positive"} <= set(own) <= set(LABELS):
            raise SystemExit(
                f"{folder}: labels {', '.join(own)} ({self.folder.apply}), but sentiment has one of {', '.join(LABELS)}"
            )
        self.columns = [own.index(name) if name in own else None for name in LABELS]

    @property
    def megabytes(self) -> float | None:
        return self.graph.stat().st_size / 1e6 if self.graph is not None else None

    @property
    def neutral(self) -> bool:
        return None not in self.columns

    def scores(self, texts: list[str]) -> np.ndarray:
        """Scores of every text, [texts, labels], in batches of like length."""
        rows = self.folder.encode(texts)
        result = np.zeros((len(rows), len(LABELS)), dtype=np.float64)

        def score(batch: list[int]) -> None:
            scores = self.classifier.scores([rows[i] for i in batch])
            for column, own in enumerate(self.columns):
                if own is not None:
                    result[batch, column] = scores[:, own]

        # A session may run in several threads at a time; PyTorch has threads of its own.
        with ThreadPoolExecutor(1 if isinstance(self.classifier, Checkpoint) else self.threads) as pool:
            # Longest first, so that no thread is left with the longest batch at the end.
            list(pool.map(score, reversed(sorted_batches(rows, self.budget))))
        return result

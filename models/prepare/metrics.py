"""Figures of merit of scores, [texts, labels], against the labels of the texts. NumPy only."""

from dataclasses import dataclass

import numpy as np

THRESHOLDS = np.round(np.arange(0.05, 0.951, 0.01), 2)


@dataclass(frozen=True)
class F1:
    """F1 of a threshold: over all decisions together (micro), and the mean of the labels' own (macro)."""

    micro: float
    macro: float


def label_f1(scores: np.ndarray, truth: np.ndarray, threshold: float) -> np.ndarray:
    """F1 of every label, [labels]; 0 for one that is never right."""
    chosen = scores >= threshold
    right = (chosen & truth).sum(axis=0)
    return 2 * right / np.maximum(chosen.sum(axis=0) + truth.sum(axis=0), 1)


def f1(scores: np.ndarray, truth: np.ndarray, threshold: float) -> F1:
    chosen = scores >= threshold
    micro = 2 * (chosen & truth).sum() / max(chosen.sum() + truth.sum(), 1)
    return F1(micro=float(micro), macro=float(label_f1(scores, truth, threshold).mean()))


def best_threshold(scores: np.ndarray, truth: np.ndarray) -> float:
    """The one threshold for all labels with the best macro-F1."""
    return float(max(THRESHOLDS, key=lambda threshold: f1(scores, truth, threshold).macro))


def mean_average_precision(scores: np.ndarray, truth: np.ndarray) -> float:
    """
    Mean, over the labels that occur, of the average precision: how well a label's texts are ranked before the others,
    whatever the threshold. Texts of equal score count in the order given.
    """
    values = []
    for label in range(truth.shape[1]):
        hits = truth[np.argsort(-scores[:, label], kind="stable"), label]
        if hits.any():
            precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
            values.append(precision[hits].mean())
    return float(np.mean(values))


def accuracy(scores: np.ndarray, labels: list[int]) -> float:
    """Share of texts whose best class is their label."""
    return float((scores.argmax(axis=1) == np.asarray(labels)).mean())

"""Metrics of scores, [texts, labels], against the true labels. NumPy only."""

from dataclasses import dataclass

import numpy as np

THRESHOLDS = np.round(np.arange(0.05, 0.951, 0.01), 2)

# The figures that a table shows, by how logits become scores; `figures` knows more.
HEADLINES = {
    "softmax": {"accuracy": "accuracy"},
    "sigmoid": {"mean_average_precision": "mAP", "macro_f1": "macro-F1"},
    "none": {"correlation": "correlation", "mean_absolute_error": "mean error"},
}


@dataclass(frozen=True)
class F1:
    """F1 of a threshold: over all decisions together (micro), and the mean of the labels' own (macro)."""

    micro: float
    macro: float


def label_f1(scores: np.ndarray, truth: np.ndarray, threshold: float | np.ndarray) -> np.ndarray:
    """F1 of every label, [labels], at one threshold or one a label; 0 for one that is never right."""
    chosen = scores >= threshold
    right = (chosen & truth).sum(axis=0)
    return 2 * right / np.maximum(chosen.sum(axis=0) + truth.sum(axis=0), 1)


def f1(scores: np.ndarray, truth: np.ndarray, threshold: float | np.ndarray) -> F1:
    chosen = scores >= threshold
    micro = 2 * (chosen & truth).sum() / max(chosen.sum() + truth.sum(), 1)
    return F1(micro=float(micro), macro=float(label_f1(scores, truth, threshold).mean()))


def best_threshold(scores: np.ndarray, truth: np.ndarray) -> float:
    """The one threshold for all labels with the best macro-F1."""
    return float(max(THRESHOLDS, key=lambda threshold: f1(scores, truth, threshold).macro))


def best_thresholds(scores: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The threshold of every label with its best F1, [labels]."""
    values = np.stack([label_f1(scores, truth, threshold) for threshold in THRESHOLDS])
    return THRESHOLDS[values.argmax(axis=0)]


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


def accuracy(scores: np.ndarray, labels: list[int] | np.ndarray) -> float:
    """Share of texts whose best class is their label."""
    return float((scores.argmax(axis=1) == np.asarray(labels)).mean())


def figures(apply: str, scores: np.ndarray, truth: np.ndarray, chosen: dict | None = None) -> dict:
    """
    Everything worth saying about scores. `truth` is int [texts] for softmax, bool [texts, labels] for sigmoid, and
    float [texts] for none (regression: its first output).

    @param chosen figures of another set whose thresholds are used; without it the best for these texts are found
    """
    if apply == "softmax":
        one_hot = np.eye(scores.shape[1], dtype=bool)
        f1s = label_f1(one_hot[scores.argmax(axis=1)], one_hot[truth], 0.5)
        return {"accuracy": accuracy(scores, truth), "macro_f1": float(f1s.mean())}
    if apply == "none":
        values = scores[:, 0]
        return {
            "correlation": float(np.corrcoef(values, truth)[0, 1]),
            "mean_absolute_error": float(np.abs(values - truth).mean()),
        }
    threshold = chosen["threshold"] if chosen else best_threshold(scores, truth)
    thresholds = chosen["thresholds"] if chosen else [float(t) for t in best_thresholds(scores, truth)]
    half, best, own = (f1(scores, truth, t) for t in (0.5, threshold, np.array(thresholds)))
    return {
        "mean_average_precision": mean_average_precision(scores, truth),
        "macro_f1": best.macro, "micro_f1": best.micro, "threshold": threshold,
        "macro_f1_at_half": half.macro, "micro_f1_at_half": half.micro,
        "macro_f1_own": own.macro, "micro_f1_own": own.micro, "thresholds": thresholds,
        "label_f1": [float(value) for value in label_f1(scores, truth, threshold)],
        "label_texts": [int(count) for count in truth.sum(axis=0)],
    }  # fmt: skip


def agreement(apply: str, scores: np.ndarray, expected: np.ndarray) -> float:
    """
    How often two models say the same: the share of texts with the same best class, or with the same labels at or above
    0.5; for regression the correlation of their values.
    """
    if apply == "softmax":
        return float((scores.argmax(axis=1) == expected.argmax(axis=1)).mean())
    if apply == "sigmoid":
        return float(((scores >= 0.5) == (expected >= 0.5)).all(axis=1).mean())
    return float(np.corrcoef(scores[:, 0], expected[:, 0])[0, 1])

"""
Figures of three-class sentiment scores, [texts, negative/neutral/positive], against the true labels. NumPy only.

Tests without neutral rows are judged by the better of negative and positive, as if the model had no third class; the share of
texts that it calls neutral stands beside.
"""

import numpy as np

from sentiment_tests import NEGATIVE, NEUTRAL, POSITIVE


def better_of_two(scores: np.ndarray) -> np.ndarray:
    """POSITIVE or NEGATIVE, whichever has the higher score."""
    return np.where(scores[:, POSITIVE] > scores[:, NEGATIVE], POSITIVE, NEGATIVE)


def best(scores: np.ndarray, binary: bool) -> np.ndarray:
    return better_of_two(scores) if binary else scores.argmax(axis=1)


def macro_f1(labels: np.ndarray, predicted: np.ndarray) -> float:
    """Mean F1 of the classes that the labels have."""
    values = []
    for label in np.unique(labels):
        right = ((labels == label) & (predicted == label)).sum()
        values.append(2 * right / ((labels == label).sum() + (predicted == label).sum()))
    return float(np.mean(values))


def recall(labels: np.ndarray, predicted: np.ndarray, label: int) -> float | None:
    """Share of the rows of a class that were given it; None without such rows."""
    of_class = labels == label
    return float((predicted[of_class] == label).mean()) if of_class.any() else None


def balanced_recall(labels: np.ndarray, scores: np.ndarray) -> float | None:
    """
    Mean of the recalls of negative and positive, each such row judged by the better of the two: what a coin has is 0.5.
    None unless both classes have rows.
    """
    recalls = [recall(labels, better_of_two(scores), label) for label in (NEGATIVE, POSITIVE)]
    return None if None in recalls else float(np.mean(recalls))


def figures(scores: np.ndarray, labels: np.ndarray) -> dict:
    """Everything worth saying about one test."""
    binary = NEUTRAL not in labels
    predicted, called = best(scores, binary), scores.argmax(axis=1)
    counts = np.bincount(labels, minlength=3)
    return {
        "rows": len(labels),
        "classes": int((counts > 0).sum()),
        "accuracy": float((predicted == labels).mean()),
        "macro_f1": macro_f1(labels, predicted),
        "balanced_recall": balanced_recall(labels, scores),
        "majority": float(counts.max() / len(labels)),
        "called_neutral": float((called == NEUTRAL).mean()),
        # Rows: true class; columns: the class with the highest score, neutral included.
        "confusion": [[int(((labels == true) & (called == said)).sum()) for said in range(3)] for true in range(3)],
    }


def calibration_error(scores: np.ndarray, labels: np.ndarray, bins: int = 15) -> float:
    """
    Expected calibration error: the mean distance of the best score from the share of texts that it is right about, in bins
    of equal width, weighted by their texts.
    """
    confidence, right = scores.max(axis=1), scores.argmax(axis=1) == labels
    bin_of = np.minimum((confidence * bins).astype(int), bins - 1)
    distances = [abs(confidence[bin_of == i].sum() - right[bin_of == i].sum()) for i in range(bins)]
    return float(sum(distances) / len(labels))

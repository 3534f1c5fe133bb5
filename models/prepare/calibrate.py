"""
Calibrates a three-class sentiment checkpoint: its scores should be as often right as they say, in every domain.

    python calibrate.py WORK/student WORK/calibrated --data DATA --report calibration.json --plot calibration.png

Two things are fitted on dev rows, and folded into the weights of the last linear layer, so that what is exported needs no
setting: logits' = (logits + bias) / temperature.

- The bias of the classes, where the mean macro-F1 gains by it: a model that learnt "neutral" from tweets calls it too
  seldom in reviews. It is fitted as if every class were as frequent as the others.
- The temperature, with the bias in place, on rows as frequent as they are.

Every domain weighs the same, and in a domain every source in a language. Languages of a source without neutral rows are
left out: there the best bias would be to never say neutral. Half of each group's rows are fitted on; the report and the choice
about the bias are of the other half.

Tried on a teacher of 12 layers and not used: the largest bias of the neutral class that costs the fitted half less than 0.003 of
mean macro-F1. It was 0.40, and cost the other half 0.007 (3,864 rows), though it found more plain facts.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from model_folder import copy_tokenizer
from sentiment_figures import calibration_error, macro_f1
from sentiment_report import calibration_tables
from sentiment_scores import SentimentModel
from sentiment_tests import LABELS, NEUTRAL, SOURCES, labelled_rows, sample

# A bias is kept only if it gains at least this much macro-F1 in the mean of the domains; less is within the noise of dev.
LEAST_GAIN = 0.005
TEMPERATURES = (0.1, 10.0)


@dataclass(frozen=True)
class Group:
    """Dev rows of one source in one language: their logits, and their labels."""

    domain: str
    lang: str
    logits: np.ndarray
    labels: np.ndarray

    def rows(self, chosen: slice) -> "Group":
        return Group(self.domain, self.lang, self.logits[chosen], self.labels[chosen])


def softmax(logits: np.ndarray) -> np.ndarray:
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def weights_of(groups: list[Group], balanced: bool) -> np.ndarray:
    """A weight for every row of the groups, together 1; with `balanced`, the classes of a group weigh the same."""
    domains = {group.domain for group in groups}
    weights = []
    for group in groups:
        share = 1 / len(domains) / sum(other.domain == group.domain for other in groups)
        if balanced:
            counts = np.bincount(group.labels, minlength=len(LABELS))
            weights.append(share / (counts > 0).sum() / counts[group.labels])
        else:
            weights.append(np.full(len(group.labels), share / len(group.labels)))
    return np.concatenate(weights)


def together(groups: list[Group]) -> tuple[np.ndarray, np.ndarray]:
    return np.concatenate([group.logits for group in groups]), np.concatenate([group.labels for group in groups])


def loss(logits: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> float:
    """Weighted negative log-likelihood."""
    return float(-(weights * np.log(np.maximum(softmax(logits)[np.arange(len(labels)), labels], 1e-12))).sum())


def golden_section(of: Callable[[float], float], low: float, high: float, steps: int = 60) -> float:
    """Where a function with one minimum between `low` and `high` has it."""
    ratio = (5**0.5 - 1) / 2
    left, right = high - ratio * (high - low), low + ratio * (high - low)
    at_left, at_right = of(left), of(right)
    for _ in range(steps):
        if at_left < at_right:
            high, right, at_right = right, left, at_left
            left = high - ratio * (high - low)
            at_left = of(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + ratio * (high - low)
            at_right = of(right)
    return (low + high) / 2


def fit_temperature(logits: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> float:
    """The temperature with the least loss. The loss is convex in its inverse, so it has one minimum in its logarithm."""
    low, high = np.log(TEMPERATURES)
    return float(np.exp(golden_section(lambda value: loss(logits / np.exp(value), labels, weights), low, high)))


def fit_bias(logits: np.ndarray, labels: np.ndarray, weights: np.ndarray, steps: int = 50) -> np.ndarray:
    """
    Biases of the classes, with sum 0, to be added to the logits: fitted by Newton's method together with the inverse of a
    temperature, in which the loss is convex.
    """
    count = logits.shape[1]
    truth = np.eye(count)[labels]
    # Parameters: the factor of the logits, then the biases of all classes but the last.
    parameters = np.concatenate([[1.0], np.zeros(count - 1)])

    def shifted(values: np.ndarray) -> np.ndarray:
        return values[0] * logits + np.append(values[1:], 0.0)

    for _ in range(steps):
        scores = softmax(shifted(parameters))
        # [rows, classes, parameters]: what a parameter adds to a logit.
        features = np.concatenate(
            [logits[:, :, None], np.broadcast_to(np.eye(count)[:, :-1], (len(logits), count, count - 1))], axis=2
        )
        gradient = np.einsum("n,nc,ncp->p", weights, scores - truth, features)
        mean = np.einsum("nc,ncp->np", scores, features)
        hessian = np.einsum("n,nc,ncp,ncq->pq", weights, scores, features, features) - np.einsum(
            "n,np,nq->pq", weights, mean, mean
        )
        step = np.linalg.solve(hessian + 1e-9 * np.eye(count), gradient)
        before, size = loss(shifted(parameters), labels, weights), 1.0
        while size > 1e-4 and loss(shifted(parameters - size * step), labels, weights) > before:
            size /= 2
        parameters = parameters - size * step
        if np.abs(step).max() < 1e-7:
            break
    bias = np.append(parameters[1:], 0.0) / max(parameters[0], 1e-3)
    return bias - bias.mean()


@dataclass(frozen=True)
class Calibration:
    temperature: float
    # In the order of LABELS.
    bias: np.ndarray

    def apply(self, logits: np.ndarray) -> np.ndarray:
        return (logits + self.bias) / self.temperature


UNCHANGED = Calibration(1.0, np.zeros(len(LABELS)))


def by_domain(groups: list[Group], calibration: Calibration) -> dict[str, dict]:
    """Means over the groups of a domain: macro-F1, recall of neutral, calibration error."""
    values: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
    for group in groups:
        scores = softmax(calibration.apply(group.logits))
        said, truly = scores.argmax(axis=1), group.labels == NEUTRAL
        values[group.domain].append(
            (
                macro_f1(group.labels, said),
                float((said[truly] == NEUTRAL).mean()) if truly.any() else np.nan,
                calibration_error(scores, group.labels),
            )
        )
    names = ("macro_f1", "neutral_recall", "calibration_error")
    return {domain: dict(zip(names, map(float, np.nanmean(rows, axis=0)))) for domain, rows in sorted(values.items())}


def by_language(groups: list[Group], calibration: Calibration) -> dict[str, dict]:
    result = {}
    for lang in sorted({group.lang for group in groups}):
        logits, labels = together([group for group in groups if group.lang == lang])
        scores = softmax(calibration.apply(logits))
        result[lang] = {
            "rows": len(labels),
            "calibration_error": calibration_error(scores, labels),
            "accuracy": float((scores.argmax(axis=1) == labels).mean()),
        }
    return result


def bias_helps(groups: list[Group], bias: np.ndarray) -> bool:
    """Whether a bias raises the macro-F1 of most domains, and their mean by more than noise."""
    before, after = by_domain(groups, UNCHANGED), by_domain(groups, Calibration(1.0, bias))
    gains = [after[domain]["macro_f1"] - before[domain]["macro_f1"] for domain in before]
    return sum(gain > 0 for gain in gains) > len(gains) / 2 and float(np.mean(gains)) >= LEAST_GAIN


def fit(groups: list[Group]) -> tuple[Calibration, dict]:
    """The calibration, and what it changes on the rows that were not fitted on."""
    fitted, judged = [group.rows(slice(0, None, 2)) for group in groups], [group.rows(slice(1, None, 2)) for group in groups]
    logits, labels = together(fitted)
    tried = fit_bias(logits, labels, weights_of(fitted, balanced=True))
    kept = bias_helps(judged, tried)
    bias = tried if kept else UNCHANGED.bias
    calibration = Calibration(fit_temperature(logits + bias, labels, weights_of(fitted, balanced=False)), bias)
    judged_logits, judged_labels = together(judged)
    natural = weights_of(judged, balanced=False)
    states = {"before": UNCHANGED, "after": calibration, "with_bias": Calibration(1.0, tried)}
    return calibration, {
        "temperature": calibration.temperature,
        "bias": dict(zip(LABELS, map(float, bias))),
        "bias_tried": dict(zip(LABELS, map(float, tried))),
        "bias_kept": kept,
        "rows": len(judged_labels),
        "loss": {name: loss(state.apply(judged_logits), judged_labels, natural) for name, state in states.items()},
        "calibration_error": {
            name: calibration_error(softmax(state.apply(judged_logits)), judged_labels) for name, state in states.items()
        },
        "domains": {name: by_domain(judged, state) for name, state in states.items()},
        "languages": {name: by_language(judged, state) for name, state in states.items() if name != "with_bias"},
    }


def dev_groups(model: SentimentModel, data: Path, limit: int) -> list[Group]:
    groups = sample(labelled_rows(data, "dev"), limit)
    # Fewer rows of a class than this say nothing about it.
    enough = {
        key: rows for key, rows in groups.items() if np.bincount([row.label for row in rows], minlength=len(LABELS)).min() >= 10
    }
    if not enough:
        raise SystemExit(f"{data}: no source has dev rows of all of {', '.join(LABELS)}")
    rows = [row for members in enough.values() for row in members]
    # Softmax forgets what all logits of a row have in common, and so does everything here.
    logits = np.log(np.maximum(model.scores([row.text for row in rows]), 1e-12))
    result, start = [], 0
    for (source, _, lang), members in enough.items():
        labels = np.array([row.label for row in members])
        result.append(Group(SOURCES[source].domain, lang, logits[start : start + len(members)], labels))
        start += len(members)
    return result


def fold(checkpoint: Path, out: Path, calibration: Calibration) -> None:
    """Writes the checkpoint with the calibration in its last linear layer."""
    import torch
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(checkpoint)
    names = [model.config.id2label[i].casefold() for i in range(model.config.num_labels)]
    if sorted(names) != sorted(LABELS):
        raise SystemExit(f"{checkpoint}: labels {', '.join(names)}, but {', '.join(LABELS)} are calibrated")
    heads = [module for module in model.modules() if isinstance(module, torch.nn.Linear) and module.out_features == len(LABELS)]
    if not heads or heads[-1].bias is None:
        raise SystemExit(f"{checkpoint}: its last layer is not linear, with a bias for each of {len(LABELS)} labels")
    bias = torch.tensor([calibration.bias[LABELS.index(name)] for name in names], dtype=heads[-1].bias.dtype)
    with torch.no_grad():
        heads[-1].weight.div_(calibration.temperature)
        heads[-1].bias.add_(bias).div_(calibration.temperature)
    model.save_pretrained(out)
    copy_tokenizer(checkpoint, out)


def plot(groups: list[Group], calibration: Calibration, path: Path) -> None:
    """Reliability: in each bin of best scores, the share of texts that are right; the diagonal is perfect."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    logits, labels = together(groups)
    figure, axes = plt.subplots(figsize=(4.2, 4), layout="constrained")
    axes.plot([1 / 3, 1], [1 / 3, 1], color="#b9c1c8", linewidth=1)
    for state, name, colour in ((UNCHANGED, "before", "#7a8794"), (calibration, "after", "#b5482a")):
        scores = softmax(state.apply(logits))
        confidence, right = scores.max(axis=1), scores.argmax(axis=1) == labels
        edges = np.linspace(1 / 3, 1, 11)
        bins = [(confidence >= low) & (confidence <= high) for low, high in zip(edges, edges[1:])]
        points = [(confidence[chosen].mean(), right[chosen].mean()) for chosen in bins if chosen.sum() >= 20]
        axes.plot(
            *zip(*points), marker="o", markersize=3, color=colour, label=f"{name}: error {calibration_error(scores, labels):.3f}"
        )
    axes.set_xlabel("best score")
    axes.set_ylabel("share of texts that are right")
    axes.legend(frameon=False)
    figure.savefig(path, dpi=90)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, help="checkpoint of Transformers")
    parser.add_argument("out", type=Path, help="folder for the calibrated checkpoint")
    parser.add_argument("--data", type=Path, required=True, help="folder with sentiment/permissive, see sentiment_tests.py")
    parser.add_argument("--report", type=Path, help="figures before and after, as JSON")
    parser.add_argument("--plot", type=Path, help="reliability before and after, as PNG")
    parser.add_argument("--limit", type=int, default=300, help="dev rows of a language of a source at most")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    groups = dev_groups(SentimentModel(args.checkpoint, threads=args.threads), args.data, args.limit)
    calibration, report = fit(groups)
    fold(args.checkpoint, args.out, calibration)
    report["tables"] = calibration_tables(report)
    if args.report:
        args.report.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    if args.plot:
        plot([group.rows(slice(1, None, 2)) for group in groups], calibration, args.plot)
    print("\n\n".join(report["tables"].values()))


if __name__ == "__main__":
    main()

"""
Fits the temperature of a model folder whose scores are a softmax: its scores should be as often right as they say.

    python temperature.py FOLDER --labelled dev.tsv [--test test.tsv] [--plot FOLDER/reliability.png]

It is fitted on half of the labelled texts, and judged on the others and on --test. If the loss of the others falls, `amulet.json` gets
it, and the manifest another revision, because scores change; the graph stays as it is. A worker divides logits by it. The order of labels does not change.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from calibrate import fit_temperature, loss, softmax
from evaluate import Classifier, sorted_scores
from model_folder import graph_of, read_model_folder
from package_model import AMULET_JSON, write_amulet_json, write_manifest
from sentiment_figures import calibration_error
from text_data import read_split

# Of a batch of texts: logits [texts, labels], and the index of the label of each.
Judged = tuple[np.ndarray, np.ndarray]


def even(labels: np.ndarray) -> np.ndarray:
    return np.full(len(labels), 1 / len(labels))


def helps(judged: Judged, temperature: float) -> bool:
    logits, labels = judged
    return loss(logits / temperature, labels, even(labels)) < loss(logits, labels, even(labels))


def write_temperature(folder: Path, temperature: float) -> None:
    write_amulet_json(folder / AMULET_JSON, None, temperature=temperature)
    manifest = folder / "manifest.json"
    if manifest.exists():
        files = json.loads(manifest.read_text(encoding="utf-8"))["files"]
        write_manifest(folder, sorted({*files, AMULET_JSON}))


def reliability(judged: Judged, temperature: float, path: Path) -> None:
    """In each bin of best scores, the share of texts that are right; the diagonal is perfect."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    logits, labels = judged
    least = 1 / logits.shape[1]
    figure, axes = plt.subplots(figsize=(4.2, 4), layout="constrained")
    axes.plot([least, 1], [least, 1], color="#b9c1c8", linewidth=1)
    for divisor, name, colour in ((1.0, "before", "#7a8794"), (temperature, "after", "#b5482a")):
        scores = softmax(logits / divisor)
        confidence, right = scores.max(axis=1), scores.argmax(axis=1) == labels
        edges = np.linspace(least, 1, 11)
        bins = [(confidence >= low) & (confidence <= high) for low, high in zip(edges, edges[1:])]
        points = [(confidence[chosen].mean(), right[chosen].mean()) for chosen in bins if chosen.sum() >= 20]
        error = calibration_error(scores, labels)
        if points:
            axes.plot(*zip(*points), marker="o", markersize=3, color=colour, label=f"{name}: error {error:.3f}")
    axes.set_xlabel("best score")
    axes.set_ylabel("share of texts that are right")
    axes.legend(frameon=False)
    figure.savefig(path, dpi=90)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="as prepare.py writes it")
    parser.add_argument("--labelled", type=Path, required=True)
    parser.add_argument("--test", type=Path, help="judged alone")
    parser.add_argument("--plot", type=Path, help="reliability before and after, as PNG")
    args = parser.parse_args()
    model = read_model_folder(args.folder)
    if model.apply != "softmax":
        raise SystemExit(f"{args.folder}: its scores are no softmax ({model.apply}); a multi-label model has thresholds instead")
    classifier = Classifier(graph_of(args.folder), model)

    def judge(file: Path) -> Judged:
        split = read_split(file, model.labels, model.apply)
        # Softmax forgets what all logits of a text have in common, and so does everything here.
        return np.log(np.maximum(sorted_scores(classifier, split.texts), 1e-12)), split.truth

    logits, labels = judge(args.labelled)
    fitted, held_out = (logits[::2], labels[::2]), (logits[1::2], labels[1::2])
    if len(fitted[1]) == 0 or len(held_out[1]) == 0:
        raise SystemExit(f"{args.labelled}: too few labelled texts")
    temperature = round(fit_temperature(*fitted, even(fitted[1])), 4)
    sets = {"held out": held_out, **({"test": judge(args.test)} if args.test else {})}
    print(f"temperature {temperature}")
    for name, (some, truth) in sets.items():
        before, after = (calibration_error(softmax(some / divisor), truth) for divisor in (1.0, temperature))
        print(f"{name}, {len(truth):,} texts: expected calibration error {before:.4f} before, {after:.4f} after")
    if args.plot:
        reliability(sets.get("test", held_out), temperature, args.plot)
    if not helps(held_out, temperature):
        raise SystemExit("not written: the loss of the texts that it was not fitted on does not fall")
    write_temperature(args.folder, temperature)


if __name__ == "__main__":
    main()

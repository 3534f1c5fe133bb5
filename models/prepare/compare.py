"""
Makes every variant of an exported model, measures them side by side, and writes REPORT.md and report.png.

    python compare.py EXPORTED_FOLDER --sst2 DIR --work DIR --report REPORT_FOLDER

Variants are made under --work. Speeds are medians over rounds in which the variants take turns; the ratio is the median of
the ratios within each round, so a drifting machine does not favour anybody.
"""

import argparse
import platform
import statistics
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import onnxruntime
from transformers import AutoTokenizer

from evaluate import Classifier, accuracy, batch_dependence, sorted_scores, speeds
from optimise import optimise
from quantise import quantise_static
from text_data import read_sst2
from variants import dynamic, per_row, static_qdq

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402  (the backend has to be chosen first)

EXPORTED = "fp32, as exported"
# Of the very graph that is shipped, only quantised in the usual way.
REFERENCE = "dynamic int8, first token"
SHIPPED = "static int8, first token, 7-bit weights"
CALIBRATION_TEXTS = 400


@dataclass(frozen=True)
class Row:
    """One line of the report."""

    name: str
    megabytes: float
    dev: float
    test: float
    shift: float
    dependence: float
    sorted_rate: float
    sorted_ratio: float
    single_rate: float
    single_ratio: float


def make_variants(exported: Path, tokenizer, texts: list[str], work: Path) -> dict[str, Path]:
    """Writes every variant; returns its path by name."""
    work.mkdir(parents=True, exist_ok=True)
    source = exported / "onnx" / "model.onnx"
    fused, shortened = work / "model_O2.onnx", work / "model_O2_first.onnx"
    paths = {EXPORTED: source}
    for level in ("O1", "O2", "O3"):
        paths[f"fp32, {level}"] = work / f"model_{level}.onnx"
        optimise(source, paths[f"fp32, {level}"], level, heads=12, hidden=384)
    optimise(source, shortened, "O2", heads=12, hidden=384, first_token=True)

    def variant(name: str, file: str) -> Path:
        paths[name] = work / file
        return paths[name]

    paths["fp32, O2, first token"] = shortened
    dynamic(fused, variant("dynamic int8, O2", "model_dynamic_O2.onnx"), work / "scratch.onnx")
    dynamic(shortened, variant(REFERENCE, "model_dynamic.onnx"), work / "scratch.onnx")
    static_qdq(source, variant("static int8, ONNX Runtime's QDQ", "model_qdq.onnx"), tokenizer, texts)
    per_row(shortened, variant("per-row dynamic int8, first token", "model_per_row.onnx"))
    quantise_static(fused, variant("static int8, O2", "model_static7_O2.onnx"), tokenizer, texts)
    quantise_static(
        shortened, variant("static int8, first token, 8-bit weights", "model_static8.onnx"), tokenizer, texts, bits=8
    )
    quantise_static(shortened, variant(SHIPPED, "model_static7.onnx"), tokenizer, texts)
    return paths


def measure(variants: dict[str, Path], tokenizer, sst2: Path, rounds: int) -> list[Row]:
    dev, test = (read_sst2(sst2 / f"sst2_{split}.tsv") for split in ("dev", "test"))
    texts = [example.text for example in dev]
    classifiers = {name: Classifier(path, tokenizer) for name, path in variants.items()}
    expected = sorted_scores(classifiers[EXPORTED], texts)
    rates = speeds(classifiers, texts, rounds)

    def ratio(name: str, plan: str) -> float:
        pairs = zip(rates[name][plan], rates[REFERENCE][plan])
        return statistics.median(mine / reference for mine, reference in pairs)

    rows = []
    for name, classifier in classifiers.items():
        scores = sorted_scores(classifier, texts)
        rows.append(
            Row(
                name=name,
                megabytes=variants[name].stat().st_size / 1e6,
                dev=float((scores.argmax(axis=1) == [e.label for e in dev]).mean()),
                test=accuracy(classifier, test),
                shift=float(np.abs(scores - expected)[:, 0].mean()),
                dependence=batch_dependence(classifier, texts, rounds=1),
                sorted_rate=statistics.median(rates[name]["sorted"]),
                sorted_ratio=ratio(name, "sorted"),
                single_rate=statistics.median(rates[name]["single"]),
                single_ratio=ratio(name, "single"),
            )
        )
        print(rows[-1], flush=True)
    return rows


def cpu_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []:
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def markdown(rows: list[Row], rounds: int) -> str:
    lines = [
        "# Variants of the shipped model, side by side",
        "",
        f"Made by `compare.py`: ONNX Runtime {onnxruntime.__version__}, one thread, {cpu_name()}, {rounds} rounds in turn.",
        "",
        "- *dev*, *test*: accuracy on SST-2. *shift*: mean difference of the dev scores to those of the exported model.",
        "- *dependence*: the largest difference between a dev sentence's score alone and in random batches of 2 to 32.",
        "- *sorted*: rows per CPU second, the 872 dev sentences in batches of like length of at most 256 padded tokens;",
        "  *single*: one sentence at a time. ×: the median, over the rounds, of the ratio to dynamic int8 of the same graph.",
        "- *first token*: behind the last attention only the first token is computed (`optimise.py`).",
        "",
        "| variant | MB | dev | test | shift | dependence | sorted | × | single | × |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        name = f"**{row.name}** (shipped)" if row.name == SHIPPED else row.name
        lines.append(
            f"| {name} | {row.megabytes:.1f} | {row.dev:.4f} | {row.test:.4f} | {row.shift:.4f} | {_zero(row.dependence)} "
            f"| {row.sorted_rate:.0f} | {row.sorted_ratio:.2f} | {row.single_rate:.0f} | {row.single_ratio:.2f} |"
        )
    return "\n".join([*lines, "", "![rows per second and dependence](report.png)", ""])


def _zero(value: float) -> str:
    return f"{value:.1e}" if value else "**0**"


def chart(rows: list[Row], path: Path) -> None:
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 0.5 * len(rows) + 1.5), sharey=True, layout="constrained")
    names = [row.name for row in rows]
    colours = ["#b5482a" if row.name == SHIPPED else "#7a8794" for row in rows]
    left.barh(names, [row.sorted_rate for row in rows], color=colours)
    left.set_xlabel("rows per CPU second, one thread, length-sorted")
    right.barh(names, [max(row.dependence, 1e-8) for row in rows], color=colours)
    right.set_xscale("log")
    right.set_xlabel("largest change of a score by its batch mates (1e-8: none)")
    left.invert_yaxis()
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("exported", type=Path, help="folder written by export.py")
    parser.add_argument("--sst2", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--report", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(args.exported)
    train = read_sst2(args.sst2 / "sst2_train.tsv")
    step = max(1, len(train) // CALIBRATION_TEXTS)
    variants = make_variants(args.exported, tokenizer, [e.text for e in train[::step]], args.work)
    rows = measure(variants, tokenizer, args.sst2, args.rounds)
    args.report.mkdir(parents=True, exist_ok=True)
    (args.report / "REPORT.md").write_text(markdown(rows, args.rounds), encoding="utf-8")
    chart(rows, args.report / "report.png")
    print(markdown(rows, args.rounds))


if __name__ == "__main__":
    main()

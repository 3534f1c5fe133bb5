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
import onnx
import onnxruntime
from onnxruntime.quantization import QuantType, quantize_dynamic
from transformers import AutoTokenizer

from evaluate import Classifier, accuracy, batch_dependence, speeds
from optimise import optimise
from quantise import quantise_embeddings, quantise_static
from text_data import read_sst2

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402  (the backend has to be chosen first)

REFERENCE = "dynamic int8"
SHIPPED = "static int8, 7-bit weights"
CALIBRATION_TEXTS = 400


@dataclass(frozen=True)
class Row:
    """One line of the report."""

    name: str
    megabytes: float
    dev: float
    test: float
    dependence: float
    sorted_rate: float
    sorted_ratio: float
    single_rate: float
    single_ratio: float


def make_variants(exported: Path, tokenizer, texts: list[str], work: Path) -> dict[str, Path]:
    """Writes every variant; returns its path by name."""
    work.mkdir(parents=True, exist_ok=True)
    source = exported / "onnx" / "model.onnx"
    variants = {"fp32, as exported": source}
    for level in ("O1", "O2", "O3"):
        variants[f"fp32, {level}"] = work / f"model_{level}.onnx"
        optimise(source, variants[f"fp32, {level}"], level, heads=12, hidden=384)
    fused = variants["fp32, O2"]
    # The same int8 embeddings as ours, so that the difference is in the matrices alone.
    embedded = work / "model_O2_embeddings.onnx"
    onnx.save(quantise_embeddings(onnx.load(fused)), embedded)
    variants[REFERENCE] = work / "model_dynamic.onnx"
    quantize_dynamic(
        embedded, variants[REFERENCE], op_types_to_quantize=["MatMul", "Attention"], weight_type=QuantType.QInt8,
        per_channel=True, extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
    )  # fmt: skip
    for name, bits in (("static int8, 8-bit weights", 8), (SHIPPED, 7)):
        variants[name] = work / f"model_static{bits}.onnx"
        quantise_static(fused, variants[name], tokenizer, texts, bits=bits)
    return variants


def measure(variants: dict[str, Path], tokenizer, sst2: Path, rounds: int) -> list[Row]:
    dev, test = (read_sst2(sst2 / f"sst2_{split}.tsv") for split in ("dev", "test"))
    texts = [example.text for example in dev]
    classifiers = {name: Classifier(path, tokenizer) for name, path in variants.items()}
    rates = speeds(classifiers, texts, rounds)

    def ratio(name: str, plan: str) -> float:
        pairs = zip(rates[name][plan], rates[REFERENCE][plan])
        return statistics.median(mine / reference for mine, reference in pairs)

    return [
        Row(
            name=name,
            megabytes=variants[name].stat().st_size / 1e6,
            dev=accuracy(classifier, dev),
            test=accuracy(classifier, test),
            dependence=batch_dependence(classifier, texts),
            sorted_rate=statistics.median(rates[name]["sorted"]),
            sorted_ratio=ratio(name, "sorted"),
            single_rate=statistics.median(rates[name]["single"]),
            single_ratio=ratio(name, "single"),
        )
        for name, classifier in classifiers.items()
    ]


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
        "*sorted*: the 872 SST-2 dev sentences in batches of like length of at most 256 padded tokens; *single*: one at a",
        "time. × is the median ratio to dynamic int8 within a round. *Dependence*: the largest difference between a",
        "sentence's score alone and in random batches of 2 to 32.",
        "",
        "| variant | MB | dev | test | dependence | rows/s sorted | × | rows/s single | × |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        name = f"**{row.name}** (shipped)" if row.name == SHIPPED else row.name
        lines.append(
            f"| {name} | {row.megabytes:.1f} | {row.dev:.4f} | {row.test:.4f} | {row.dependence:.1e} "
            f"| {row.sorted_rate:.0f} | {row.sorted_ratio:.2f} | {row.single_rate:.0f} | {row.single_ratio:.2f} |"
        )
    return "\n".join([*lines, "", "![rows per second and dependence](report.png)", ""])


def chart(rows: list[Row], path: Path) -> None:
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 0.5 * len(rows) + 1.5), sharey=True, layout="constrained")
    names = [row.name for row in rows]
    colours = ["#b5482a" if row.name == SHIPPED else "#7a8794" for row in rows]
    left.barh(names, [row.sorted_rate for row in rows], color=colours)
    left.set_xlabel("rows per second, one thread, length-sorted")
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
    parser.add_argument("--rounds", type=int, default=9)
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

"""
Makes every variant of an exported model, measures them side by side, and writes REPORT.md, report.png and report.json.

    python compare.py EXPORTED --texts calibration.txt [--labelled dev.tsv] [--test test.tsv] --work DIR --report FOLDER

With labelled texts the variants are judged by them; the thresholds of a multi-label model are those that are best on
`--labelled`. Without, by how often they say what the exported model says, on texts that were not calibrated on.

Variants are made under --work. Speeds are medians over rounds in which the variants take turns; the ratio is the median of
the ratios within each round, so a drifting machine does not favour anybody.
"""

import argparse
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

import metrics
from evaluate import Classifier, batch_dependence, sorted_scores, speeds
from model_folder import ModelFolder, read_model_folder
from optimise import FUSED, LEVELS, fusions, optimise
from quantise import CALIBRATION_TEXTS, OUTLIERS, TABLES, int8_share, quantise_static
from report import Report, Row, markdown, write_report
from text_data import Split, read_split, read_texts, spread
from variants import dynamic, per_row, static_qdq

EXPORTED = "fp32, as exported"
# Float32 graphs to quantise, the best first; by its short name in the names of int8 variants.
BASES = {"fp32, O2, first token": "first token", "fp32, O2": "O2", "fp32, O1": "O1", EXPORTED: "not fused"}
# A fused graph whose scores are further from those of the exported one has been fused wrongly.
MAX_FUSED_DIFFERENCE = 1e-3
# The least of an agreement with fp32 that is nothing to warn of.
GOOD_AGREEMENT = 0.95


@dataclass
class Variants:
    """The files by name, which of them is shipped and which the ratios refer to, and what could not be made."""

    folder: ModelFolder
    paths: dict[str, Path]
    shipped: str = ""
    # Of the very graph that is shipped, only quantised in the usual way.
    reference: str = ""
    notes: list[str] = field(default_factory=list)

    def attempt(self, name: str, path: Path, make: Callable[[Path], None]) -> None:
        """Makes a variant and runs it once, or notes why it cannot be made."""
        try:
            make(path)
            sorted_scores(Classifier(path, self.folder), ["a"])
            self.paths[name] = path
        except Exception as error:  # whatever a converter throws at a graph that it does not know
            reason = str(error).strip().split("\n")[0] or type(error).__name__
            self.notes.append(f"*{name}* could not be made: {reason[:200]}.")


def make_variants(exported: Path, folder: ModelFolder, texts: list[str], work: Path, table: str, outliers: str) -> Variants:
    """Writes every variant that the model admits, calibrated on `texts`; `table` and `outliers` are those of the one that is shipped."""
    work.mkdir(parents=True, exist_ok=True)
    source = exported / "onnx" / "model.onnx"
    rows = folder.encode(texts)
    made = Variants(folder, {EXPORTED: source})
    for level in LEVELS:
        made.attempt(f"fp32, {level}", work / f"model_{level}.onnx", lambda to: optimise(source, to, level, folder))
    made.attempt("fp32, O2, first token", work / "model_first.onnx", lambda to: optimise(source, to, "O2", folder, True))
    base = faithful_base(made, spread(texts, 64))
    graph, way = made.paths[base], BASES[base]
    describe_fusions(made, base)

    scratch = work / "scratch.onnx"
    # Beside the first token's graph, to see what that brings.
    fused = made.paths.get("fp32, O2") if way == "first token" else None
    if fused:
        made.attempt("dynamic int8, O2", work / "model_dynamic_O2.onnx", lambda to: dynamic(fused, to, scratch))
    made.reference = f"dynamic int8, {way}"
    made.attempt(made.reference, work / "model_dynamic.onnx", lambda to: dynamic(graph, to, scratch))
    made.attempt("static int8, ONNX Runtime's QDQ", work / "model_qdq.onnx", lambda to: static_qdq(source, to, rows))
    made.attempt(f"per-row dynamic int8, {way}", work / "model_per_row.onnx", lambda to: per_row(graph, to))
    if fused:
        made.attempt("static int8, O2", work / "model_static7_O2.onnx", lambda to: quantise_static(fused, to, rows))
    name = f"static int8, {way}, 8-bit weights"
    made.attempt(name, work / "model_static8.onnx", lambda to: quantise_static(graph, to, rows, bits=8))
    made.shipped = f"static int8, {way}, 7-bit weights"
    if table != "8-bit":
        made.attempt(made.shipped, work / "model_static7_table8.onnx", lambda to: quantise_static(graph, to, rows))
        made.shipped += f", {table} table"
    if outliers != "alike":
        alike = work / "model_static7_alike.onnx"
        made.attempt(made.shipped, alike, lambda to: quantise_static(graph, to, rows, table_bits=TABLES[table]))
        made.shipped += f", outliers {outliers}"
    shipped_as, apart = work / "model_static7.onnx", OUTLIERS[outliers]
    made.attempt(made.shipped, shipped_as, lambda to: quantise_static(graph, to, rows, table_bits=TABLES[table], apart=apart))
    if made.shipped not in made.paths:
        made.shipped = base
    made.notes.append(f"{int8_share(made.paths[made.shipped]):.1%} of the weights of the shipped variant are {'int8' if table == '8-bit' else 'int8 or int4'}.")
    if made.reference not in made.paths:
        made.reference = EXPORTED
    return made


def faithful_base(made: Variants, texts: list[str]) -> str:
    """The first of BASES that scores texts as the exported graph does. Fused graphs that do not are taken out."""
    expected = sorted_scores(Classifier(made.paths[EXPORTED], made.folder), texts)
    for name in [name for name in BASES if name in made.paths and name != EXPORTED]:
        difference = float(np.abs(sorted_scores(Classifier(made.paths[name], made.folder), texts) - expected).max())
        if not difference <= MAX_FUSED_DIFFERENCE:  # or no number at all
            del made.paths[name]
            made.notes.append(f"*{name}* is left out: it moves a score by {difference:.3f}, so it was fused wrongly.")
    return next(name for name in BASES if name in made.paths)


def describe_fusions(made: Variants, base: str) -> None:
    folder = made.folder
    counts = fusions(made.paths[base])
    made.notes.append(f"Quantised from *{base}*: " + ", ".join(f"{n} × {name}" for name, n in counts.items()) + ".")
    expected = {name: folder.layers * (2 if name == "skip + layer norm" else 1) for name in FUSED}
    missing = [f"{name} ({counts[name]} of {expected[name]})" for name in FUSED if counts[name] < expected[name]]
    if missing:
        made.notes.append(
            f"Not fused in this {folder.family}: {', '.join(missing)}. What is not fused is computed step by step in "
            "float32; constant matrices in it are int8 all the same."
        )


def measure(made: Variants, splits: dict[str, Split], texts: list[str], rounds: int) -> list[Row]:
    folder = made.folder
    classifiers = {name: Classifier(path, folder) for name, path in made.paths.items()}
    expected = sorted_scores(classifiers[EXPORTED], texts)
    rates = speeds(classifiers, texts, rounds)

    def ratio(name: str, plan: str) -> float:
        pairs = zip(rates[name][plan], rates[made.reference][plan])
        return statistics.median(mine / reference for mine, reference in pairs)

    rows = []
    for name, classifier in classifiers.items():
        scores = sorted_scores(classifier, texts)
        figures: dict[str, dict] = {}
        for split, examples in splits.items():
            chosen = next(iter(figures.values()), None)
            labelled = sorted_scores(classifier, examples.texts)
            figures[split] = metrics.figures(folder.apply, labelled, examples.truth, chosen)
        rows.append(
            Row(
                name=name,
                megabytes=size(made.paths[name]) / 1e6,
                figures=figures,
                agreement=metrics.agreement(folder.apply, scores, expected),
                shift=float(np.abs(scores - expected).mean()),
                dependence=batch_dependence(classifier, texts, rounds=1),
                sorted_rate=statistics.median(rates[name]["sorted"]),
                sorted_ratio=ratio(name, "sorted"),
                single_rate=statistics.median(rates[name]["single"]),
                single_ratio=ratio(name, "single"),
            )
        )
        print(f"{name}: agreement {rows[-1].agreement:.4f}, {rows[-1].sorted_rate:.0f} rows/s", flush=True)
    return rows


def external_data(graph: Path) -> Path:
    """Where Optimum puts the weights of a graph of more than 2 GB."""
    return graph.with_name(f"{graph.name}_data")


def size(graph: Path) -> int:
    """Bytes of a graph and its external data."""
    return sum(file.stat().st_size for file in (graph, external_data(graph)) if file.exists())


def compare(
    exported: Path, texts: list[str], files: dict[str, Path], work: Path, to: Path, *,
    name: str, rounds: int, sample: int, table: str = "8-bit", outliers: str = "alike",
) -> tuple[Report, Path]:  # fmt: skip
    """Makes, measures and reports; returns the report and the file of the variant that is shipped."""
    if not texts:
        raise SystemExit("no text to calibrate on")
    folder = read_model_folder(exported)
    splits = {split: read_split(file, folder.labels, folder.apply) for split, file in files.items()}
    calibration = spread(texts, CALIBRATION_TEXTS)
    known = set(calibration)
    compared = next(iter(splits.values())).texts if splits else [text for text in texts if text not in known] or texts
    compared = spread(compared, sample)
    made = make_variants(exported, folder, calibration, work, table, outliers)
    rows = measure(made, splits, compared, rounds)
    shipped = next(row for row in rows if row.name == made.shipped)
    if shipped.agreement < GOOD_AGREEMENT:
        made.notes.append(f"**Look twice**: the shipped variant agrees with fp32 in {shipped.agreement:.1%} only.")
    if shipped.dependence:
        made.notes.append("**Look twice**: a score of the shipped variant depends on the batch.")
    report = Report(
        name=name, family=folder.family, labels=folder.labels, apply=folder.apply, max_tokens=folder.max_tokens,
        texts={split: len(s.texts) for split, s in splits.items()}, compared=len(compared), rounds=rounds,
        shipped=made.shipped, reference=made.reference, notes=made.notes, rows=rows,
    )  # fmt: skip
    write_report(report, to, work / "report.json")
    print(markdown(report))
    return report, made.paths[made.shipped]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("exported", type=Path, help="folder written by export.py")
    add_arguments(parser)
    parser.add_argument("--work", type=Path, required=True, help="for the variants and report.json")
    parser.add_argument("--report", type=Path, required=True, help="for REPORT.md and report.png")
    args = parser.parse_args()
    compare(
        args.exported, read_texts(args.texts), files_of(args), args.work, args.report,
        name=args.name or args.exported.name, rounds=args.rounds, sample=args.sample, table=args.table, outliers=args.outliers,
    )  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--texts", type=Path, required=True, help="to calibrate on: text, TSV or JSONL file like what will come")
    parser.add_argument("--labelled", type=Path, help="to judge by: TSV or JSONL file of texts with labels")
    parser.add_argument("--test", type=Path, help="like --labelled, with its thresholds; nothing is chosen on it")
    parser.add_argument("--name", help="of the model; default: that of the folder")
    parser.add_argument("--rounds", type=int, default=5, help="of the measurement of speed")
    parser.add_argument("--table", choices=TABLES, default="8-bit", help="of word embeddings in the shipped variant; see quantise.py")
    parser.add_argument("--outliers", choices=OUTLIERS, default="alike", help="of activations in the shipped variant; see quantise.py")
    parser.add_argument("--sample", type=int, default=500, help="texts that speed and dependence are measured with")


def files_of(args: argparse.Namespace) -> dict[str, Path]:
    """The labelled files by the names of their sets."""
    if args.test and not args.labelled:
        raise SystemExit("--test needs --labelled: what is chosen has to be chosen on other texts")
    return {split: file for split, file in (("dev", args.labelled), ("test", args.test)) if file}


if __name__ == "__main__":
    main()

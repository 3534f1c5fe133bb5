"""
Assembles a model folder: the graph, the tokenizer and config of the export, amulet.json, a model card and a manifest.

    python package_model.py EXPORTED QUANTISED.onnx --report WORK/report.json --out models/sst2-minilm --card cards/sst2-minilm.md

A card is a text with places for the figures that compare.py found, in the form of Python's `str.format`; `cards/any.md`
shows most of them.
"""

import argparse
import hashlib
import json
import re
import shutil
from pathlib import Path

import metrics
from compare import BASES, EXPORTED, external_data
from model_folder import read_model_folder
from report import Report, read_report

COPIED = ("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
AMULET_JSON = "amulet.json"
ANY_CARD = Path(__file__).parent / "cards" / "any.md"

KINDS = {"softmax": "One of {} classes", "sigmoid": "Any of {} labels", "none": "A number (regression)"}
SCORES = {
    "softmax": "the softmax of the logits",
    "sigmoid": "the sigmoid of every logit",
    "none": "the logits as they are",
}


def card(template: str, report: Report, source: str, measured: dict[str, dict] | None = None) -> str:
    """
    The model card: a template with the figures of the shipped variant and of the exported model in their places, and with
    what else was `measured`, by the name of its places (`{evaluation[tables][umsab]}`).
    """
    shipped, exported = report.row(report.shipped), report.row(EXPORTED)
    places = dict(
        name=report.name, source=source, family=report.family, outputs=len(report.labels),
        kind=KINDS[report.apply].format(len(report.labels)), scores=SCORES[report.apply], max_tokens=report.max_tokens,
        precision="float32" if report.shipped in BASES else "int8", megabytes=shipped.megabytes, texts=report.texts,
        depends="does not depend" if shipped.dependence == 0 else "depends", dependence=shipped.dependence,
        fp32=exported.figures, shipped=shipped.figures, table=figures_table(report), per_label=label_table(report),
        **(measured or {}),
    )  # fmt: skip
    try:
        return template.format(**places)
    except KeyError as missing:
        raise SystemExit(f"the card has a place for {missing}: --evaluation and --calibration name the files for it") from None


def figures_table(report: Report) -> str:
    """Exported and shipped model side by side; or, without labelled texts, how far they agree."""
    shipped, exported = report.row(report.shipped), report.row(EXPORTED)
    if not report.texts:
        return f"Agreement with the float32 model on {report.compared:,} texts: {shipped.agreement:.2%} (REPORT.md says of what)."
    headlines = metrics.HEADLINES[report.apply]
    columns = [(split, key) for split in report.texts for key in headlines]
    titles = [f"{headlines[key]}, {split} ({report.texts[split]:,})" for split, key in columns]
    lines = [f"| | {' | '.join(titles)} |", "|---" * (len(titles) + 1) + "|"]
    for name, row in (("fp32", exported), ("this file", shipped)):
        lines.append(f"| {name} | {' | '.join(f'{row.figures[split][key]:.4f}' for split, key in columns)} |")
    return "\n".join(lines)


def label_table(report: Report) -> str:
    """Labels; for a multi-label model that was judged, each with its F1 and its own best threshold."""
    if report.apply != "sigmoid" or not report.texts:
        return f"Outputs in order: {', '.join(report.labels)}."
    figures = report.row(report.shipped).figures
    chosen, judged = next(iter(figures.values())), list(figures.values())[-1]
    split = list(figures)[-1]
    lines = [
        f"| label | texts ({split}) | F1 at {chosen['threshold']:.2f} ({split}) | its own best threshold (dev) |",
        "|---|---|---|---|",
    ]
    for name, count, f1, threshold in zip(report.labels, judged["label_texts"], judged["label_f1"], chosen["thresholds"]):
        lines.append(f"| {name} | {count} | {f1:.2f} | {threshold:.2f} |")
    return "\n".join(lines)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read_languages(value: str) -> list[str]:
    """`en,ru`: what amulet.json says that the model reads."""
    languages = value.split(",")
    for language in languages:
        if not re.fullmatch("[a-z]{2,3}", language) or languages.count(language) > 1:
            raise SystemExit(f"--languages: {language!r} must be a code of two or three small letters, such as en, and come once")
    return languages


def own_thresholds(report: Report) -> dict[str, float] | None:
    """The threshold of every label with its best F1 on the first labelled texts; None unless a multi-label model was judged."""
    if report.apply != "sigmoid" or not report.texts:
        return None
    chosen = next(iter(report.row(report.shipped).figures.values()))
    return dict(zip(report.labels, chosen["thresholds"]))


def write_amulet_json(
    path: Path,
    languages: list[str] | None,
    thresholds: dict[str, float] | None = None,
    temperature: float | None = None,
) -> bool:
    """Writes what is given beside the settings that the file has already; returns whether there is such a file."""
    given = {"languages": languages, "temperature": temperature, "thresholds": thresholds}
    if any(given.values()):
        settings = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        settings |= {name: value for name, value in given.items() if value}
        fields = ", ".join(f'"{name}": {json.dumps(value, ensure_ascii=False)}' for name, value in settings.items())
        path.write_text(f"{{ {fields} }}\n", encoding="utf-8")
    return path.exists()


def package(
    exported: Path,
    graph: Path,
    report: Report,
    out: Path,
    template: str,
    source: str,
    languages: list[str] | None = None,
    measured: dict[str, dict] | None = None,
) -> None:
    """Writes the folder. Of what lies there already only `onnx` is taken away: a worker might load another file of it."""
    shutil.rmtree(out / "onnx", ignore_errors=True)
    (out / "onnx").mkdir(parents=True)
    copied = [name for name in COPIED if (exported / name).exists()]
    for name in copied:
        shutil.copy(exported / name, out / name)
    if write_amulet_json(out / AMULET_JSON, languages, own_thresholds(report)):
        copied.append(AMULET_JSON)
    config = json.loads((out / "tokenizer_config.json").read_text(encoding="utf-8"))
    config["model_max_length"] = read_model_folder(exported).max_tokens
    # Left over from sentence embedding: the service cuts and pads by itself.
    for name in ("max_length", "stride", "truncation_side", "truncation_strategy", "pad_to_multiple_of"):
        config.pop(name, None)
    (out / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    graphs = {"onnx/model.onnx" if report.shipped in BASES else "onnx/model_quantized.onnx": graph}
    external = external_data(graph)
    if external.exists():
        # The graph names this file.
        graphs[f"onnx/{external.name}"] = external
    for name, path in graphs.items():
        shutil.copy(path, out / name)
    (out / "README.md").write_text(card(template, report, source, measured), encoding="utf-8")

    write_manifest(out, [*copied, *graphs])


def write_manifest(out: Path, files_served: list[str]) -> None:
    """Writes manifest.json: the digests of the files that a worker reads, and the revision that follows from them."""
    names = sorted(files_served)
    files = {name: {"sha256": sha256(out / name), "bytes": (out / name).stat().st_size} for name in names}
    revision = hashlib.sha256("".join(f"{files[name]['sha256']}  {name}\n" for name in names).encode()).hexdigest()[:12]
    manifest = json.dumps({"revision": revision, "files": files}, indent=2)
    (out / "manifest.json").write_text(manifest + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("exported", type=Path, help="folder written by export.py")
    parser.add_argument("graph", type=Path, help="the variant that report.json says is shipped")
    parser.add_argument("--report", type=Path, required=True, help="report.json of compare.py")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--card", type=Path, default=ANY_CARD)
    parser.add_argument("--languages", type=read_languages, help="that the model reads, such as en,ru: for amulet.json")
    parser.add_argument("--evaluation", type=Path, help="JSON of evaluate_sentiment.py, for the card's places {evaluation[…]}")
    parser.add_argument("--calibration", type=Path, help="JSON of calibrate.py, for the card's places {calibration[…]}")
    args = parser.parse_args()
    measured = {
        name: json.loads(file.read_text(encoding="utf-8"))
        for name, file in (("evaluation", args.evaluation), ("calibration", args.calibration))
        if file
    }
    template = args.card.read_text(encoding="utf-8")
    package(args.exported, args.graph, read_report(args.report), args.out, template, args.exported.name, args.languages, measured)


if __name__ == "__main__":
    main()

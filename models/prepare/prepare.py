"""
Any text classifier, from its checkpoint to a folder that Amulet serves, with a report:

    python prepare.py HUB_ID_OR_FOLDER OUT --texts calibration.txt [--labelled dev.tsv] [--test test.tsv] [--languages en]

export → optimise → quantise → evaluate → compare → package, each of which is a command of its own too. OUT gets config.json,
the tokenizer, onnx/model_quantized.onnx, amulet.json with the languages, manifest.json, a model card, REPORT.md and report.png.
"""

import argparse
import tempfile
from pathlib import Path

from compare import add_arguments, compare, files_of
from export import export
from package_model import ANY_CARD, package, read_languages
from text_data import read_texts


def prepare(args: argparse.Namespace, work: Path) -> None:
    exported = work / "exported"
    export(args.source, exported)
    name = args.name or args.out.resolve().name
    report, graph = compare(
        exported, read_texts(args.texts), files_of(args), work / "variants", args.out,
        name=name, rounds=args.rounds, sample=args.sample, table=args.table, outliers=args.outliers,
    )  # fmt: skip
    source = Path(args.source).name if Path(args.source).exists() else args.source
    package(exported, graph, report, args.out, args.card.read_text(encoding="utf-8"), source, args.languages)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="hub id, or folder of a checkpoint")
    parser.add_argument("out", type=Path)
    add_arguments(parser)
    parser.add_argument("--card", type=Path, default=ANY_CARD, help="template of the model card")
    parser.add_argument("--languages", type=read_languages, help="that the model reads, such as en,ru: for amulet.json")
    parser.add_argument("--work", type=Path, help="keep the export and the variants here")
    args = parser.parse_args()
    if args.work:
        prepare(args, args.work)
        return
    with tempfile.TemporaryDirectory() as work:
        prepare(args, Path(work))


if __name__ == "__main__":
    main()

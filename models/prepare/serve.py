"""
Makes the folder that Amulet serves of a student that distil.py has taught, with a report about student and teacher. An encoder goes the
way of prepare.py: export, optimise, quantise, compare, package; a bag of n-grams is written as it is.
"""

import argparse
import json
import shutil
import tempfile
from pathlib import Path

import distil_report
import ngrams
from export import KEPT, clean_tokenizer
from model_folder import graph_of, read_model_folder
from package_model import AMULET_JSON, ANY_CARD, write_amulet_json, write_manifest
from prepare import prepare
from quantise import CALIBRATION_TEXTS
from student import Lessons
from text_data import read_split, spread

NGRAMS_CARD = Path(__file__).parent / "cards" / "bag-of-ngrams.md"
# Of config.json: what no worker and no reader asks for.
NEEDLESS = ("num_hidden_layers", "num_attention_heads", "hidden_size", "dtype", "transformers_version")


def serve(args: argparse.Namespace, lessons: Lessons, held_out: Lessons) -> None:
    """Writes the folder `args.serve` from the checkpoint `args.out`."""
    if args.ngrams:
        write_bag(args.out, args.serve, args.name or args.serve.resolve().name, len(lessons.texts), args.languages)
    elif args.work:
        prepare_encoder(args, lessons, args.work)
    else:
        with tempfile.TemporaryDirectory() as work:
            prepare_encoder(args, lessons, Path(work))
    student = distil_report.Side(graph_of(args.serve), read_model_folder(args.serve))
    teacher = distil_report.Side(graph_of(args.teacher), read_model_folder(args.teacher)) if args.teacher else None
    tests = read_split(args.test, lessons.labels, lessons.apply) if args.test else None
    section = distil_report.section(
        student, teacher, held_out, len(lessons.texts), tests, rounds=args.rounds, sample=args.sample
    )
    report = args.serve / "REPORT.md"
    before = report.read_text(encoding="utf-8") + "\n" if report.exists() else ""
    report.write_text(before + section, encoding="utf-8")
    print(section)


def prepare_encoder(args: argparse.Namespace, lessons: Lessons, work: Path) -> None:
    work.mkdir(parents=True, exist_ok=True)
    texts = work / "texts.jsonl"
    some = spread(lessons.texts, CALIBRATION_TEXTS + 2 * args.sample)
    texts.write_text("".join(json.dumps({"text": text}) + "\n" for text in some), encoding="utf-8")
    given = dict(source=str(args.out), out=args.serve, texts=texts, labelled=args.test, test=None, name=args.name)
    given |= dict(rounds=args.rounds, sample=args.sample, table=args.table, outliers="alike", card=ANY_CARD, languages=args.languages)
    prepare(argparse.Namespace(**given), work)


def write_bag(checkpoint: Path, out: Path, name: str, learnt: int, languages: list[str] | None) -> None:
    """Writes the folder of a bag of n-grams; of what lies there only `onnx` and the report are taken away."""
    shutil.rmtree(out / "onnx", ignore_errors=True)
    out.mkdir(parents=True, exist_ok=True)
    (out / "REPORT.md").unlink(missing_ok=True)
    model = ngrams.load(checkpoint)
    graph = "onnx/model_quantized.onnx"
    ngrams.write_graph(model, out / graph)
    copied = [file for file in KEPT if (checkpoint / file).exists()]
    for file in copied:
        shutil.copyfile(checkpoint / file, out / file)
    clean_tokenizer(out / "tokenizer.json")
    edit(out / "config.json", drop=NEEDLESS)
    edit(out / "tokenizer_config.json", model_max_length=ngrams.MAX_TOKENS)
    if write_amulet_json(out / AMULET_JSON, languages):
        copied.append(AMULET_JSON)
    config = model.config
    card = NGRAMS_CARD.read_text(encoding="utf-8").format(
        name=name, megabytes=(out / graph).stat().st_size / 1e6, learnt=learnt, pieces=config.vocab_size, order=config.order,
        buckets=config.buckets, max_tokens=ngrams.MAX_TOKENS, outputs=config.num_labels,
        scores="the sigmoid of every logit" if config.problem_type == "multi_label_classification" else "the softmax of the logits",
        labels=", ".join(config.id2label.values()),
    )  # fmt: skip
    (out / "README.md").write_text(card, encoding="utf-8")
    (out / "REPORT.md").write_text(f"# {name}, a bag of n-grams\n", encoding="utf-8")
    write_manifest(out, [*copied, graph])


def edit(path: Path, drop: tuple[str, ...] = (), **values: object) -> None:
    """Changes some values of a JSON file."""
    content = json.loads(path.read_text(encoding="utf-8")) | values
    kept = {name: value for name, value in content.items() if name not in drop}
    path.write_text(json.dumps(kept, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

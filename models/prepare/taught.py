"""
Rows that a classifier has labelled with all of its scores, as a student learns from them. They come from two places:

- `amulet backfill ARCHIVE --top-k all --out labels.jsonl`: rows without their texts, which are found in ARCHIVE by line. Where both
  have an id, it has to be the same one;
- `distil.py label`: a line {"teacher": {"labels", "apply", …}}, then rows {"text", "scores"}, in the order of these labels, and
  the `label` (a hard one), `lang` and `id` of the input.

Files are read row by row; what is kept is bounded by a number of rows, drawn evenly from all of them.
"""

import csv
import gzip
import io
import json
import random
import zlib
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

# Of a line; Amulet's limit of a record.
MAX_LINE_BYTES = 8_000_000
# A text keeps no more of its characters: as many tokens as no model here reads.
MAX_CHARS = 10_000
MAX_ROWS = 1_000_000
JSON_LINES = (".jsonl", ".ndjson", ".json")
csv.field_size_limit(MAX_LINE_BYTES)


class Record(NamedTuple):
    """One entry of a file of texts. Without `text` it could not be read."""

    line: int
    text: str | None
    fields: dict


@dataclass
class Taught:
    """Texts with the scores of a teacher."""

    labels: list[str]
    # How the teacher's logits became scores: softmax or sigmoid.
    apply: str
    texts: list[str]
    # [texts, labels]
    scores: np.ndarray
    # Ids of the labels that somebody gave a text, if somebody did.
    hard: list[tuple[int, ...] | None]
    # Rows that were left out, by reason.
    left_out: Counter = field(default_factory=Counter)


def open_bytes(path: Path) -> BinaryIO:
    """A file's content, unzipped where it is gzipped, whatever its name."""
    file = path.open("rb")
    start = file.read(2)
    file.seek(0)
    return gzip.open(file) if start == b"\x1f\x8b" else file


def kind_of(path: Path) -> str:
    """The suffix of a file's name, without .gz and .partial."""
    return next((suffix for suffix in reversed(path.suffixes) if suffix not in (".gz", ".partial")), "").lower()


def lines_of(file: BinaryIO) -> Iterator[tuple[int, bytes | None]]:
    """Number and bytes of every line that is not blank; None in place of one that is too long."""
    number = 0
    while line := file.readline(MAX_LINE_BYTES):
        number += 1
        too_long = False
        while not line.endswith(b"\n") and (rest := file.readline(MAX_LINE_BYTES)):
            too_long, line = True, rest
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        if too_long:
            yield number, None
        elif line.strip():
            yield number, line.rstrip(b"\r\n")


def records(path: Path, text_field: str = "text") -> Iterator[Record]:
    """The entries of a file, as `amulet backfill` reads it by its name: JSON Lines, CSV or TSV with a header, else a text a line."""
    kind = kind_of(path)
    with open_bytes(path) as file:
        if kind == ".csv":
            yield from _csv_records(file, text_field)
            return
        header: list[str] | None = None
        for number, line in lines_of(file):
            content = None if line is None else line.decode("utf-8", "replace")
            if content is None:
                yield Record(number, None, {})
            elif kind in JSON_LINES:
                row = _object(content)
                text = row.get(text_field)
                yield Record(number, text if isinstance(text, str) and text.strip() else None, row)
            elif kind != ".tsv":
                yield Record(number, content, {})
            elif header is None:
                header = _with_field(content.split("\t"), text_field)
            else:
                values = [_unquoted(value) for value in content.split("\t")]
                row = dict(zip(header, values)) if len(values) == len(header) else {}
                yield Record(number, row.get(text_field) or None, row)


def _object(content: str) -> dict:
    try:
        row = json.loads(content)
    except ValueError:
        return {}
    return row if isinstance(row, dict) else {}


def _unquoted(value: str) -> str:
    return value[1:-1].replace('""', '"') if len(value) > 1 and value[0] == value[-1] == '"' else value


def _csv_records(file: BinaryIO, text_field: str) -> Iterator[Record]:
    lines = 0

    def counted(stream: io.TextIOBase) -> Iterator[str]:
        nonlocal lines
        for line in stream:
            lines += 1
            yield line

    rows = csv.reader(counted(io.TextIOWrapper(file, "utf-8-sig", "replace", "\n")))
    header = _with_field(next(rows, []), text_field)
    first = lines + 1
    for values in rows:
        if values:
            row = dict(zip(header, values)) if len(values) == len(header) else {}
            yield Record(first, row.get(text_field) or None, row)
        first = lines + 1


def _with_field(header: list[str], text_field: str) -> list[str]:
    if text_field not in header:
        raise SystemExit(f"no column {text_field!r} among {', '.join(header[:20])}: name the one with the text by --text-field")
    return header


class _Kept:
    """At most `limit` rows, each with the same chance (reservoir sampling), in little memory."""

    def __init__(self, width: int, limit: int, seed: int) -> None:
        self.width, self.limit, self.rng = width, limit, random.Random(seed)
        self.seen = 0
        self.texts: list[str] = []
        self.scores = array("f")
        self.hard: list[tuple[int, ...] | None] = []

    def add(self, text: str, scores: Iterable[float], hard: tuple[int, ...] | None) -> None:
        self.seen += 1
        if len(self.texts) < self.limit:
            self.texts.append(text)
            self.scores.extend(scores)
            self.hard.append(hard)
            return
        place = self.rng.randrange(self.seen)
        if place < self.limit:
            self.texts[place], self.hard[place] = text, hard
            self.scores[place * self.width : (place + 1) * self.width] = array("f", scores)


def read_taught(
    path: Path, texts: Path | None = None, *, labels: list[str] | None = None, apply: str | None = None,
    text_field: str = "text", limit: int = MAX_ROWS, seed: int = 1,
) -> Taught:  # fmt: skip
    """
    Reads a file of labels.

    @param texts the file that was backfilled, where the rows lack their texts
    @param labels the order of the labels; by default that of the file's first line, else that of the alphabet
    @param apply softmax or sigmoid; by default what the first line says, else what the sums of the scores look like
    """
    partner = records(texts, text_field) if texts else None
    kept: _Kept | None = None
    left_out: Counter = Counter()
    known: dict[str, int] = {}
    with open_bytes(path) as file:
        for number, line in lines_of(file):
            row = _object(line.decode("utf-8", "replace")) if line is not None else {}
            place = f"{path.name}, line {number}"
            if number == 1 and isinstance(row.get("teacher"), dict):
                labels = labels or row["teacher"]["labels"]
                apply = apply or row["teacher"]["apply"]
                continue
            if "error" in row:
                left_out[f"error {row['error'].get('code', '') if isinstance(row['error'], dict) else row['error']}".strip()] += 1
                continue
            if not ("scores" in row or "label" in row):
                raise SystemExit(f"{place} is no row of labels: it has neither scores nor a label")
            named = _named_scores(row, place)
            if labels is None:
                if named is None:
                    raise SystemExit(f"{place} has scores without names, and the first line does not name the labels: pass --labels")
                labels = sorted(named)
            if kept is None:
                kept = _Kept(len(labels), limit, seed)
                known = {name.casefold(): i for i, name in enumerate(labels)} | {str(i): i for i in range(len(labels))}
            scores = _in_order(row.get("scores") if named is None else named, labels, place)
            text, hard = row.get("text"), None
            if named is None:
                hard = _hard(row.get("label"), known, place)
            if text is None:
                if partner is None:
                    raise SystemExit(f"{place} has no text: pass the file that was backfilled as --texts")
                text = _text_of(partner, row, place, texts)
            if not isinstance(text, str) or not text.strip():
                left_out["no text"] += 1
                continue
            kept.add(text[:MAX_CHARS], scores, hard)
    if kept is None or labels is None or not kept.texts:
        raise SystemExit(f"{path} has no row with scores ({', '.join(f'{n} × {why}' for why, n in left_out.items()) or 'it is empty'})")
    if kept.seen > limit:
        left_out[f"beyond the limit of {limit:,} rows (--rows)"] = kept.seen - limit
    scores = np.array(kept.scores, dtype=np.float32).reshape(-1, len(labels))
    return Taught(labels, apply or _apply_of(scores), kept.texts, scores, kept.hard, left_out)


def _named_scores(row: dict, place: str) -> dict[str, float] | None:
    """Scores by label of a row of a backfill; None for a row with `scores`."""
    if "scores" in row:
        return None
    if "labels" not in row:
        raise SystemExit(f"{place} has the best label alone: a student learns from all scores; backfill with --top-k all")
    return {entry["label"]: entry["score"] for entry in row["labels"]}


def _in_order(scores: dict[str, float] | list[float] | None, labels: list[str], place: str) -> list[float]:
    if isinstance(scores, dict):
        if len(scores) < len(labels) or any(name not in scores for name in labels):
            lacking = next((name for name in labels if name not in scores), "?")
            raise SystemExit(f"{place} has no score of {lacking!r}: backfill with --top-k all, by one model")
        scores = [scores[name] for name in labels]
    if not isinstance(scores, list) or len(scores) != len(labels):
        raise SystemExit(f"{place} has {len(scores) if isinstance(scores, list) else 'no'} scores; the teacher has {len(labels)} labels")
    if not all(isinstance(score, (int, float)) and -0.001 <= score <= 1.001 for score in scores):
        raise SystemExit(f"{place}: scores have to be from 0 to 1; a student of a regression cannot be made")
    return scores


def _hard(label: object, known: dict[str, int], place: str) -> tuple[int, ...] | None:
    if label is None or label == "":
        return None
    names = [str(name).strip().casefold() for name in (label if isinstance(label, list) else [label])]
    unknown = next((name for name in names if name not in known), None)
    if unknown is not None:
        raise SystemExit(f"{place}: the teacher has no label {unknown!r}")
    return tuple(known[name] for name in names)


def _text_of(partner: Iterator[Record], row: dict, place: str, texts: Path | None) -> str | None:
    """The text of a row's line. Both files are in the order of their lines: neither is read twice."""
    line = row.get("line")
    if not isinstance(line, int):
        raise SystemExit(f"{place} has neither a text nor the number of its line")
    for record in partner:
        if record.line >= line:
            break
    else:
        raise SystemExit(f"{texts} ends before its line {line}, which {place} is about: is it the file that was backfilled?")
    ours, theirs = row.get("id"), record.fields.get("id")
    if record.line > line or (ours is not None and theirs is not None and str(ours) != str(theirs)):
        raise SystemExit(f"{place} is about line {line} and id {ours!r}, and {texts} has line {record.line} and id {theirs!r} there: "
                         "is it the file that was backfilled?")  # fmt: skip
    return record.text


def _apply_of(scores: np.ndarray) -> str:
    """Scores of a softmax have the sum 1."""
    return "softmax" if scores.shape[1] > 1 and np.abs(scores.sum(axis=1) - 1).max() < 0.01 else "sigmoid"


def is_held_out(text: str, share: float) -> bool:
    """Whether a text is for measuring alone. The same text always is, or is not, however its letters and spaces are written."""
    return zlib.crc32(" ".join(text.casefold().split()).encode("utf-8", "replace")) < share * 2**32

"""Labelled texts: reading them, and making them look like what people type."""

import json
import random
import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

# GoEmotions' emotions by sentiment, as its authors group them (Demszky et al. 2020, figure 2). Ambiguous ones
# (confusion, curiosity, realization, surprise) and neutral are left out: they say nothing about POSITIVE or NEGATIVE.
POSITIVE_EMOTIONS = {
    "admiration", "amusement", "approval", "caring", "desire", "excitement", "gratitude", "joy", "love", "optimism",
    "pride", "relief",
}  # fmt: skip
NEGATIVE_EMOTIONS = {
    "anger", "annoyance", "disappointment", "disapproval", "disgust", "embarrassment", "fear", "grief", "nervousness",
    "remorse", "sadness",
}  # fmt: skip


@dataclass(frozen=True)
class Example:
    """One text and its class: 0 NEGATIVE, 1 POSITIVE."""

    text: str
    label: int


@dataclass(frozen=True)
class Split:
    """Texts, and the truth about them in the form that metrics.py wants."""

    texts: list[str]
    truth: np.ndarray


@dataclass(frozen=True)
class Labelled:
    """One text and the ids of its labels: one, or any number for a multi-label model."""

    text: str
    labels: tuple[int, ...]


class _Record(NamedTuple):
    """One row of a file of texts; what the file does not say is None."""

    text: str
    label: str | None
    language: str | None = None


def _records(path: Path) -> list[_Record]:
    """
    Text, label and language of every row of a file, by its name: `.jsonl` (`text` or `sentence`; `label` or `labels`; `lang`),
    `.tsv` (text, label, whatever follows), anything else a text a line.
    """
    records: list[_Record] = []
    for line in path.read_text(encoding="utf-8").split("\n"):
        line = line.rstrip("\r")
        if not line.strip():
            continue
        if path.suffix in (".jsonl", ".ndjson"):
            row = json.loads(line)
            text = row["text"] if "text" in row else row["sentence"]
            label = row.get("labels", row.get("label"))
            if isinstance(label, list):
                label = ",".join(map(str, label))
            records.append(_Record(text, None if label is None else str(label), row.get("lang")))
        elif path.suffix == ".tsv":
            text, *rest = line.split("\t")
            records.append(_Record(text, rest[0] if rest else None))
        else:
            records.append(_Record(line, None))
    return [record._replace(text=record.text.strip()) for record in records if record.text.strip()]


def read_texts(path: Path) -> list[str]:
    """The texts of a text, TSV or JSONL file."""
    return [record.text for record in _records(path)]


def read_texts_by_language(path: Path) -> dict[str, list[str]]:
    """The texts of a text, TSV or JSONL file by their `lang`, in the order in which these come; "" where a row has none."""
    texts: dict[str, list[str]] = {}
    for record in _records(path):
        texts.setdefault(record.language or "", []).append(record.text)
    return texts


def read_labelled(path: Path, names: list[str]) -> list[Labelled]:
    """
    The texts of a TSV or JSONL file with their labels: names, or ids, or several of them separated by commas.

    A text without labels is one that none of them fits.
    """
    known = {name.casefold(): i for i, name in enumerate(names)} | {str(i): i for i in range(len(names))}
    rows = []
    for number, (text, label, _language) in enumerate(_records(path), start=1):
        if label is None:
            raise SystemExit(f"{path}, row {number}: no label")
        single = known.get(label.strip().casefold())
        parts = [label] if single is not None else [part for part in label.split(",") if part.strip()]
        unknown = [part for part in parts if part.strip().casefold() not in known]
        if unknown:
            raise SystemExit(f"{path}, row {number}: the model has no label {unknown[0]!r}, it has {', '.join(names)}")
        rows.append(Labelled(text, tuple(known[part.strip().casefold()] for part in parts)))
    return rows


def truth_of(examples: list[Labelled], count: int) -> np.ndarray:
    """Which text has which label: [texts, labels], bool."""
    truth = np.zeros((len(examples), count), dtype=bool)
    for row, example in zip(truth, examples):
        row[list(example.labels)] = True
    return truth


def read_split(path: Path, labels: list[str], apply: str) -> Split:
    """
    The texts of a TSV or JSONL file with the truth about them, for a model that turns its logits into scores by `apply`.

    With one output, the label of a text is 1 or 0 (sigmoid) or a number (regression).
    """
    if apply == "none" or len(labels) == 1:
        texts, values = [], []
        for number, (text, label, _language) in enumerate(_records(path), start=1):
            try:
                values.append(float(label or ""))
            except ValueError:
                raise SystemExit(f"{path}, row {number}: {label!r} is no number") from None
            texts.append(text)
        truth = np.array(values)
        return Split(texts, truth if apply == "none" else truth[:, None] > 0.5)
    examples = read_labelled(path, labels)
    texts = [example.text for example in examples]
    if apply == "sigmoid":
        return Split(texts, truth_of(examples, len(labels)))
    for number, example in enumerate(examples, start=1):
        if len(example.labels) != 1:
            raise SystemExit(f"{path}, row {number}: {len(example.labels)} labels, but the model gives every text one")
    return Split(texts, np.array([example.labels[0] for example in examples]))


def spread(values: list, count: int) -> list:
    """About `count` of the values, evenly from the whole list."""
    return values[:: max(1, len(values) // count)]


def read_sst2(path: Path) -> list[Example]:
    """Reads `sentence<TAB>0|1` lines."""
    rows = (line.rsplit("\t", 1) for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
    return [Example(text.strip(), int(label)) for text, label in rows]


def read_goemotions_sentiment(folder: Path, split: str) -> list[Example]:
    """Reads the GoEmotions comments whose emotions are all positive or all negative, as two classes."""
    names = (folder / "goemotions_labels.txt").read_text(encoding="utf-8").split()
    examples = []
    for line in (folder / f"goemotions_{split}.tsv").read_text(encoding="utf-8").splitlines():
        text, ids, _comment = line.rsplit("\t", 2)
        emotions = {names[int(i)] for i in ids.split(",")}
        if emotions <= POSITIVE_EMOTIONS:
            examples.append(Example(text, 1))
        elif emotions <= NEGATIVE_EMOTIONS:
            examples.append(Example(text, 0))
    return examples


_BEFORE_PUNCTUATION = re.compile(r" ([.,;:!?%)\]}]|'(?:s|re|ve|ll|d|m)\b|n't\b)")
_AFTER_OPENING = re.compile(r"([(\[{]) ")


def detokenise(text: str) -> str:
    """Undoes the Penn Treebank spacing of SST-2: `is n't it , though ?` → `isn't it, though?`."""
    text = text.replace("`` ", '"').replace(" ''", '"').replace("-lrb-", "(").replace("-rrb-", ")")
    return _AFTER_OPENING.sub(r"\1", _BEFORE_PUNCTUATION.sub(r"\1", text))


def as_typed(text: str, rng: random.Random) -> str:
    """
    One of the forms in which a person might have typed an SST-2 sentence. SST-2 is lower-cased and spaced out; a model
    that saw nothing else would be at home in benchmarks only.
    """
    if rng.random() < 0.5:
        return text
    text = detokenise(text)
    if rng.random() < 0.5:
        text = text[:1].upper() + text[1:]
    if rng.random() < 0.5 and text[-1:].isalnum():
        text += rng.choice([".", ".", "!"])
    return text

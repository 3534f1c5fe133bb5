"""
Labelled texts for the multilingual sentiment model: which sources it learns from, how many rows of each, and the files that the
steps of make-sentiment-multilingual read.

    python sentiment_data.py DATA OUT

DATA has a file `NAME.jsonl.gz` for each of SOURCES, with rows {"text", "label": negative|neutral|positive, "lang", "split"}.
`split` is train, dev or test: train to learn from, dev to choose by, test to measure with. Nothing that trains reads a test row.

OUT gets, as JSON Lines with `text`, `label` and `lang`:

- vocabulary.jsonl: every training row, to choose the pieces of the vocabulary by;
- student.jsonl: the different texts of the sources in `--epochs` epochs of training, and tweets made of tweets (mixed_tweets.py), for
  a teacher to label and a student to learn;
- made-up.jsonl: plain statements and emoji, which the student learns by their labels alone, as these are certain;
- calibration.jsonl: some of them, for the ranges of the int8 activations;
- dev.jsonl and test.jsonl: a few rows of every source, language and label, to compare the variants of the graph by.
"""

import argparse
import gzip
import json
import random
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from emoji_rows import emoji_rows
from mixed_tweets import mixed_tweets
from neutral_facts import EVERYDAY, FACTS, neutral_facts

# As the data names them, and as the model does; a row's label is an index into either.
LABELS = ["negative", "neutral", "positive"]
NAMES = [label.upper() for label in LABELS]
NOT_LABELLED = -1


@dataclass(frozen=True)
class Source:
    licence: str
    # Most rows of a class that one language gives to an epoch: by language, else by label, else "*".
    rows: dict[str, int]
    # How often one epoch has a row.
    times: int = 1


# Sources whose licence permits training, and their limits. A big, translated or noisy source must not outvote small ones that
# people wrote and labelled; 0 leaves a language out.
SOURCES: dict[str, Source] = {
    # Tweets in eight languages, three classes in equal parts, all labelled by people: the best there is, so twice an epoch.
    "xlm_t": Source("Apache-2.0", {"*": 10_000}, times=2),
    # Reviews of seven domains, machine-translated into 21 languages.
    "m_absa": Source("Apache-2.0", {"ru": 2200, "en": 1800, "*": 400}),
    # Emotions of posts and speeches; joy alone is positive, none is neutral.
    "brighter": Source("CC-BY-4.0", {"ru": 2500, "en": 1500, "*": 700}),
    # Emotions of English comments; the second in machine translation.
    "goemotions": Source("Apache-2.0", {"*": 3500}),
    "ru_goemotions": Source("MIT", {"*": 3000}),
    # English reviews. The sentences of SST-2's dev and test are not among those of sentence_polarity.
    "sentence_polarity": Source("CC-BY-4.0", {"*": 4500}),
    "pros_cons": Source("CC-BY-4.0", {"*": 2000}),
    "product_reviews": Source("CC-BY-4.0", {"*": 1500}),
    "uci_sentences": Source("CC-BY-4.0", {"*": 1500}),
    "nollysenti": Source("CC-BY-4.0", {"*": 400}),
    # One language each: Arabic tweets, Russian news, Korean film reviews, Indonesian and Thai posts, Finnish forums.
    "arsarcasm": Source("MIT", {"*": 1500}),
    "rusentne": Source("MIT", {"*": 1500, "positive": 700}),
    "nsmc": Source("CC0-1.0", {"*": 1500}),
    "smsa": Source("MIT", {"*": 700}),
    "wisesight": Source("CC0-1.0", {"*": 700}),
    "finnsentiment": Source("CC-BY-4.0", {"*": 700}),
    # Emotions of subtitles without their film; for most languages without neutral rows.
    "xed": Source(
        "CC-BY-4.0",
        {"en": 1000, "fi": 300, "ru": 500, "pl": 900, "it": 500, "nl": 400, "tr": 500, "*": 200},
    ),
    # Hebrew comments on a politician's page.
    "hebrew": Source("MIT", {"*": 300}),
    # Tweets; of its languages those that the base reads.
    "afrisenti": Source("CC-BY-4.0", {"ar": 600, "pt": 600, "*": 0}),
}

# Rows of an epoch that are made up, with another seed each time: plain statements a language, and emoji.
FACTS_PER_LANGUAGE = 250
EMOJI_ROWS = 900

# Share of the rows that are put in capitals, so that the model reads them as it reads the others.
IN_CAPITALS = 0.02

CALIBRATION_ROWS = 2000
# Of dev.jsonl and test.jsonl: most rows of one source, language and label.
COMPARED_ROWS = 10


class Row(NamedTuple):
    text: str
    label: int
    """Index into LABELS, or NOT_LABELLED."""
    lang: str
    source: str


Groups = dict[tuple[str, str, int], list[Row]]
"""Rows by source, language and label."""


def read_source(data: Path, name: str, split: str) -> Iterator[Row]:
    """The rows of one split of a source. @throws SystemExit naming the file and line that cannot be used"""
    path = data / f"{name}.jsonl.gz"
    if not path.exists():
        raise SystemExit(f"{path} is missing: DATA needs a file for each source that sentiment_data.py lists")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                row = json.loads(line)
                if row["split"] == split:
                    yield Row(row["text"], LABELS.index(row["label"]), row["lang"], name)
            except (KeyError, TypeError, ValueError) as error:
                raise SystemExit(f"{path}, line {number}: {type(error).__name__}: {error}") from None


def grouped(data: Path, split: str = "train") -> Groups:
    """The rows to train on, or to choose by ("dev")."""
    if split == "test":
        raise ValueError("test rows are for measuring alone: read_source reads them")
    return _groups(data, split)


def _groups(data: Path, split: str) -> Groups:
    groups: Groups = defaultdict(list)
    for name in SOURCES:
        for row in read_source(data, name, split):
            groups[name, row.lang, row.label].append(row)
    return groups


def limit_of(source: str, lang: str, label: int) -> int:
    limits = SOURCES[source].rows
    return limits.get(lang, limits.get(LABELS[label], limits["*"]))


def epoch(groups: Groups, seed: int, number: int, share: float = 1.0) -> list[Row]:
    """
    The rows of the sources for one epoch, in random order: of each group as many as a share of its limit. A large group gives other
    rows to the next epoch, so that all of it is seen in time.
    """
    rows: list[Row] = []
    for (name, lang, label), members in sorted(groups.items()):
        limit = int(share * limit_of(name, lang, label))
        order = random.Random(f"{seed}/{name}/{lang}/{label}").sample(range(len(members)), len(members))
        start = number * limit % len(members)
        chosen = (order + order)[start : start + min(limit, len(members))]
        rows += SOURCES[name].times * [members[i] for i in chosen]
    random.Random(f"{seed}/{number}").shuffle(rows)
    return rows


def rows_of_epoch(groups: Groups, seed: int, number: int) -> list[Row]:
    """
    All rows of one epoch of the teacher: those of the sources, plain statements and emoji.

    After the first, the large sources give half as many rows and the tweets of eight languages come once more, everyday sentences
    join the facts, and some texts are in capitals: the first left neutral questions NEGATIVE, and "ICH LIEBE DIESES LIED", too.
    """
    rows = epoch(groups, seed, number, 1.0 if number == 0 else 0.5)
    if number > 0:
        rows += [row for row in dict.fromkeys(rows) if row.source == "xlm_t"]
    kinds = [FACTS] if number == 0 else [FACTS, EVERYDAY]
    for templates in kinds:
        rows += [Row(text, 1, lang, "facts") for text, lang in neutral_facts(seed * 1000 + number, FACTS_PER_LANGUAGE, templates)]
    rows += [Row(text, label, "", "emoji") for text, label in emoji_rows(seed * 1000 + number, EMOJI_ROWS)]
    if number > 0:
        rows = in_capitals(rows, random.Random(f"{seed}/{number}/capitals"))
    random.Random(f"{seed}/{number}/all").shuffle(rows)
    return rows


def in_capitals(rows: list[Row], rng: random.Random) -> list[Row]:
    """Some of the rows are shouted."""
    return [row._replace(text=row.text.upper()) if rng.random() < IN_CAPITALS else row for row in rows]


def student_rows(groups: Groups, seed: int, epochs: int) -> list[Row]:
    """The rows of the sources in some epochs, and tweets made of tweets, some of them in capitals, each text once."""
    rows = [row for number in range(epochs) for row in epoch(groups, seed, number)]
    tweets = sorted({row.text: row.lang for row in rows if row.source == "xlm_t"}.items())
    rows += [Row(text, NOT_LABELLED, lang, "mixed") for text, lang in mixed_tweets(tweets, random.Random(f"{seed}/mixed"))]
    rows = in_capitals(_different(rows), random.Random(f"{seed}/student"))
    random.Random(f"{seed}/student/order").shuffle(rows)
    return _different(rows)


def made_up_rows(seed: int, epochs: int) -> list[Row]:
    """Plain statements of both kinds and emoji, as many as in that many epochs, each text once and in random order."""
    rows: list[Row] = []
    for number in range(seed * 1000, seed * 1000 + epochs):
        for templates in (FACTS, EVERYDAY):
            rows += [Row(text, 1, lang, "facts") for text, lang in neutral_facts(number, FACTS_PER_LANGUAGE, templates)]
        rows += [Row(text, label, "", "emoji") for text, label in emoji_rows(number, EMOJI_ROWS)]
    random.Random(f"{seed}/made up").shuffle(rows)
    return _different(rows)


def _different(rows: Iterable[Row]) -> list[Row]:
    return list({row.text: row for row in rows}.values())


def sample(groups: Groups, most: int, seed: int) -> list[Row]:
    """At most `most` rows of every group that trains, in random order."""
    rng = random.Random(seed)
    rows = []
    for (name, lang, label), members in sorted(groups.items()):
        rows += rng.sample(members, min(most, len(members), limit_of(name, lang, label)))
    rng.shuffle(rows)
    return rows


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Whole or not at all: a step whose output exists is not repeated."""
    temporary = path.with_name(f"{path.name}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        for row in rows:
            label = {} if row.label == NOT_LABELLED else {"label": NAMES[row.label]}
            line = {"text": row.text, **label, "lang": row.lang}
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
    temporary.replace(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--epochs", type=int, default=1, help="whose texts student.jsonl has")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    groups = grouped(args.data)
    student = student_rows(groups, args.seed, args.epochs)
    calibration = random.Random(args.seed).sample(student, min(CALIBRATION_ROWS, len(student)))
    write_rows(args.out / "vocabulary.jsonl", (row for rows in groups.values() for row in rows))
    write_rows(args.out / "student.jsonl", student)
    write_rows(args.out / "made-up.jsonl", made_up_rows(args.seed, args.epochs))
    write_rows(args.out / "calibration.jsonl", calibration)
    write_rows(args.out / "dev.jsonl", sample(grouped(args.data, "dev"), COMPARED_ROWS, args.seed))
    write_rows(args.out / "test.jsonl", sample(_groups(args.data, "test"), COMPARED_ROWS, args.seed))


if __name__ == "__main__":
    main()

"""
Test rows of three-class sentiment, by source, language and domain: what a finished model is measured on, never trained on.

DATA is a folder with `sentiment/permissive/NAME.jsonl.gz` (rows {text, label, lang, split}), `sentiment/tests-only.jsonl.gz`
(rows {source, lang, label, text} of sources whose licence permits measuring alone), `sst2_{dev,test}.tsv` and
`ru_sentiment.jsonl`. A file that is missing gives no rows.
"""

import gzip
import json
import random
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sentiment_data import LABELS
from sentiment_data import SOURCES as TRAINED

NEGATIVE, NEUTRAL, POSITIVE = range(3)

# Longer texts are cut before they are tokenized: no model here reads the rest.
MAX_CHARACTERS = 5000


@dataclass(frozen=True)
class Source:
    domain: str
    licence: str
    # "training and tests", or "tests" for a source that states no licence, or forbids commercial use.
    used_for: str
    what: str


def _trained(name: str, domain: str, what: str) -> Source:
    return Source(domain, TRAINED[name].licence, "training and tests", what)


def _tested(domain: str, licence: str, what: str) -> Source:
    return Source(domain, licence, "tests", what)


SOURCES: dict[str, Source] = {
    "xlm_t": _trained("xlm_t", "tweets", "UMSAB of XLM-T: tweets in 8 languages, 3 balanced classes"),
    "m_absa": _trained("m_absa", "reviews", "M-ABSA: reviews of 7 domains, machine-translated into 21 languages and checked"),
    "brighter": _trained("brighter", "posts", "BRIGHTER (SemEval-2025 task 11): posts, speeches, literature; emotions read as sentiment"),
    "goemotions": _trained("goemotions", "comments", "GoEmotions: English Reddit comments, emotions grouped as its authors do"),
    "ru_goemotions": _trained("ru_goemotions", "comments", "ru_goemotions: a part of GoEmotions, machine-translated into Russian"),
    "xed": _trained("xed", "subtitles", "XED: film subtitles in 27 languages, without their context"),
    "finnsentiment": _trained("finnsentiment", "posts", "FinnSentiment: Finnish forum posts"),
    "wisesight": _trained("wisesight", "posts", "Wisesight: Thai posts about products"),
    "nsmc": _trained("nsmc", "films", "NSMC: Korean film reviews, by their stars"),
    "smsa": _trained("smsa", "reviews", "SmSA of IndoNLU: Indonesian comments and reviews"),
    "arsarcasm": _trained("arsarcasm", "tweets", "ArSarcasm-v2: Arabic tweets, many sarcastic"),
    "rusentne": _trained("rusentne", "news", "RuSentNE: Russian news sentences, sentiment towards named entities"),
    "pros_cons": _trained("pros_cons", "shop", "Pros and cons of Bing Liu (NLTK): lines of English product reviews"),
    "product_reviews": _trained("product_reviews", "shop", "Product reviews of Hu and Liu (NLTK): English sentences"),
    "sentence_polarity": _trained("sentence_polarity", "films", "Sentence polarity of Pang and Lee (NLTK): English film reviews; SST-2's dev and test taken out"),
    "uci_sentences": _trained("uci_sentences", "reviews", "UCI Sentiment Labelled Sentences: Amazon, Yelp, IMDb"),
    "nollysenti": _trained("nollysenti", "films", "NollySenti: reviews of Nigerian films, English and Pidgin"),
    "afrisenti": _trained("afrisenti", "tweets", "AfriSenti: tweets in Maghreb Arabic, Mozambican Portuguese, Swahili"),
    "hebrew": _trained("hebrew", "comments", "Hebrew Sentiment: comments on a president's page"),
    "sst2": _tested("films", "none stated", "SST-2: English film reviews"),
    "sentirueval2016": _tested("tweets", "none stated", "SentiRuEval-2016: Russian tweets about banks and telecoms"),
    "sentirueval2015_reviews": _tested("reviews", "none stated", "SentiRuEval-2015: whole Russian reviews of restaurants and cars"),
    "romip2012_news": _tested("news", "none stated", "ROMIP 2012: quotations in Russian news"),
    "rusentiment": _tested("posts", "CC-BY-NC-SA-4.0", "RuSentiment: posts on VKontakte"),
    "jrte_pn": _tested("reviews", "CC-BY-NC-SA-4.0", "JRTE: sentences of Japanese hotel reviews"),
    "norec_sentence": _tested("reviews", "CC-BY-NC-4.0", "NoReC: sentences of Norwegian reviews"),
    "nusax": _tested("reviews", "CC-BY-NC-SA-4.0", "NusaX: Indonesian reviews, and English translations"),
    "marc_ja_zh": _tested("shop", "Amazon's terms", "MARC: Japanese and Chinese product reviews, by their stars"),
    "germeval2017": _tested("posts", "none stated", "GermEval 2017: German posts about the railway"),
    "typology": _tested("reviews", "none stated", "reviews in 12 languages, gathered by typology_of_crosslingual"),
    "chinese_reviews": _tested("reviews", "none stated", "ChnSentiCorp and others: Chinese hotel and shop reviews"),
    "eprstmt": _tested("shop", "none stated", "EPRSTMT of FewCLUE: Chinese product reviews"),
    "french_series": _tested("films", "none stated", "French reviews of series"),
    "opener_multibooked": _tested("reviews", "none stated", "OpeNER and MultiBooked: sentences of hotel reviews in English, Spanish, Catalan, Basque"),
    "kazsandra": _tested("reviews", "none stated", "KazSAnDRA: Kazakh reviews"),
}  # fmt: skip

# Files of their own, whose rows `tests-only.jsonl.gz` samples.
OWN_FILES = {"sst2", "sentirueval2016"}


@dataclass(frozen=True)
class TestRow:
    source: str
    split: str
    lang: str
    # Index into LABELS.
    label: int
    text: str


def _rows(path: Path) -> Iterator[dict]:
    if not path.exists():
        return
    opened = gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8")
    with opened as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                yield json.loads(line)
            except ValueError as error:
                raise SystemExit(f"{path}, row {number}: not JSON: {error}") from None


def _row(source: str, split: str, row: dict, lang: str | None = None) -> TestRow:
    if row.get("label") not in LABELS:
        raise SystemExit(f"{source}: label {row.get('label')!r} is none of {', '.join(LABELS)}")
    return TestRow(source, split, lang or row["lang"], LABELS.index(row["label"]), row["text"][:MAX_CHARACTERS])


def labelled_rows(data: Path, split: str) -> Iterator[TestRow]:
    """Rows of one split of the permissive sources; `data` may also be the folder of their files."""
    folder = data / "sentiment" / "permissive"
    if not folder.is_dir():
        folder = data
    for name, source in SOURCES.items():
        if source.used_for == "tests":
            continue
        for row in _rows(folder / f"{name}.jsonl.gz"):
            if row["split"] == split:
                yield _row(name, split, row)


def test_rows(data: Path) -> Iterator[TestRow]:
    """Every row that may be measured on."""
    yield from labelled_rows(data, "test")
    for row in _rows(data / "sentiment" / "tests-only.jsonl.gz"):
        if row["source"] not in OWN_FILES:
            yield _row(row["source"], "test", row)
    for split in ("dev", "test"):
        path = data / f"sst2_{split}.tsv"
        for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
            text, label = line.rsplit("\t", 1)
            yield TestRow("sst2", split, "en", POSITIVE if label.strip() == "1" else NEGATIVE, text.strip())
    for row in _rows(data / "ru_sentiment.jsonl"):
        yield _row("sentirueval2016", "test", row, "ru")


def sample(
    rows: Iterable[TestRow], limit: int, whole: Iterable[str] = (), seed: int = 7
) -> dict[tuple[str, str, str], list[TestRow]]:
    """
    Rows by source, split and language: at most `limit` of each, drawn at random; all of the sources in `whole`.
    A group's sample depends on the seed and its own rows alone.
    """
    groups: dict[tuple[str, str, str], list[TestRow]] = defaultdict(list)
    for row in rows:
        groups[row.source, row.split, row.lang].append(row)
    for key, members in groups.items():
        if key[0] not in whole and len(members) > limit:
            groups[key] = random.Random(f"{seed}/{'/'.join(key)}").sample(members, limit)
    return dict(sorted(groups.items()))


def typed_rows(path: Path) -> list[TestRow]:
    """Sentences {lang, label, text} of a JSON Lines file, or of all such files of a folder."""
    files = sorted(path.glob("*.jsonl")) if path.is_dir() else [path]
    rows = [_row("typed", "test", row) for file in files for row in _rows(file)]
    if not rows:
        raise SystemExit(f"{path}: no sentences")
    return rows


def letters(text: str) -> str:
    """A text's letters and digits without case: two texts that differ in nothing else count as the same."""
    return "".join(c for c in unicodedata.normalize("NFKC", text).casefold() if c.isalnum())


def seen_in_training(rows: list[TestRow], data: Path) -> list[TestRow]:
    """The rows whose letters a row of the training or dev splits has."""
    wanted = defaultdict(list)
    for row in rows:
        if key := letters(row.text):
            wanted[key].append(row)
    found = {}
    for split in ("train", "dev"):
        for row in labelled_rows(data, split):
            if (key := letters(row.text)) in wanted:
                found[key] = wanted[key]
    return [row for matches in found.values() for row in matches]

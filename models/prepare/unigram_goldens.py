"""
Makes the golden file of Unigram: the ids that Python's tokenizers gives for texts in 12 languages, for every character of
Unicode, for texts that are hard on a tokenizer, and for small random vocabularies.

    python unigram_goldens.py E5_TOKENIZER_JSON M_ABSA_JSONL_GZ --charsmap ../../test/fixtures/models/xlm-roberta/tokenizer.json \\
        --out ../../test/fixtures/goldens/unigram.json.gz

The vocabulary is a small part of multilingual-e5's (MIT), so that many texts have unknown characters; its scores are rounded, so
that some paths tie. The texts are from the training split of M-ABSA (Apache-2.0), 100 a language, drawn by their hashes.
"""

import argparse
import gzip
import hashlib
import json
import random
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

LANGUAGES = ("ar", "de", "en", "es", "fr", "hi", "ja", "ko", "pt", "ru", "th", "zh")
TEXTS = 100
# The most probable pieces; beside them the vocabulary has those of every second text.
COMMON = 3000
# Planes that have characters, beside private ones.
PLANES = (0, 1, 2, 3, 14)
BLOCK = 0x100
# How a character is tried: alone, in a cluster behind and before a letter or a mark, and behind half of an Indic cluster.
FRAMES = ("{}", "e{}", "{}\u0301", "\u0600{}\u0301", "\u0915\u094d{}\u0301")
# Han and Hangul, whose characters are all alike, are tried in the first two.
ALIKE = ((0x3400, 0x4DC0), (0x4E00, 0xA000), (0xAC00, 0xD7A4), (0x20000, 0x2F800), (0x2FA20, 0x40000))

HARD = [
    "",
    " ",
    "   ",
    "\u2581",
    "\u2581\u2581 \u2581 a",
    " \u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000\u0085\t\n\v\f\r\x1c\x1d",
    "a \u00a0b\u3000 c\r\nd\n\ne\u200bf\u2060g\ufeffh",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 \U0001f3f3\ufe0f\u200d\U0001f308 \U0001f44d\U0001f3fd\U0001f44d \U0001f1e9\U0001f1ea\U0001f1eb\U0001f1f7",
    "\u2764\ufe0f \u2122\u0301 \U0001f469\u200d\u2122\u0301 1\ufe0f\u20e3 #\u20e3",
    "e\u0301 e\u0316\u0301 \u00e9\u0301 o\u0308\u0304 A\u030a \u212b u\u031b\u0323 \u0301 \u0301\u0301a",
    "\u0627\u0653\u0648\u064e\u0643\u064f\u0644\u0651 \u0600a \u06dd1 \u0628\u0650\u0633\u0652\u0645\u0650",
    "\u0915\u094d\u0937\u0903 \u0958\u0301 \u0915\u094d\u0958\u0301 \u0e01\u0e33 \u0e19\u0e49\u0e33 \u0eb3",
    "\u1112\u1161\u11ab\u1100\u1173\u11af \ud55c\uae00 \u3131\u314f \uff76\uff9e",
    "\ufb01ne \uff26\uff35\uff2c\uff2c \u00bd \u2167 \u2460 \u33a1 \ufdfa \u1e9b\u0323",
    "\ue000 \U000f0000 \ufffd \U0001fffe \x00 \x01\x7f",
    "<s> a</s><unk> <mask> b<pad>  <mask>",
    "\u2603\u2603 \u2603a\u2603 \U00012345\U00012346",
    "http://example.com/a_b?c=d&e=f #tag @user 10.50% (x) [y] {z}",
    "na\u00efve caf\u00e9 \u00fcber stra\u00dfe \u0130stanbul \u0131I \u039f\u0394\u03a5\u03a3\u03a3\u0395\u03a5\u03a3",
]
LONG = {
    "a": 100_000,
    " ": 100_000,
    "\u2581": 20_000,
    "\u2603": 100_000,
    "\U0001f600": 50_000,
    "e\u0301": 50_000,
    "\uac00": 50_000,
    "\u5f71": 50_000,
    "good ": 20_000,
    "\u0928\u092e\u0938\u094d\u0924\u0947": 10_000,
}

RANDOM_VOCABULARIES = 150
RANDOM_TEXTS = 16
# Letters, a mark of words, characters of 2 to 4 bytes.
ALPHABET = ("a", "b", "c", "\u2581", "\u00e9", "\u0431", "\u5f71", "\U0001f600")


def definition(vocab: list[list], charsmap: str, byte_fallback: bool = False) -> dict:
    def special(content: str, id: int) -> dict:
        flags = {"single_word": False, "lstrip": content == "<mask>", "rstrip": False, "normalized": False, "special": True}
        return {"id": id, "content": content, **flags}

    names = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    return {
        "version": "1.0",
        "added_tokens": [special(name, next(i for i, (piece, _) in enumerate(vocab) if piece == name)) for name in names],
        "normalizer": {
            "type": "Sequence",
            "normalizers": [
                {"type": "Precompiled", "precompiled_charsmap": charsmap},
                {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "},
            ],
        },
        "pre_tokenizer": {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": True},
        "post_processor": None,
        "model": {"type": "Unigram", "unk_id": 3, "vocab": vocab, "byte_fallback": byte_fallback},
    }


def draw_texts(path: Path) -> dict[str, list[str]]:
    by_language: dict[str, list[str]] = {language: [] for language in LANGUAGES}
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            if row["lang"] in by_language and row["split"] == "train" and 10 <= len(row["text"]) <= 200:
                by_language[row["lang"]].append(row["text"])

    def rank(text: str) -> str:
        return hashlib.sha256(text.encode()).hexdigest()

    return {language: sorted(texts, key=rank)[:TEXTS] for language, texts in by_language.items()}


def cut_vocabulary(e5: Tokenizer, pieces: list[list], texts: list[str]) -> list[list]:
    kept = set(range(COMMON)) | {len(pieces) - 1}
    for text in texts[::2]:
        kept.update(e5.encode(text, add_special_tokens=False).ids)
    return [[pieces[id][0], round(pieces[id][1], 2)] for id in sorted(kept)]


def digest(values: list[int] | str) -> str:
    data = values.encode() if isinstance(values, str) else np.array(values, dtype="<i4").tobytes()
    return hashlib.sha256(data).hexdigest()[:8]


def character_blocks(tokenizer: Tokenizer) -> dict[str, list]:
    """By block of 256 code points: a hash of the normal forms, and one of the ids, of all characters in the first frames."""
    found: dict[str, list] = {"starts": [], "frames": [], "forms": [], "ids": []}
    for plane in PLANES:
        for start in range(plane << 16, (plane + 1) << 16, BLOCK):
            codes = [code for code in range(start, start + BLOCK) if not 0xD800 <= code <= 0xDFFF]
            if not codes or (plane == 14 and start >= 0xE0200):
                continue
            frames = FRAMES[:2] if any(first <= start and start + BLOCK <= end for first, end in ALIKE) else FRAMES
            forms: list[str] = []
            ids: list[int] = []
            for code in codes:
                for frame in frames:
                    form = tokenizer.normalizer.normalize_str(frame.format(chr(code)))
                    forms.append(form)
                ids += tokenizer.encode(FRAMES[1].format(chr(code))).ids
            found["starts"].append(start)
            found["frames"].append(len(frames))
            found["forms"].append(digest("\n".join(forms)))
            found["ids"].append(digest(ids))
    return found


def random_cases() -> list[dict]:
    """Small vocabularies with few different scores, and texts of their letters and one more."""
    generator = random.Random(23)
    cases = []
    for number in range(RANDOM_VOCABULARIES):
        letters = generator.sample(ALPHABET, generator.randint(2, len(ALPHABET)))
        pieces = {"<unk>": 0.0}
        for _ in range(generator.randint(1, 30)):
            piece = "".join(generator.choices(letters, k=generator.choice((1, 1, 2, 2, 3, 4, 6))))
            pieces[piece] = -float(generator.choice((1, 2, 2, 3, 4, 5.5, 8)))
        byte_fallback = number % 3 == 0
        if byte_fallback:
            # Without one byte in some, so that characters with it stay unknown.
            for byte in range(256):
                if number % 2 or byte != 0x98:
                    pieces[f"<0x{byte:02X}>"] = -20.0
        vocab = [[piece, score] for piece, score in pieces.items()]
        split = number % 4 != 0
        whole = {
            "version": "1.0",
            "added_tokens": [],
            "normalizer": None,
            "pre_tokenizer": {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": generator.choice(("always", "never", "first")), "split": split},
            "post_processor": None,
            "model": {"type": "Unigram", "unk_id": 0, "vocab": vocab, "byte_fallback": byte_fallback},
        }
        tokenizer = Tokenizer.from_str(json.dumps(whole))
        texts = [
            "".join(generator.choices([*letters, " ", "x"], weights=[4] * len(letters) + [2, 1], k=generator.randint(0, 30)))
            for _ in range(RANDOM_TEXTS)
        ]
        cases.append({"definition": whole, "texts": texts, "ids": [tokenizer.encode(text).ids for text in texts]})
    return cases


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("e5", type=Path, help="tokenizer.json of multilingual-e5-small")
    parser.add_argument("texts", type=Path, help="m_absa.jsonl.gz: rows with text, lang and split")
    parser.add_argument("--charsmap", type=Path, required=True, help="tokenizer.json whose normalizer is Precompiled")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    charsmap = json.loads(args.charsmap.read_text(encoding="utf-8"))["normalizer"]["precompiled_charsmap"]
    e5 = json.loads(args.e5.read_text(encoding="utf-8"))
    texts = draw_texts(args.texts)
    every = [text for some in texts.values() for text in some]
    vocab = cut_vocabulary(Tokenizer.from_str(json.dumps(e5)), e5["model"]["vocab"], every)
    whole = definition(vocab, charsmap)
    tokenizer = Tokenizer.from_str(json.dumps(whole))
    value = {
        "definition": definition(vocab, "CHARSMAP"),
        "texts": texts,
        "ids": {language: [tokenizer.encode(text).ids for text in some] for language, some in texts.items()},
        "hard": [[text, tokenizer.encode(text).ids] for text in HARD],
        "long": [
            {"unit": unit, "times": times, "count": len(ids), "hash": digest(ids)}
            for unit, times in LONG.items()
            for ids in [tokenizer.encode(unit * times).ids]
        ],
        "frames": FRAMES,
        "characters": character_blocks(tokenizer),
        "random": random_cases(),
    }
    data = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    args.out.write_bytes(gzip.compress(data, 9, mtime=0))
    unknown = sum(ids.count(3) for some in value["ids"].values() for ids in some)
    print(f"{len(vocab)} pieces, {len(every)} texts, {unknown} unknown, {args.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()

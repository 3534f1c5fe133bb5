"""Writes unicode-tables.ts: the characters that Python's tokenizers treats as punctuation, marks and the like.

    python unicode_tables.py ../../src/worker/inference/tokenizer/unicode-tables.ts

Its parts come with tables of different Unicode versions, from 8 to 16, and JavaScript has a newer one than each of them. So
every code point is tried. Needs tokenizers 0.22 and, for the characters that are newer than its tables, unicodedata2.
"""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import unicodedata2
from tokenizers import Regex, normalizers, pre_tokenizers

CODE_POINTS = [code for code in range(1, 0x110000) if not 0xD800 <= code <= 0xDFFF]

# Marks of two classes of combination, and a letter that composes: they show how a character combines.
NEIGHBOURS = ("\u0316", "\u0301", "a")


def ranges(is_member: Callable[[str], bool]) -> Iterator[tuple[int, int]]:
    start = previous = None
    for code in CODE_POINTS:
        if not is_member(chr(code)):
            continue
        if previous is not None and code != previous + 1:
            yield start, previous
            start = None
        start = code if start is None else start
        previous = code
    if previous is not None:
        yield start, previous


def escape(code: int) -> str:
    return f"\\u{{{code:x}}}"


def character_class(is_member: Callable[[str], bool]) -> str:
    return "".join(
        escape(first) + ("" if first == last else ("-" if last > first + 1 else "") + escape(last))
        for first, last in ranges(is_member)
    )


def bert(option: str) -> normalizers.Normalizer:
    options = dict.fromkeys(["clean_text", "handle_chinese_chars", "strip_accents", "lowercase"], False)
    return normalizers.BertNormalizer(**options | {option: True})


PUNCTUATION = pre_tokenizers.Punctuation()
CLEAN = bert("clean_text")
BERT_ACCENTS = bert("strip_accents")
ACCENTS = normalizers.StripAccents()
UNASSIGNED = pre_tokenizers.Split(Regex(r"\p{Cn}"), "isolated")
FORMS = {name: getattr(normalizers, name)() for name in ("NFC", "NFD", "NFKC", "NFKD")}


def is_unassigned(char: str) -> bool:
    return len(UNASSIGNED.pre_tokenize_str(f"a{char}a")) > 1


def combines_otherwise(char: str) -> bool:
    if unicodedata2.category(char) in {"Cn", "Co"}:
        return False
    texts = [char] + [text for other in NEIGHBOURS for text in (char + other, other + char)]
    return any(
        form.normalize_str(text) != unicodedata2.normalize(name, text) for name, form in FORMS.items() for text in texts
    )


TABLES: dict[str, tuple[str, Callable[[str], bool]]] = {
    "PUNCTUATION": (
        "What BertPreTokenizer and Punctuation split at: Unicode 8, and all of ASCII's.",
        lambda char: len(PUNCTUATION.pre_tokenize_str(f"a{char}a")) > 1,
    ),
    "CONTROL": (
        "What BertNormalizer's clean_text removes, beside U+0000 and U+FFFD: Cc, Cf and Co of Unicode 8.",
        lambda char: char != "\ufffd" and CLEAN.normalize_str(f"a{char}a") == "aa",
    ),
    "BERT_ACCENTS": (
        "What BertNormalizer's strip_accents removes: Mn of Unicode 8.",
        lambda char: BERT_ACCENTS.normalize_str(char) == "",
    ),
    "MARKS": (
        "What StripAccents removes: M of an older Unicode than JavaScript's.",
        lambda char: ACCENTS.normalize_str(f"a{char}") == "a",
    ),
    "NEWER": (
        "Characters that regular expressions take for unassigned, as they are newer than Unicode 16.",
        lambda char: unicodedata2.category(char) != "Cn" and is_unassigned(char),
    ),
    "NEVER_COMPOSED": (
        "Characters that NFC, NFD, NFKC and NFKD leave as they are, as they are newer than their tables.",
        combines_otherwise,
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    lines = [
        "/**",
        " * Made by models/prepare/unicode_tables.py: what the parts of Python's tokenizers, each with its own version of Unicode,",
        " * take for punctuation, marks and so on. Insides of character classes, for regular expressions with the flag u.",
        " */",
    ]
    args = parser.parse_args()
    for name, (comment, is_member) in TABLES.items():
        content = character_class(is_member)
        lines += ["", f"/** {comment} */", f"export const {name} =", f"  '{content.replace(chr(92), chr(92) * 2)}';"]
        print(f"{name}: {len(content)} characters", flush=True)
    args.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()

"""Writes the ids that Python's tokenizers gives for many texts, for small tokenizers with every part that tokenizer.json may hold.

    python tokenizer_cases.py --charsmap ../../test/fixtures/models/xlm-roberta/tokenizer.json \
        --out ../../test/fixtures/goldens/tokenizers.json.gz

The output has `texts`; `models`, which the tokenizers share by name; `tokenizers` with their tokenizer.json and, by text, the
ids and segment ids; `truncated`, which is what Transformers makes of texts that it cuts;
`configured`, where tokenizer_config.json says otherwise than tokenizer.json; and `rejected`: definitions that
Python itself does not load.
"""

import argparse
import copy
import gzip
import json
import tempfile
from pathlib import Path

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

SENTENCES = [
    "The film was good, and the acting was better than I'd expected!",
    "a good film, a bad film; don't waste 10.50 on it, it's a waste of time",
    "The weather in München is schön, naïve café über alles",
    "Это был хороший фильм, но слишком длинный",
    "我喜欢这部电影。 这部电影太长了！",
    "hello world, HELLO WORLD, Hello World 2024 http://example.com/a_b?c=d&e=f",
    "low lower lowest new newer newest wide wider widest",
]

TEXTS = [
    "",
    " ",
    "\n",
    "a",
    *SENTENCES,
    "  two  leading spaces and a trailing one ",
    "tabs\tand\nnew\r\nlines\x0band\x0cfeeds",
    "café cafe\u0301 naïve Übergröße ÀÉÎÕÜ ñ Ångström",
    "ΟΔΥΣΣΕΥΣ Σ ς İstanbul ıI ǅ ﬁne ﬀ ＦＵＬＬ ｗｉｄｔｈ ½ ² Ⅷ ㋿ ①",
    "Привет, мир! ЁЖИК ёжик",
    "你好，世界 汉字𠀀𫠠𫢸漢字 ひらがな カタカナー 한국어 각",
    "مرحبا بالعالم، كيف الحال؟ שלום עולם",
    "สวัสดีชาวโลก नमस्ते दुनिया क्षि தமிழ்",
    "😀 😡😡 👨‍👩‍👧‍👦 👍🏽 🇩🇪🇫🇷 ❤️ ☺",
    "zero\u200bwidth \u200bx \ufeffbom\ufeff soft\u00adhyphen \u200djoin\u200c \u2060",
    "next\u0085line \u0085 nbsp\u00a0here\u3000ideographic\u2003em\u1680ogham",
    "ctrl\x01\x02 \x7f del \x1b[0m esc \x9f",
    "new in Unicode 16 and 17: \u1c89 \ua7cf \u1acf a\u1acfb \u088f \u2e52 \u2e4f \u08d4 \u08e2",
    "punct: !\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~ «quoted» „low“ … — – ‽ ¿qué? ¡no! ₹ € ± × ÷ °",
    "what?! really?!?! ... no... --dash-- a-b c_d e.f g/h",
    "I'm you're he'd she'll it's we've DON'T 'S 'ſ ’s",
    "12345 1,234.56 ٣٤٥ ४५ 1a2b3c x² Ⅻ 10%",
    "covid covidian precovid covid19 covid-19 (covid) covid, Covid COVID _covid coviD covid\u0301",
    "a<mask>b <mask> c  <mask>  d\t<mask>\n<mask><mask> <MASK>",
    "[CLS] a [SEP] b [PAD] [UNK] [unk] <s> </s> <unk> <pad> <|endoftext|> [MASK]",
    "Film film FILM #hash #hash  tag##hash new york New York  NEW YORK newyork",
    "xyz XYZ qqqq zzzz ßßß éé ☃☃ ☃é☃",
    "a☃b c☃☃d ☃ e☃",
    "low☃er lo er we r lowlowerlowest",
    "▁under ▁▁score _ ▁",
    "a  b   c    d     e",
    "x" * 120 + " y",
    "é" * 101 + " " + "a" * 100 + " " + "😀" * 60,
    "aaaaaaaaaaaaaaaaaaaabbbbbbbbbbbbabababababab",
    "\u0301 lone mark \u0301\u0302a e\u0316\u0301 e\u0301\u0316 \u0344",
    "q\u0307\u0323 q\u0323\u0307 \u1e0b\u0323 \u212b \u2126 \uac00\u11a8 \u1100\u1161\u11a8",
    " \u00a0a\u00a0 \u3000",
    "a\nb\n\nc \n d\n",
    "CamelCaseWords snake_case_words kebab-case-words v1.2.3-rc4",
    "https://example.com/path?x=1&y=2#frag user@example.com @user #tag",
    "ÄÖÜäöü".lower() + "İ".lower() + " STRASSE straße",
    "\U0001f468\u200d\U0001f4bb \u0600a \u0e33 \u0e01\u0e33 ก\u0e48า",
    "\ue000private \U000f0000 \ufffd replacement \U0001fffe",
    "ends with space ",
    "\x06control character first",
    "good film " * 12,
]

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def added(content: str, id: int = 0, **options: bool) -> dict:
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {"id": id, "content": content, **flags, **options}


def plain(content: str, **options: bool) -> dict:
    return added(content, **{"special": False, "normalized": True, **options})


SPECIALS = [added(token, i) for i, token in enumerate(SPECIAL)]


def template(single: list, tokens: dict[str, list[int]]) -> dict:
    pieces = [
        {"Sequence": {"id": "A", "type_id": type_id}}
        if name == "$A"
        else {"SpecialToken": {"id": name, "type_id": type_id}}
        for name, type_id in single
    ]
    pair = [*pieces, {"Sequence": {"id": "B", "type_id": 1}}]
    special = {name: {"id": name, "ids": ids, "tokens": [name] * len(ids)} for name, ids in tokens.items()}
    return {"type": "TemplateProcessing", "single": pieces, "pair": pair, "special_tokens": special}


BERT_TEMPLATE = template([("[CLS]", 0), ("$A", 0), ("[SEP]", 0)], {"[CLS]": [2], "[SEP]": [3]})


def definition(model, normalizer=None, pre=None, post=None, tokens=None) -> dict:
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": tokens or [],
        "normalizer": normalizer,
        "pre_tokenizer": pre,
        "post_processor": post,
        "decoder": None,
        "model": model,
    }


def sequence(kind: str, *parts: dict) -> dict:
    return {"type": "Sequence", kind: list(parts)}


def bert(**options) -> dict:
    defaults = {"clean_text": True, "handle_chinese_chars": True, "strip_accents": None, "lowercase": True}
    return {"type": "BertNormalizer", **defaults, **options}


def replace(pattern: str, content: str, kind: str = "String") -> dict:
    return {"type": "Replace", "pattern": {kind: pattern}, "content": content}


def split(pattern: str, behavior: str, invert: bool = False, kind: str = "Regex") -> dict:
    return {"type": "Split", "pattern": {kind: pattern}, "behavior": behavior, "invert": invert}


def metaspace(scheme: str = "always", **options) -> dict:
    return {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": True} | options


def byte_level(prefix: bool = False, regex: bool = True, **options: bool) -> dict:
    return {"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": True, "use_regex": regex, **options}


BEHAVIORS = ["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"]

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
O200K = "|".join(
    [
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"\p{N}{1,3}",
        r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    ]
)
CL100K = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
)
DEEPSEEK = r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
CLIP = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
BLOOM = " ?[^(\\s|[.,!?…。，、।۔،])]+"

NORMALIZERS = {
    "none": None,
    "nfc": {"type": "NFC"},
    "nfd": {"type": "NFD"},
    "nfkc": {"type": "NFKC"},
    "nfkd": {"type": "NFKD"},
    "lowercase": {"type": "Lowercase"},
    "strip-both": {"type": "Strip", "strip_left": True, "strip_right": True},
    "strip-left": {"type": "Strip", "strip_left": True, "strip_right": False},
    "strip-right": {"type": "Strip", "strip_left": False, "strip_right": True},
    "strip-none": {"type": "Strip", "strip_left": False, "strip_right": False},
    "strip-accents": {"type": "StripAccents"},
    "nfd-strip-accents": sequence("normalizers", {"type": "NFD"}, {"type": "StripAccents"}),
    "replace-string": replace(" ", "▁"),
    "replace-dollar": replace("a", "$&$1\\0"),
    "replace-meta": replace("...", "…"),
    "replace-empty": replace("o", ""),
    "replace-regex": replace(" {2,}", " ", "Regex"),
    "replace-class": replace(r"[\s\d]+", "_", "Regex"),
    "replace-lookahead": replace(r"(?=[A-Z])", "|", "Regex"),
    "replace-star": replace("x*", "-", "Regex"),
    "replace-word": replace(r"\w+", "w", "Regex"),
    "replace-not-word": replace(r"[^\w\s]", "", "Regex"),
    "prepend": {"type": "Prepend", "prepend": "▁"},
    "nmt": {"type": "Nmt"},
    "byte-level": {"type": "ByteLevel"},
    "bert": bert(),
    "bert-cased": bert(lowercase=False),
    "bert-accents": bert(strip_accents=False),
    "bert-cased-no-accents": bert(lowercase=False, strip_accents=True),
    "bert-no-chinese": bert(handle_chinese_chars=False),
    "bert-no-clean": bert(clean_text=False),
    "bert-nothing": bert(clean_text=False, handle_chinese_chars=False, lowercase=False),
    "albert": sequence(
        "normalizers",
        replace("``", '"'),
        replace("''", '"'),
        {"type": "NFKD"},
        {"type": "StripAccents"},
        {"type": "Lowercase"},
    ),
    "empty-sequence": sequence("normalizers"),
    "nested": sequence("normalizers", sequence("normalizers", {"type": "NFKC"}), {"type": "Lowercase"}),
    "replace-in-nothing": sequence(
        "normalizers", {"type": "Strip", "strip_left": False, "strip_right": True}, replace("x*", "-", "Regex")
    ),
}

PRE_TOKENIZERS = {
    "bert": {"type": "BertPreTokenizer"},
    "whitespace": {"type": "Whitespace"},
    "whitespace-split": {"type": "WhitespaceSplit"},
    **{f"punctuation-{b}": {"type": "Punctuation", "behavior": b} for b in BEHAVIORS},
    "punctuation": {"type": "Punctuation"},
    **{f"split-space-{b}": split(" ", b, kind="String") for b in BEHAVIORS},
    **{f"split-space-{b}-invert": split(" ", b, True, kind="String") for b in BEHAVIORS},
    **{f"split-regex-{b}": split(r"\s+|[,.!?]", b) for b in BEHAVIORS},
    **{f"split-regex-{b}-invert": split(r"\w+", b, True) for b in BEHAVIORS},
    **{f"split-lookahead-{b}": split(r"(?=[A-Z])", b) for b in BEHAVIORS},
    **{f"split-star-{b}": split(r"x*", b) for b in BEHAVIORS},
    "split-meta": split("...", "Isolated", kind="String"),
    "split-dash": split("a-b", "Isolated", kind="String"),
    "split-gpt2": split(GPT2, "Isolated"),
    "split-gpt2-invert": split(GPT2, "Removed", True),
    "split-llama3": split(LLAMA3, "Isolated"),
    "split-qwen2": split(QWEN2, "Isolated"),
    "split-o200k": split(O200K, "Isolated"),
    "split-cl100k": split(CL100K, "Isolated"),
    "split-deepseek": split(DEEPSEEK, "Isolated"),
    "split-clip": split(CLIP, "Removed", True),
    "split-bloom": split(BLOOM, "Isolated"),
    "split-digits": split(r"\p{N}{1,3}", "Isolated"),
    "split-lazy": split(r"[a-z]+?", "Isolated"),
    "split-dot": split(r".", "Isolated"),
    "split-line": split(r"^\S+$", "Isolated"),
    "split-fold": split(r"(?i:sk|[ks]+x)", "Isolated"),
    "split-han": split(r"\p{Han}", "Isolated"),
    "split-behind": split(r"(?<=[a-z])[A-Z]", "MergedWithNext"),
    "split-digit-class": split(r"[\d_]", "Isolated"),
    "split-not-space": split(r"[^\S\n]+", "Isolated"),
    "byte-level": byte_level(),
    "byte-level-prefix": byte_level(prefix=True),
    "byte-level-no-regex": byte_level(regex=False),
    "byte-level-prefix-no-regex": byte_level(prefix=True, regex=False),
    **{f"metaspace-{scheme}": metaspace(scheme) for scheme in ("always", "first", "never")},
    **{f"metaspace-{scheme}-no-split": metaspace(scheme, split=False) for scheme in ("always", "first", "never")},
    "metaspace-legacy": {"type": "Metaspace", "replacement": "▁", "add_prefix_space": True},
    "metaspace-legacy-str-rep": {
        "type": "Metaspace",
        "replacement": "▁",
        "add_prefix_space": True,
        "str_rep": "▁",
    },
    "metaspace-legacy-never": {
        "type": "Metaspace",
        "replacement": "▁",
        "add_prefix_space": False,
        "prepend_scheme": "never",
    },
    "metaspace-underscore": metaspace(replacement="_"),
    "digits": {"type": "Digits", "individual_digits": False},
    "digits-individual": {"type": "Digits", "individual_digits": True},
    "delimiter": {"type": "CharDelimiterSplit", "delimiter": "-"},
    "delimiter-space": {"type": "CharDelimiterSplit", "delimiter": " "},
    "fixed-length": {"type": "FixedLength", "length": 3},
    "t5-old": sequence("pretokenizers", {"type": "WhitespaceSplit"}, metaspace("always")),
    "whitespace-first": sequence("pretokenizers", {"type": "WhitespaceSplit"}, metaspace("first")),
    "removed-first": sequence("pretokenizers", split("[ab]", "Removed"), metaspace("first")),
    "split-first": sequence("pretokenizers", split("[ab]", "Isolated"), metaspace("first")),
    "digits-whitespace": sequence(
        "pretokenizers", {"type": "Whitespace"}, {"type": "Digits", "individual_digits": True}
    ),
    "llama3": sequence("pretokenizers", split(LLAMA3, "Isolated"), byte_level(regex=False)),
    "clip": sequence("pretokenizers", split(CLIP, "Removed", True), byte_level()),
    "punctuation-digits": sequence(
        "pretokenizers",
        {"type": "Punctuation", "behavior": "Contiguous"},
        byte_level(),
        {"type": "Digits", "individual_digits": False},
    ),
    "empty-sequence": sequence("pretokenizers"),
    "nested": sequence("pretokenizers", sequence("pretokenizers", {"type": "Whitespace"}), metaspace()),
}


def spelling_model(charsmap: str) -> dict:
    """Knows every character that the texts have or become, at the start of a piece and inside: its ids show the pieces."""
    characters = set("▁_-|w$&1\\0…")
    byte_characters = pre_tokenizers.ByteLevel.alphabet()
    forms = [*NORMALIZERS.values(), {"type": "Precompiled", "precompiled_charsmap": charsmap}]
    for config in forms:
        if config is None:
            characters.update(*TEXTS)
            continue
        bare = definition({"type": "BPE", "vocab": {}, "merges": []}, normalizer=config)
        normalizer = Tokenizer.from_str(json.dumps(bare)).normalizer
        characters.update(*(normalizer.normalize_str(text) for text in TEXTS))
    known = sorted(characters | set(byte_characters))
    # Some are left out, so that something is unknown.
    known = [character for character in known if character not in "☃😡Ж"]
    vocabulary = {token: i for i, token in enumerate([*SPECIAL, *known, *(f"##{character}" for character in known)])}
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": "[UNK]",
        "continuing_subword_prefix": "##",
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": False,
        "vocab": vocabulary,
        "merges": [],
    }


def train(model, trainer, pre=None, normalizer=None) -> dict:
    tokenizer = Tokenizer(model)
    if pre:
        tokenizer.pre_tokenizer = pre
    if normalizer:
        tokenizer.normalizer = normalizer
    tokenizer.train_from_iterator(SENTENCES * 4, trainer)
    return json.loads(tokenizer.to_str())["model"]


BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def trained_models() -> dict[str, dict]:
    quiet = {"show_progress": False}
    word_piece = train(
        models.WordPiece(unk_token="[UNK]"),
        trainers.WordPieceTrainer(vocab_size=260, special_tokens=SPECIAL, **quiet),
        pre_tokenizers.BertPreTokenizer(),
        normalizers.BertNormalizer(),
    )
    bpe = train(
        models.BPE(unk_token="[UNK]"),
        trainers.BpeTrainer(vocab_size=300, special_tokens=SPECIAL, **quiet),
        pre_tokenizers.Whitespace(),
    )
    bpe_prefix = train(
        models.BPE(unk_token="[UNK]", continuing_subword_prefix="##"),
        trainers.BpeTrainer(vocab_size=360, special_tokens=SPECIAL, continuing_subword_prefix="##", **quiet),
        pre_tokenizers.Whitespace(),
    )
    bpe_suffix = train(
        models.BPE(unk_token="[UNK]", end_of_word_suffix="</w>"),
        trainers.BpeTrainer(vocab_size=360, special_tokens=SPECIAL, end_of_word_suffix="</w>", **quiet),
        pre_tokenizers.Whitespace(),
    )
    byte_bpe = train(
        models.BPE(),
        trainers.BpeTrainer(
            vocab_size=420,
            special_tokens=["<s>", "<pad>", "</s>", "<unk>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            **quiet,
        ),
        pre_tokenizers.ByteLevel(add_prefix_space=False),
    )
    space_bpe = train(
        models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True),
        trainers.BpeTrainer(vocab_size=640, special_tokens=["<unk>", "<s>", "</s>", *BYTES], **quiet),
        pre_tokenizers.Metaspace(),
    )
    unigram = train(
        models.Unigram(),
        trainers.UnigramTrainer(
            vocab_size=240, unk_token="<unk>", special_tokens=["<s>", "<pad>", "</s>", "<unk>"], **quiet
        ),
        pre_tokenizers.Metaspace(),
    )
    unigram_bytes = copy.deepcopy(unigram)
    unigram_bytes["vocab"] += [[token, -20.0] for token in BYTES]
    unigram_bytes["byte_fallback"] = True
    some_bytes = copy.deepcopy(unigram_bytes)
    some_bytes["vocab"] = [entry for entry in some_bytes["vocab"] if entry[0] not in ("<0xC3>", "<0xE2>")]
    words = train(
        models.WordLevel(unk_token="[UNK]"),
        trainers.WordLevelTrainer(vocab_size=80, special_tokens=SPECIAL, **quiet),
        pre_tokenizers.Whitespace(),
    )
    legacy_merges = copy.deepcopy(bpe)
    legacy_merges["merges"] = [" ".join(pair) for pair in legacy_merges["merges"]]
    two_ways = {
        "type": "BPE",
        "vocab": {t: i for i, t in enumerate(["[UNK]", "a", "b", "c", "bc", "ab", "abc", "abab", "ba"])},
        "merges": [["ab", "ab"], ["b", "c"], ["a", "bc"], ["b", "a"], ["a", "b"], ["ab", "c"]],
        "unk_token": "[UNK]",
    }
    variants = {
        "word-piece": word_piece,
        "word-piece-short": word_piece | {"max_input_chars_per_word": 5},
        "word-piece-no-prefix": word_piece | {"continuing_subword_prefix": ""},
        "word-piece-other-unknown": word_piece | {"unk_token": "[PAD]"},
        "bpe": bpe,
        "bpe-fuse": bpe | {"fuse_unk": True},
        "bpe-no-unknown": bpe | {"unk_token": None},
        "bpe-ignore-merges": bpe | {"ignore_merges": True, "vocab": {**bpe["vocab"], "lowest": 900, "World": 901}},
        "bpe-legacy-merges": legacy_merges,
        "bpe-no-type": {key: value for key, value in bpe.items() if key != "type"},
        "bpe-dropout-0": bpe | {"dropout": 0.0},
        "bpe-prefix": bpe_prefix,
        "bpe-prefix-fuse": bpe_prefix | {"fuse_unk": True},
        "bpe-suffix": bpe_suffix,
        "bpe-two-ways": two_ways,
        "byte-bpe": byte_bpe,
        "space-bpe": space_bpe,
        "space-bpe-not-fused": space_bpe | {"fuse_unk": False},
        "space-bpe-few-bytes": space_bpe
        | {"vocab": {t: i for t, i in space_bpe["vocab"].items() if t not in ("<0xE2>", "<0xF0>")}},
        "space-bpe-few-bytes-not-fused": space_bpe
        | {"fuse_unk": False, "vocab": {t: i for t, i in space_bpe["vocab"].items() if t not in ("<0xE2>", "<0xF0>")}},
        "unigram": unigram,
        "unigram-bytes": unigram_bytes,
        "unigram-some-bytes": some_bytes,
        "words": words,
        "words-other-unknown": words | {"unk_token": "[MASK]"},
    }
    return variants


def ordinary(charsmap: str, trained: dict[str, dict]) -> dict[str, dict]:
    """The structure of what Transformers saves for well-known families, over small vocabularies."""
    precompiled = {"type": "Precompiled", "precompiled_charsmap": charsmap}
    xlmr_tokens = [added("<s>", 0), added("<pad>", 1), added("</s>", 2), added("<unk>", 3), added("<mask>", 9, lstrip=True)]
    xlmr_template = template([("<s>", 0), ("$A", 0), ("</s>", 0)], {"<s>": [0], "</s>": [2]})
    roberta_tokens = [
        *(added(t, i, normalized=True) for i, t in enumerate(["<s>", "<pad>", "</s>", "<unk>"])),
        added("<mask>", 9, lstrip=True),
    ]
    roberta_post = {
        "type": "RobertaProcessing",
        "sep": ["</s>", 2],
        "cls": ["<s>", 0],
        "trim_offsets": True,
        "add_prefix_space": False,
    }
    eos_template = template([("$A", 0), ("</s>", 0)], {"</s>": [2]})
    bos_template = template([("<s>", 0), ("$A", 0)], {"<s>": [0]})
    albert = NORMALIZERS["albert"]
    albert = albert | {"normalizers": [*albert["normalizers"], precompiled]}
    byte_model, space_model, unigram = "byte-bpe", "space-bpe", "unigram"
    t5_unigram = "unigram-bytes"
    return {
        "BERT": definition("word-piece", bert(), {"type": "BertPreTokenizer"}, BERT_TEMPLATE, SPECIALS),
        "BERT cased": definition("word-piece", bert(lowercase=False), {"type": "BertPreTokenizer"}, BERT_TEMPLATE, SPECIALS),
        "DistilBERT, ELECTRA, first versions": definition(
            "word-piece",
            bert(),
            {"type": "BertPreTokenizer"},
            {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]},
            SPECIALS,
        ),
        "MPNet": definition(
            "word-piece",
            bert(),
            {"type": "BertPreTokenizer"},
            {**roberta_post, "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]},
            [*SPECIALS[:4], added("[MASK]", 4, lstrip=True)],
        ),
        "RoBERTa": definition(byte_model, None, byte_level(), roberta_post, roberta_tokens),
        "Longformer, with a space before": definition(byte_model, None, byte_level(prefix=True), roberta_post, roberta_tokens),
        "ModernBERT": definition(
            byte_model,
            {"type": "NFC"},
            byte_level(),
            template([("<s>", 0), ("$A", 0), ("</s>", 0)], {"<s>": [0], "</s>": [2]}),
            [*roberta_tokens, plain("  "), plain("   "), plain("    "), added("<|padding|>"), plain("|||EMAIL|||")],
        ),
        "GPT-2": definition(
            byte_model, None, byte_level(), {**byte_level(prefix=True), "trim_offsets": False}, [added("<|endoftext|>", normalized=True)]
        ),
        "Qwen2": definition(
            byte_model,
            {"type": "NFC"},
            sequence("pretokenizers", split(QWEN2, "Isolated"), byte_level(regex=False)),
            {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False},
            [added("<|endoftext|>"), added("<|im_start|>"), added("<|im_end|>")],
        ),
        "Llama 3": definition(
            byte_model,
            None,
            sequence("pretokenizers", split(LLAMA3, "Isolated"), byte_level(regex=False)),
            sequence("processors", byte_level(), bos_template),
            [added("<|begin_of_text|>")],
        ),
        "Llama 2, Mistral": definition(
            space_model,
            sequence("normalizers", {"type": "Prepend", "prepend": "▁"}, replace(" ", "▁")),
            None,
            template([("<s>", 0), ("$A", 0)], {"<s>": [1]}),
            [added("<unk>", 0), added("<s>", 1), added("</s>", 2)],
        ),
        "Llama 2, not legacy": definition(
            space_model,
            None,
            metaspace("first", split=False),
            template([("<s>", 0), ("$A", 0)], {"<s>": [1]}),
            [added("<unk>", 0), added("<s>", 1), added("</s>", 2)],
        ),
        "Gemma, mmBERT": definition(
            space_model,
            replace(" ", "▁"),
            split(" ", "MergedWithPrevious", kind="String"),
            template([("<s>", 0), ("$A", 0), ("</s>", 0)], {"<s>": [1], "</s>": [2]}),
            [added("<s>", 1), added("</s>", 2), plain("\n\n", normalized=False), plain("▁▁", normalized=False), plain("<table>")],
        ),
        "CLIP": definition(
            "bpe-suffix",
            sequence("normalizers", {"type": "NFC"}, replace(r"\s+", " ", "Regex"), {"type": "Lowercase"}),
            sequence("pretokenizers", split(CLIP, "Removed", True), byte_level()),
            {**roberta_post, "sep": ["[SEP]", 3], "cls": ["[CLS]", 2], "trim_offsets": False},
            [added("[CLS]", 2, normalized=True), added("[SEP]", 3, normalized=True)],
        ),
        "XLM-R": definition(unigram, precompiled, metaspace(), xlmr_template, xlmr_tokens),
        "XLM-R, first versions": definition(
            unigram,
            sequence("normalizers", precompiled, replace(" {2,}", " ", "Regex")),
            sequence(
                "pretokenizers",
                {"type": "WhitespaceSplit"},
                {"type": "Metaspace", "replacement": "▁", "str_rep": "▁", "add_prefix_space": True},
            ),
            xlmr_template,
            xlmr_tokens,
        ),
        "CamemBERT": definition(
            unigram,
            sequence("normalizers", {"type": "Strip", "strip_left": False, "strip_right": True}, replace(" {2,}", "▁", "Regex")),
            metaspace(),
            xlmr_template,
            [*xlmr_tokens, plain("<unk>NOTUSED")],
        ),
        "DeBERTa v2 and v3": definition(
            unigram,
            sequence(
                "normalizers",
                {"type": "Strip", "strip_left": True, "strip_right": True},
                precompiled,
                replace(" {2,}", " ", "Regex"),
            ),
            sequence("pretokenizers", metaspace()),
            template([("[CLS]", 0), ("$A", 0), ("[SEP]", 0)], {"[CLS]": [0], "[SEP]": [2]}),
            [added("[CLS]"), added("[SEP]"), added("[UNK]", normalized=True), added("[MASK]")],
        ),
        "DeBERTa v1": definition(
            byte_model,
            None,
            byte_level(prefix=True),
            template([("[CLS]", 0), ("$A", 0), ("[SEP]", 0)], {"[CLS]": [0], "[SEP]": [2]}),
            [added("[CLS]", lstrip=False), added("[MASK]", lstrip=True, normalized=True)],
        ),
        "ALBERT": definition(unigram, albert, metaspace(), template([("[CLS]", 0), ("$A", 0), ("[SEP]", 0)], {"[CLS]": [0], "[SEP]": [2]}), [added("[CLS]"), added("[SEP]"), added("[MASK]", lstrip=True)]),
        "FNet, BigBird": definition(
            unigram,
            sequence("normalizers", precompiled, replace(" {2,}", " ", "Regex")),
            metaspace("first"),
            template([("[CLS]", 0), ("$A", 0), ("[SEP]", 0)], {"[CLS]": [0], "[SEP]": [2]}),
            [added("[CLS]"), added("[SEP]"), added("[MASK]", lstrip=True)],
        ),
        "T5": definition(
            unigram,
            sequence("normalizers", precompiled, {"type": "Strip", "strip_left": False, "strip_right": True}, replace(" {2,}", "▁", "Regex")),
            metaspace("first"),
            eos_template,
            [added("<pad>", 1), added("</s>", 2), added("<unk>", 3), *(added(f"<extra_id_{i}>") for i in range(20))],
        ),
        "mT5, UMT5": definition(
            t5_unigram,
            sequence("normalizers", {"type": "Strip", "strip_left": True, "strip_right": False}, precompiled),
            metaspace("first", split=False),
            eos_template,
            [added("<pad>", 1), added("</s>", 2), added("<unk>", 3)],
        ),
        "XLNet": definition(
            unigram,
            sequence("normalizers", replace("``", '"'), replace("''", '"'), precompiled, replace(" {2,}", " ", "Regex")),
            metaspace(),
            template([("$A", 0), ("</s>", 0), ("<s>", 2)], {"</s>": [2], "<s>": [0]}),
            [added("<s>"), added("</s>"), added("<mask>", lstrip=True, normalized=True)],
        ),
        "BLOOM": definition(byte_model, None, sequence("pretokenizers", split(BLOOM, "Isolated"), byte_level(regex=False)), byte_level(prefix=True), [added("<s>")]),
        "DeepSeek": definition(
            byte_model,
            sequence("normalizers"),
            sequence(
                "pretokenizers",
                split(r"\p{N}{1,3}", "Isolated"),
                split("[一-龥぀-ゟ゠-ヿ]+", "Isolated"),
                split(DEEPSEEK, "Isolated"),
                byte_level(regex=False),
            ),
            None,
            [added("<s>")],
        ),
        "Falcon": definition(
            byte_model,
            None,
            sequence(
                "pretokenizers",
                {"type": "Punctuation", "behavior": "Contiguous"},
                byte_level(),
                {"type": "Digits", "individual_digits": False},
                split("[0-9][0-9][0-9]", "Isolated"),
            ),
            None,
            [added("<|endoftext|>")],
        ),
        "words": definition("words", {"type": "Lowercase"}, {"type": "Whitespace"}, BERT_TEMPLATE, SPECIALS),
    }


def all_tokenizers(charsmap: str) -> tuple[dict[str, dict], dict[str, dict]]:
    trained = trained_models()
    shared = {"spelling": spelling_model(charsmap), **trained}
    cases: dict[str, dict] = {}
    for name, config in NORMALIZERS.items():
        cases[f"normalizer {name}"] = definition("spelling", normalizer=config)
    cases["normalizer precompiled"] = definition(
        "spelling", normalizer={"type": "Precompiled", "precompiled_charsmap": charsmap}
    )
    for name, config in PRE_TOKENIZERS.items():
        cases[f"pre_tokenizer {name}"] = definition("spelling", pre=config)
    for name in ("strip-left", "strip-accents", "nmt", "replace-empty", "replace-regex", "replace-string", "prepend", "nfkd"):
        cases[f"metaspace first after {name}"] = definition(
            "spelling", normalizer=NORMALIZERS[name], pre=metaspace("first"), tokens=[plain("<mask>")]
        )
    for name in trained:
        pre = {"word-piece": {"type": "BertPreTokenizer"}, "byte-bpe": byte_level(), "space-bpe": metaspace()}
        pre_tokenizer = next((p for start, p in pre.items() if name.startswith(start)), {"type": "Whitespace"})
        if name.startswith("unigram"):
            pre_tokenizer = metaspace()
        cases[f"model {name}"] = definition(name, pre=pre_tokenizer)
        cases[f"model {name} alone"] = definition(name)
    posts = {
        "none": None,
        "bert": {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]},
        "roberta": {
            "type": "RobertaProcessing",
            "sep": ["[SEP]", 3],
            "cls": ["[CLS]", 2],
            "trim_offsets": False,
            "add_prefix_space": True,
        },
        "byte-level": byte_level(),
        "template": BERT_TEMPLATE,
        "template several ids": template(
            [("[CLS]", 0), ("two", 1), ("$A", 1), ("[SEP]", 2), ("two", 3)],
            {"[CLS]": [2], "two": [4, 5, 6], "[SEP]": [3]},
        ),
        "template other ids": template([("[CLS]", 0), ("$A", 0)], {"[CLS]": [17]}),
        "template bare": template([("$A", 0)], {}),
        "template type 1": template([("$A", 1)], {}),
        "sequence": sequence("processors", byte_level(), BERT_TEMPLATE, byte_level()),
        "sequence nested": sequence("processors", sequence("processors", BERT_TEMPLATE)),
        "sequence empty": sequence("processors"),
    }
    for name, config in posts.items():
        cases[f"post_processor {name}"] = definition("words", pre={"type": "Whitespace"}, post=config, tokens=SPECIALS)
    token_sets = {
        "special": SPECIALS,
        "single word": [plain("covid", single_word=True)],
        "single word raw": [plain("covid", single_word=True, normalized=False)],
        "lstrip": [added("<mask>", lstrip=True)],
        "rstrip": [added("<mask>", rstrip=True)],
        "both": [added("<mask>", lstrip=True, rstrip=True)],
        "strip normalized": [plain("<mask>", lstrip=True, rstrip=True), plain("#hash", rstrip=True)],
        "strip single word": [plain("covid", lstrip=True, rstrip=True, single_word=True)],
        "upper": [plain("Film"), plain("FILM", normalized=False), plain("New York")],
        "same after normalisation": [plain("Film"), plain("film"), added("FILM", normalized=True)],
        "prefixes": [plain("new"), plain("newer"), plain("newest"), plain("new york"), plain("low")],
        "in the vocabulary": [plain("was"), plain("film"), plain("unheard of")],
        "far ids": [added("<mask>", 7000), plain("covid", id=31), plain("#hash", id=5)],
        "twice": [plain("covid"), plain("covid", single_word=True), plain("", normalized=False)],
        "regex characters": [plain("a-b"), plain("?!"), plain("..."), plain("$%"), plain("[0m"), plain("\\")],
        "spaces": [plain("  "), plain("   ", normalized=False), plain("\n"), plain("\t", normalized=False)],
        "emoji": [plain("👨‍👩‍👧‍👦"), plain("👍"), plain("🇩"), plain("é"), plain("e\u0301")],
        "accents": [plain("café"), plain("NAÏVE")],
        "white space of two": [
            plain(" ", lstrip=True, rstrip=True, normalized=False),
            plain("the", rstrip=True, normalized=False),
        ],
        "beside newer characters": [plain("a", single_word=True)],
        "metaspace": [plain("▁under"), plain("under")],
    }
    for name, tokens in token_sets.items():
        for normalizer in (None, bert(), {"type": "NFKC"}):
            kind = normalizer["type"] if normalizer else "no normalizer"
            cases[f"added_tokens {name}, {kind}"] = definition(
                "spelling", normalizer, {"type": "WhitespaceSplit"}, None, tokens
            )
    for name, case in ordinary(charsmap, trained).items():
        cases[f"as saved: {name}"] = case
    return shared, cases


def resolved(case: dict, shared: dict[str, dict]) -> dict:
    return {**case, "model": shared[case["model"]]}


def truncation(shared: dict[str, dict], cases: dict[str, dict]) -> list[dict]:
    """Ids of Transformers' tokenizer with truncation=True."""
    rows = []
    texts = [TEXTS.index(text) for text in (SENTENCES[0], SENTENCES[4], TEXTS[-1], "", "a")]
    names = [name for name in cases if name.startswith(("as saved: ", "post_processor "))]
    for name in names:
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(resolved(cases[name], shared), file)
            file.flush()
            for side in ("right", "left"):
                tokenizer = PreTrainedTokenizerFast(tokenizer_file=file.name, truncation_side=side)
                # As AutoTokenizer would leave it; the base class takes add_prefix_space from its own default.
                tokenizer._tokenizer = Tokenizer.from_file(file.name)
                for text in texts:
                    for limit in (12, 9):
                        encoded = tokenizer(TEXTS[text], truncation=True, max_length=limit)
                        rows.append(
                            {"tokenizer": name, "side": side, "text": text, "limit": limit, "ids": encoded["input_ids"]}
                        )
    return rows


CONFIGURED = [
    ("as saved: BERT", {"tokenizer_class": "BertTokenizer", "do_lower_case": False}),
    ("as saved: BERT cased", {"tokenizer_class": "BertTokenizer", "do_lower_case": True}),
    ("as saved: BERT", {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "strip_accents": False}),
    ("as saved: BERT", {"tokenizer_class": "DistilBertTokenizer", "do_lower_case": True, "tokenize_chinese_chars": False}),
    ("as saved: BERT", {"tokenizer_class": "ElectraTokenizerFast", "do_lower_case": False, "strip_accents": True}),
    ("as saved: BERT", {"tokenizer_class": "PreTrainedTokenizerFast", "do_lower_case": False}),
    ("as saved: RoBERTa", {"tokenizer_class": "RobertaTokenizer", "add_prefix_space": True}),
    ("as saved: Longformer, with a space before", {"tokenizer_class": "RobertaTokenizer", "add_prefix_space": False}),
    ("as saved: GPT-2", {"tokenizer_class": "PreTrainedTokenizerFast", "add_prefix_space": True}),
    ("as saved: Qwen2", {"tokenizer_class": "PreTrainedTokenizerFast", "add_prefix_space": True}),
    ("as saved: BERT", {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "split_special_tokens": True}),
    *(
        (
            "as saved: Llama 2, not legacy",
            {
                "tokenizer_class": "LlamaTokenizerFast",
                "bos_token": "<s>",
                "eos_token": "</s>",
                "unk_token": "<unk>",
                "add_bos_token": bos,
                "add_eos_token": eos,
                "legacy": False,
            },
        )
        for bos in (True, False)
        for eos in (True, False)
    ),
]


def configured(shared: dict[str, dict], cases: dict[str, dict]) -> list[dict]:
    """Ids of Transformers' tokenizer where tokenizer_config.json contradicts tokenizer.json."""
    rows = []
    for name, config in CONFIGURED:
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "tokenizer.json").write_text(json.dumps(resolved(cases[name], shared)), encoding="utf-8")
            (Path(folder) / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
            tokenizer = AutoTokenizer.from_pretrained(folder)
        # The files do not contain tokens that only the tokenizer's class adds.
        known = set(tokenizer.backend_tokenizer.get_vocab()) - set(Tokenizer.from_str(json.dumps(resolved(cases[name], shared))).get_vocab())
        texts = [i for i, text in enumerate(TEXTS) if not any(token in text for token in known)]
        ids = [tokenizer(TEXTS[i], verbose=False)["input_ids"] for i in texts]
        rows.append({"tokenizer": name, "config": config, "texts": texts, "ids": ids})
    return rows


def rejected(charsmap: str) -> list[dict]:
    """Definitions of which a field is missing or wrong, as far as Python does not load them."""
    _, cases = all_tokenizers(charsmap)
    found = []
    for section, configs in (("normalizer", NORMALIZERS), ("pre_tokenizer", PRE_TOKENIZERS)):
        for name, config in configs.items():
            for key in config or {}:
                for value in ({}, None, "x", 7):
                    changed = {k: v for k, v in config.items() if k != key} if value == {} else {**config, key: value}
                    case = {section.replace("pre_tokenizer", "pre"): changed}
                    whole = definition({"type": "BPE", "vocab": {"a": 0}, "merges": []}, **case)
                    try:
                        Tokenizer.from_str(json.dumps(whole))
                    except Exception:
                        found.append({"name": f"{section} {name}: {key} {value}", "definition": whole})
    return found


def write(path: Path, value: object) -> None:
    data = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    path.write_bytes(gzip.compress(data, 9, mtime=0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--charsmap", type=Path, required=True, help="tokenizer.json whose normalizer is Precompiled")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    normalizer = json.loads(args.charsmap.read_text(encoding="utf-8"))["normalizer"]
    charsmap = normalizer["precompiled_charsmap"]
    shared, cases = all_tokenizers(charsmap)
    rows = []
    for name, case in cases.items():
        tokenizer = Tokenizer.from_str(json.dumps(resolved(case, shared)))
        encoded = [tokenizer.encode(text) for text in TEXTS]
        types = [list(each.type_ids) for each in encoded]
        segmented = any(any(each) for each in types)
        row = {"name": name, "definition": case, "ids": [list(each.ids) for each in encoded]}
        rows.append(row | ({"types": types} if segmented else {}))
    value = {
        "texts": TEXTS,
        "models": shared,
        "tokenizers": rows,
        "truncated": truncation(shared, cases),
        "configured": configured(shared, cases),
        "rejected": rejected(charsmap),
    }
    # The table is that of the file it came from, and not repeated here.
    text = json.dumps(value, ensure_ascii=False).replace(json.dumps(charsmap), '"CHARSMAP"')
    write(args.out, json.loads(text))
    print(f"{len(rows)} tokenizers, {len(TEXTS)} texts, {args.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()

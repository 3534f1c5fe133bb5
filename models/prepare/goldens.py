"""
Makes the golden files of the parity test: results of Transformers and ONNX Runtime for the texts of parity_texts.py.

    python goldens.py ../../test/fixtures/models --shipped ../sst2-minilm \\
        --comments ../../test/fixtures/goemotions-200.tsv --out ../../test/fixtures/goldens

For every model folder OUT gets NAME.json.gz with the scores of each text, best label first, by the rule of Transformers' own
TextClassificationPipeline; texts.json.gz has the texts, those of the comments included, and nmt-nfkc.json.gz what the
normaliser of xlm-roberta makes of some. Token ids are kept in full up to MAX_IDS, beyond that as their number and the
SHA-256 of their int32 values (little-endian): one wrong token among thousands shows either way.
"""

import argparse
import gzip
import hashlib
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnxruntime
import torch
from transformers import AutoConfig, AutoTokenizer, PretrainedConfig, PreTrainedTokenizerBase, TextClassificationPipeline

import ngrams  # noqa: F401  (makes the config of a bag of n-grams known)
from model_folder import read_model_folder
from parity_texts import CLUSTERS, DIFFERENT, parity_texts

MAX_IDS = 100

# Families are compared on all texts; models that differ in their graph or head only, on every twelfth.
FAMILIES = {"bert-uncased", "distilbert-cased", "roberta", "xlm-roberta", "sst2-minilm"}
SAMPLE = 12

COMMENTS = 100

GRAPHS = ("onnx/model_quantized.onnx", "onnx/model.onnx")
NUMPY_TYPES = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}


class Reference:
    """Transformers' tokenizer and score rule around an ONNX Runtime session."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder)
        self.config: PretrainedConfig = AutoConfig.from_pretrained(folder)
        self.max_tokens: int = read_model_folder(folder).max_tokens
        graph = next(folder / name for name in GRAPHS if (folder / name).exists())
        self.session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
        outputs = self.session.get_outputs()[0].shape[1]
        # Transformers has no answer for outputs that config.json leaves unnamed; LABEL_n is what it calls them itself when
        # none is named.
        names = {i: self.config.id2label.get(i, f"LABEL_{i}") for i in range(outputs)}
        self.config.id2label = names

    def ids(self, text: str) -> list[int]:
        return self.tokenizer(text, truncation=False, verbose=False)["input_ids"]

    def scores(self, text: str) -> list[tuple[str, float]]:
        encoded = self.tokenizer(text, truncation=True, max_length=self.max_tokens)
        encoded.setdefault("token_type_ids", [0] * len(encoded["input_ids"]))
        feeds = {
            entry.name: np.array([encoded[entry.name]], dtype=NUMPY_TYPES[entry.type]) for entry in self.session.get_inputs()
        }
        logits = self.session.run(["logits"], feeds)[0]
        stub = SimpleNamespace(model=SimpleNamespace(config=self.config), framework="pt")
        outputs = {"logits": torch.from_numpy(logits)}
        ranked = TextClassificationPipeline.postprocess(stub, outputs, top_k=None, _legacy=False)
        return [(entry["label"], round(entry["score"], 6)) for entry in ranked]


def golden(folder: Path, texts: list[str]) -> dict:
    reference = Reference(folder)
    rows = []
    for index, text in enumerate(texts):
        if folder.name not in FAMILIES and index % SAMPLE:
            continue
        ids = reference.ids(text)
        # A model with many labels has its best few compared.
        rows.append({"text": index, "ids": compact(ids), "scores": reference.scores(text)[:10]})
    different = [reference.ids(text) for text in DIFFERENT] if folder.name in FAMILIES else []
    return {"max_tokens": reference.max_tokens, "rows": rows, "different": different}


def compact(ids: list[int]) -> list[int] | dict:
    if len(ids) <= MAX_IDS:
        return ids
    return {"count": len(ids), "sha256": hashlib.sha256(np.array(ids, dtype="<i4").tobytes()).hexdigest()}


def write(path: Path, value: object) -> None:
    data = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    path.write_bytes(gzip.compress(data, 9, mtime=0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path, help="folder of model folders")
    parser.add_argument("--shipped", type=Path, help="one more model folder")
    parser.add_argument("--comments", type=Path, help="comment id, tab, text a line; the first 100 are taken")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    texts = parity_texts()
    if args.comments:
        lines = args.comments.read_text(encoding="utf-8").splitlines()[:COMMENTS]
        texts += [line.split("\t", 1)[1] for line in lines]
    write(args.out / "texts.json.gz", {"texts": texts, "different": DIFFERENT})
    folders = sorted(folder for folder in args.models.iterdir() if folder.is_dir())
    for folder in folders + ([args.shipped.resolve()] if args.shipped else []):
        value = golden(folder, texts)
        write(args.out / f"{folder.name}.json.gz", value)
        if folder.name == "xlm-roberta":
            normalizer = AutoTokenizer.from_pretrained(folder).backend_tokenizer.normalizer
            write(args.out / "nmt-nfkc.json.gz", [(text, normalizer.normalize_str(text)) for text in CLUSTERS])
        print(f"{folder.name}: {len(value['rows'])} texts, at most {value['max_tokens']} tokens")


if __name__ == "__main__":
    main()

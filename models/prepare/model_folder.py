"""Reads a classifier's folder by the rules of Amulet's worker, its JSON files and the inputs of its graph, and copies its tokenizer."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from transformers import AutoConfig, AutoTokenizer, PreTrainedTokenizerBase

# Architectures that count positions from pad_token_id + 1, so that the first position embeddings are never used.
OFFSET_POSITIONS = {
    "roberta", "xlm-roberta", "camembert", "xlm-roberta-xl", "longformer", "mpnet",
    "data2vec-text", "ibert", "roberta-prelayernorm", "xmod",
}  # fmt: skip

# Where a worker looks for the graph of a folder.
GRAPHS = ("onnx/model_quantized.onnx", "onnx/model.onnx", "model.onnx")

# What a checkpoint has of its tokenizer, where it has it.
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "sentencepiece.bpe.model", "vocab.txt")

# When neither the tokenizer nor the config names a limit.
FALLBACK_MAX_TOKENS = 512


def copy_tokenizer(source: Path, out: Path) -> None:
    """Copies the tokenizer's files, byte for byte. Both folders may be the same."""
    for name in TOKENIZER_FILES:
        if (source / name).exists() and source.resolve() != out.resolve():
            shutil.copyfile(source / name, out / name)


def find_graph(folder: Path) -> Path | None:
    """The graph that a worker would load; None in a checkpoint."""
    return next((folder / name for name in GRAPHS if (folder / name).exists()), None)


def graph_of(folder: Path) -> Path:
    """The graph that a worker would load. @throws SystemExit for a checkpoint"""
    graph = find_graph(folder)
    if graph is None:
        raise SystemExit(f"{folder} has no ONNX file; make one: python export.py {folder} EXPORTED (faster in int8: prepare.py)")
    return graph


@dataclass(frozen=True)
class ModelFolder:
    family: str
    layers: int
    heads: int
    hidden: int
    labels: list[str]
    # How logits become scores: softmax, sigmoid or none.
    apply: str
    # Most tokens of one text, special tokens included.
    max_tokens: int
    tokenizer: PreTrainedTokenizerBase

    def encode(self, texts: list[str]) -> list[list[int]]:
        """Token ids with special tokens, cut to what the model reads."""
        return self.tokenizer(texts, truncation=True, max_length=self.max_tokens)["input_ids"]


def read_model_folder(folder: Path) -> ModelFolder:
    config, tokenizer = AutoConfig.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    return ModelFolder(
        family=config.model_type,
        layers=config.num_hidden_layers,
        heads=config.num_attention_heads,
        hidden=config.hidden_size,
        labels=[config.id2label.get(i, f"LABEL_{i}") for i in range(config.num_labels)],
        apply=_apply(config),
        max_tokens=max_tokens_of(config, tokenizer),
        tokenizer=tokenizer,
    )


def _apply(config) -> str:
    """The rule of Transformers' TextClassificationPipeline."""
    if config.problem_type == "regression":
        return "none"
    return "sigmoid" if config.problem_type == "multi_label_classification" or config.num_labels == 1 else "softmax"


def max_tokens_of(config, tokenizer: PreTrainedTokenizerBase) -> int:
    positions = getattr(config, "max_position_embeddings", None) or float("inf")
    if config.model_type in OFFSET_POSITIONS:
        positions -= 1 + (1 if config.pad_token_id is None else config.pad_token_id)
    limit = min(positions, tokenizer.model_max_length)
    # Tokenizers without a limit of their own say so with 1e30.
    return FALLBACK_MAX_TOKENS if limit > 1e9 else int(limit)


def feeds(inputs: list[str], rows: list[list[int]]) -> dict[str, np.ndarray]:
    """One batch of token ids as the tensors that a graph reads, padded with 0 on the right as a worker does."""
    ids = np.zeros((len(rows), max(len(row) for row in rows)), dtype=np.int64)
    mask = np.zeros_like(ids)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = row
        mask[i, : len(row)] = 1
    tensors = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
    return {name: tensors[name] for name in inputs}

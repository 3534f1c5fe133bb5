"""The model as both Python services use it: Hugging Face tokenizers and one ONNX Runtime session."""

import json
import os
from pathlib import Path

import numpy as np
import onnxruntime as ort
from tokenizers import Tokenizer


class Classifier:
    def __init__(self) -> None:
        folder = Path(os.environ["MODEL_DIR"])
        config = json.loads((folder / "config.json").read_text())
        self.labels = [config["id2label"][str(i)] for i in range(len(config["id2label"]))]
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.enable_truncation(max_length=config["max_position_embeddings"])
        self.tokenizer.enable_padding(pad_id=config["pad_token_id"])
        options = ort.SessionOptions()
        options.intra_op_num_threads = int(os.environ["INTRA_OP_THREADS"])
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self.session = ort.InferenceSession(
            str(folder / "onnx" / "model_quantized.onnx"),
            sess_options=options,
            providers=["CPUExecutionProvider"],
        )
        self.inputs = {value.name for value in self.session.get_inputs()}
        self.classify(["warm up", "warm up " * 100])

    def classify(self, texts: list[str]) -> list[tuple[str, float]]:
        """Tokenises, pads to the longest and runs one batch."""
        rows = self.tokenizer.encode_batch(texts) if len(texts) > 1 else [self.tokenizer.encode(texts[0])]
        feeds = {
            "input_ids": np.array([row.ids for row in rows], dtype=np.int64),
            "attention_mask": np.array([row.attention_mask for row in rows], dtype=np.int64),
            "token_type_ids": np.array([row.type_ids for row in rows], dtype=np.int64),
        }
        (logits,) = self.session.run(
            ["logits"], {name: value for name, value in feeds.items() if name in self.inputs}
        )
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        scores = odds / odds.sum(axis=1, keepdims=True)
        best = scores.argmax(axis=1)
        return [(self.labels[label], float(row[label])) for row, label in zip(scores, best)]

"""
A bag of n-grams: the smallest student. The pieces of a text and their runs of two (or more) each have a weight for every label; the
logits are the sum of these weights over the square root of their number, and a bias.

A worker serves it like any model. The pieces are those of another model's tokenizer.json: words, and for rarer words the parts of
which they consist. Runs are made within the graph, which hashes the ids of neighbours to a row of a table, so they need no
vocabulary of their own. Weights are int8 with one scale a label: sums of whole numbers are exact in any order, and a text's score
is the same to the last bit alone and in any batch.
"""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch.nn import functional
from transformers import AutoConfig, PretrainedConfig

OPSET = 17
# A prime, so that ids which are multiples of something do not meet.
BUCKETS = 131_071
MOST_BUCKETS = 4_194_301
MOST_ORDER = 4
MAX_TOKENS = 512
# Ids of a vocabulary (below 2^20) times these stay far below 2^63.
MULTIPLIERS = (2_654_435_761, 2_246_822_519, 3_266_489_917, 668_265_263)
INT64_MAX = 2**63 - 1


class BagConfig(PretrainedConfig):
    """config.json of such a model."""

    model_type = "bag-of-ngrams"

    def __init__(self, vocab_size: int = 0, order: int = 2, buckets: int = BUCKETS, **rest: object) -> None:
        self.vocab_size, self.order, self.buckets = vocab_size, order, buckets
        # What other models have, and the readers of folders ask for.
        self.num_hidden_layers = self.num_attention_heads = self.hidden_size = 0
        self.max_position_embeddings = MAX_TOKENS
        super().__init__(**rest)


AutoConfig.register("bag-of-ngrams", BagConfig)


class BagOfNgrams(torch.nn.Module):
    """What is trained."""

    def __init__(self, config: BagConfig, bias: torch.Tensor) -> None:
        super().__init__()
        if not 1 <= config.order <= MOST_ORDER:
            raise SystemExit(f"runs of 1 to {MOST_ORDER} pieces are possible, not of {config.order}")
        if not 1 <= config.buckets <= MOST_BUCKETS:
            raise SystemExit(f"1 to {MOST_BUCKETS:,} buckets are possible")
        self.config = config
        labels = len(bias)
        self.pieces = torch.nn.Embedding(config.vocab_size, labels)
        self.runs = torch.nn.Embedding(config.buckets, labels)
        torch.nn.init.zeros_(self.pieces.weight)
        torch.nn.init.zeros_(self.runs.weight)
        self.bias = torch.nn.Parameter(bias.clone())

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> SimpleNamespace:
        total, count = masked_sum(self.pieces.weight, input_ids, attention_mask), attention_mask.sum(1, keepdim=True)
        present = attention_mask
        for order in range(2, self.config.order + 1):
            present = present * shifted(attention_mask, order - 1)
            hashes = sum(shifted(input_ids, k) * multiplier(order, k) for k in range(order)) % self.config.buckets
            total = total + masked_sum(self.runs.weight, hashes, present)
            count = count + present.sum(1, keepdim=True)
        return SimpleNamespace(logits=total / count.clamp(min=1).float().sqrt() + self.bias)

    def save_pretrained(self, out: Path) -> None:
        out.mkdir(parents=True, exist_ok=True)
        self.config.save_pretrained(out)
        torch.save(self.state_dict(), out / "weights.pt")


def load(folder: Path) -> BagOfNgrams:
    weights = torch.load(folder / "weights.pt", weights_only=True)
    model = BagOfNgrams(BagConfig.from_pretrained(folder), weights["bias"])
    model.load_state_dict(weights)
    return model


def multiplier(order: int, place: int) -> int:
    """Of the id at a place of a run; (a, b) and (b, a) differ, and so do runs of two and of three."""
    return MULTIPLIERS[place] + 2 * order


def shifted(values: torch.Tensor, by: int) -> torch.Tensor:
    """The value `by` places to the right, 0 behind the end."""
    return functional.pad(values, (0, by))[:, by:]


def masked_sum(table: torch.Tensor, rows: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
    return torch.bmm(present.float().unsqueeze(1), functional.embedding(rows, table)).squeeze(1)


def int8(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """
    Codes of [rows, labels] and the scale of each label. The largest weights are not clipped, as quantise.py clips those of matrices: they
    are the words that decide. (28 emotions: 99.6 % of the texts keep their labels, with clipping 98.7 %.)
    """
    scale = np.maximum(np.abs(weight).max(axis=0), 1e-12) / 127
    return np.rint(weight / scale).astype(np.int8), scale.astype(np.float32)


def write_graph(model: BagOfNgrams, out: Path) -> None:
    """The model as ONNX, its weights in int8."""
    config = model.config
    weight = torch.cat([model.pieces.weight, model.runs.weight]).detach().numpy()
    codes, scale = int8(weight)
    constants = {
        "pieces": codes[: config.vocab_size], "runs": codes[config.vocab_size :], "scale": scale,
        "bias": model.bias.detach().numpy(), "one": np.array([1]), "end": np.array([INT64_MAX]),
        "buckets": np.array(config.buckets), "least": np.array(1, np.float32),
    }  # fmt: skip
    nodes: list[onnx.NodeProto] = []

    def add(operator: str, inputs: list[str], output: str, **attributes: object) -> str:
        nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    def shift(name: str, by: int) -> str:
        if not by:
            return name
        constants[f"by_{by}"], constants[f"pad_{by}"] = np.array([by]), np.array([0, 0, 0, by])
        add("Pad", [name, f"pad_{by}"], f"{name}_padded_{by}")
        return add("Slice", [f"{name}_padded_{by}", f"by_{by}", "end", "one"], f"{name}_{by}")

    def bag(table: str, rows: str, present: str, name: str) -> tuple[str, str]:
        """Sum of the codes of the rows that are present, [batch, 1, labels], and their number, [batch, 1, 1]."""
        add("Gather", [table, rows], f"{name}_s8")
        add("Cast", [f"{name}_s8"], f"{name}_codes", to=TensorProto.FLOAT)
        add("Cast", [present], f"{name}_flags", to=TensorProto.FLOAT)
        add("Unsqueeze", [f"{name}_flags", "one"], f"{name}_mask")
        constants["two"] = np.array([2])
        add("MatMul", [f"{name}_mask", f"{name}_codes"], f"{name}_sum")
        return f"{name}_sum", add("ReduceSum", [f"{name}_mask", "two"], f"{name}_count", keepdims=1)

    bags = [bag("pieces", "input_ids", "attention_mask", "pieces_1")]
    present = "attention_mask"
    for order in range(2, config.order + 1):
        present = add("Mul", [present, shift("attention_mask", order - 1)], f"present_{order}")
        products = []
        for place in range(order):
            name = f"multiplier_{order}_{place}"
            constants[name] = np.array(multiplier(order, place))
            shifted_ids = f"input_ids_{place}" if place and order > place + 1 else shift("input_ids", place)
            products.append(add("Mul", [shifted_ids, name], f"product_{order}_{place}"))
        add("Add", products[:2], f"mixed_{order}_1")
        for place in range(2, order):
            add("Add", [f"mixed_{order}_{place - 1}", products[place]], f"mixed_{order}_{place}")
        add("Mod", [f"mixed_{order}_{order - 1}", "buckets"], f"hash_{order}")
        bags.append(bag("runs", f"hash_{order}", present, f"runs_{order}"))
    total, count = bags[0]
    for i, (more, number) in enumerate(bags[1:]):
        total, count = add("Add", [total, more], f"total_{i}"), add("Add", [count, number], f"count_{i}")
    add("Max", [count, "least"], "number")
    add("Sqrt", ["number"], "root")
    add("Mul", [total, "scale"], "scaled")
    add("Div", ["scaled", "root"], "even")
    add("Squeeze", ["even", "one"], "flat")
    add("Add", ["flat", "bias"], "logits")

    ids = [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"]) for name in ("input_ids", "attention_mask")]
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", len(scale)])
    used = {name for node in nodes for name in node.input}
    weights = [numpy_helper.from_array(value, name) for name, value in constants.items() if name in used]
    graph = helper.make_graph(nodes, "bag-of-ngrams", ids, [logits], weights)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="amulet")
    made.ir_version = 8
    onnx.checker.check_model(made)
    out.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(made, out)


def config_of(vocabulary: int, order: int, buckets: int, labels: list[str], apply: str) -> BagConfig:
    return BagConfig(
        vocab_size=vocabulary, order=order, buckets=buckets, architectures=["BagOfNgrams"],
        id2label=dict(enumerate(labels)), label2id={label: i for i, label in enumerate(labels)},
        problem_type="multi_label_classification" if apply == "sigmoid" else "single_label_classification",
    )  # fmt: skip

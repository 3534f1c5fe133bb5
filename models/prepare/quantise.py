"""
Quantises a fused text classifier to int8 so that a text's score does not depend on the other texts in its batch.

    python quantise.py model_O2.onnx model_quantized.onnx --folder EXPORTED --texts texts.txt

Dynamic quantisation, the usual choice, takes the scale of the activations from the whole batch, so neighbours and padding
change a text's score (onnxruntime#10111). Here the scale of every activation tensor is fixed beforehand, from calibration
sentences:

- activations: u8, asymmetric, one scale a tensor; weights: s8, symmetric, one scale an output channel;
- MatMul → QuantizeLinear + com.microsoft.MatMulIntegerToFloat, Attention → QAttention: the same integer kernels that
  dynamic quantisation uses, without its pass over the activations to find their range;
- the table of word embeddings: s8, one scale a row, gathered first and scaled afterwards; or, with `--table 4-bit`, in blocks of
  32 values of 4 bits with a scale each (Q4_0 of llama.cpp), which com.microsoft.GatherBlockQuantized reads. A table that
  was in such blocks before and has not been trained since comes out exactly; any other loses more than in s8;
- with `--outliers apart`, channels that reach far beyond the others leave the range to those (`ranges.py`): nearer to float32,
  for 3 to 5 % more time;
- SkipLayerNormalization and BiasGelu are taken apart again and their biases given to the integer kernels, because the parts
  are faster (one thread, 256 tokens: SkipLayerNormalization 549 µs, Sum 45 + LayerNormalization 66; BiasGelu 434, Gelu 283).

LayerNorm, softmax, GELU, the pooler and the classifier stay in float32: they are cheap, and the last two decide the score.
So does the product of queries and keys where ONNX Runtime found no Attention to fuse: only constant matrices are quantised.
"""

import argparse
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from model_folder import feeds, read_model_folder
from ranges import CODES, Range, range_of
from text_data import read_texts, spread

# Weights use 7 of their 8 bits. Without VNNI (AVX2, before 2019) x86 adds pairs of u8 × s8 products in 16 bits, which
# saturate: 2 × 255 × 127 > 32767. With |weight| ≤ 63 no pair can. On an emulated Haswell, 8 bits moved scores by up to 0.26.
WEIGHT_BITS = 7

# What is small saves nothing: a matrix of a layer has at least 128 × 128 weights, a table of words is much larger than one of
# positions.
MIN_MATRIX = 128 * 128
MIN_EMBEDDING = 1024 * 1024

# Values of a 4-bit block of a table, and its lowest code.
BLOCK = 32
LEAST_CODE = -8
TABLES = {"8-bit": 8, "4-bit": 4}

# Whether channels that reach far beyond the others are treated apart.
OUTLIERS = {"alike": False, "apart": True}

# A few hundred texts are enough: more change the ranges little.
CALIBRATION_TEXTS = 400


def _initializers(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def targets(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """The MatMul and Attention nodes with a large constant weight."""
    weights = _initializers(model)
    nodes = []
    for node in model.graph.node:
        if node.op_type in ("MatMul", "Attention") and len(node.input) > 1:
            weight = weights.get(node.input[1])
            if weight is not None and weight.ndim == 2 and weight.size >= MIN_MATRIX:
                nodes.append(node)
    return nodes


def large_embedding(node: onnx.NodeProto, weights: dict[str, np.ndarray]) -> bool:
    """Whether a node looks up rows of the word table, the only table worth quantising."""
    return node.op_type == "Gather" and node.input[0] in weights and weights[node.input[0]].size >= MIN_EMBEDDING


def activation_ranges(source: Path, rows: list[list[int]], coverage: float, apart: bool = False) -> dict[str, Range]:
    """
    Runs the float32 graph on each text (token ids) alone and finds the range of every tensor that will be quantised; if
    `apart`, without the channels that ranges.py treats apart.
    """
    model = onnx.load(source)
    weights = _initializers(model)
    # By a tensor, the matrix that it is multiplied by; None for an Attention, and where several products share the tensor.
    matrices: dict[str, np.ndarray | None] = {}
    for node in targets(model):
        alone = node.op_type == "MatMul" and node.input[0] not in matrices
        matrices[node.input[0]] = weights[node.input[1]] if apart and alone else None
    names = list(matrices)
    for name in names:
        model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    inputs = [i.name for i in session.get_inputs()]
    lows: dict[str, list[np.ndarray]] = {name: [] for name in names}
    highs: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for row in rows:
        for name, value in zip(names, session.run(names, feeds(inputs, [row]))):
            channels = value.reshape(-1, value.shape[-1]).astype(np.float64)
            lows[name].append(channels.min(axis=0))
            highs[name].append(channels.max(axis=0))
    return {name: range_of(np.array(lows[name]), np.array(highs[name]), coverage, matrices[name]) for name in names}


def quantise_weight(weight: np.ndarray, bits: int = WEIGHT_BITS) -> tuple[np.ndarray, np.ndarray]:
    """
    Symmetric s8 codes of a [in, out] matrix, one scale an output channel.

    Returns codes [in, out] int8 and scales [out] float32. Each scale is the one of 24 candidates, at or below
    max|w| / limit, with the least squared error: clipping a few outliers makes the steps finer for all others.
    """
    limit = 2 ** (bits - 1) - 1
    peak = np.maximum(np.abs(weight).max(axis=0), 1e-12)
    best_scale = peak / limit
    best_error = np.full(peak.shape, np.inf)
    for share in np.linspace(1.0, 0.54, 24):
        scale = peak * share / limit
        codes = np.clip(np.rint(weight / scale), -limit, limit)
        error = ((codes * scale - weight) ** 2).sum(axis=0)
        better = error < best_error
        best_scale = np.where(better, scale, best_scale)
        best_error = np.where(better, error, best_error)
    codes = np.clip(np.rint(weight / best_scale), -limit, limit).astype(np.int8)
    return codes, best_scale.astype(np.float32)


def quantise_blocks(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """
    Codes [rows, columns] from -8 to 7, and scales [rows, columns / BLOCK] float32. The value of a block that is furthest from 0
    gets the code -8, so the scale may be negative.
    """
    if table.shape[1] % BLOCK:
        raise ValueError(f"rows of {table.shape[1]} values are not made of blocks of {BLOCK}: leave the table in 8 bits")
    blocks = table.reshape(len(table), -1, BLOCK)
    furthest = np.abs(blocks).argmax(axis=2, keepdims=True)
    scales = np.take_along_axis(blocks, furthest, axis=2) / LEAST_CODE
    codes = np.rint(np.divide(blocks, scales, out=np.zeros_like(blocks), where=scales != 0))
    return np.clip(codes, LEAST_CODE, 7).astype(np.int8).reshape(table.shape), scales[:, :, 0].astype(np.float32)


def unfuse(model: onnx.ModelProto) -> None:
    """
    Takes SkipLayerNormalization and BiasGelu apart, with the biases as Adds that `Rewriter.matmul` folds.

    The skip is a Sum, not an Add: ONNX Runtime would fuse that one again when it loads the graph.
    """
    nodes = []
    for node in model.graph.node:
        output = node.output[0]
        if node.op_type == "SkipLayerNormalization":
            value, skip, gamma, beta, *bias = node.input
            if bias:
                nodes.append(helper.make_node("Add", [value, bias[0]], [f"{output}_biased"]))
                value = f"{output}_biased"
            epsilon = next(a.f for a in node.attribute if a.name == "epsilon")
            # A model that normalises before its layers continues from the sum: the operator's fourth output.
            total = node.output[3] if len(node.output) > 3 else f"{output}_sum"
            nodes += [
                helper.make_node("Sum", [value, skip], [total]),
                helper.make_node("LayerNormalization", [total, gamma, beta], [output], axis=-1, epsilon=epsilon),
            ]
        elif node.op_type == "BiasGelu":
            nodes += [
                helper.make_node("Add", list(node.input), [f"{output}_biased"]),
                helper.make_node("Gelu", [f"{output}_biased"], [output], domain="com.microsoft"),
            ]
        else:
            nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)


class Rewriter:
    """Replaces nodes of a graph, keeping it sorted and its initialisers complete."""

    def __init__(self, model: onnx.ModelProto, table_bits: int = 8) -> None:
        self.model = model
        self.table_bits = table_bits
        self.weights = _initializers(model)
        self.added: dict[str, onnx.TensorProto] = {}
        self.quantised: dict[str, tuple[str, str, str]] = {}
        self.nodes: list[onnx.NodeProto] = []
        # By the name of a tensor that nothing else reads, the output of the Add of a constant to it, and that constant's
        # name; and the Adds that were folded, by their outputs.
        readers = Counter(name for node in model.graph.node for name in node.input)
        self.bias_adds: dict[str, tuple[str, str]] = {}
        for node in model.graph.node:
            for value, bias in (node.input[:2], node.input[1::-1]) if node.op_type == "Add" else ():
                if bias in self.weights and readers[value] == 1:
                    self.bias_adds[value] = (node.output[0], bias)
        self.folded: set[str] = set()
        # By the name of a product: its part in float32, for the Sums that read it; and what its bias has to take away.
        self.parts: dict[str, str] = {}
        self.rests: dict[str, np.ndarray] = {}
        # What other nodes than Sums read.
        self.read: set[str] = {name for node in model.graph.node if node.op_type != "Sum" for name in node.input}
        self.read |= {output.name for output in model.graph.output}

    def constant(self, name: str, value: np.ndarray) -> str:
        self.added[name] = numpy_helper.from_array(value, name)
        return name

    def quantise_activation(self, name: str, span: Range) -> tuple[str, str, str]:
        """Adds a QuantizeLinear for a tensor, once; returns the names of the codes, the scale and the zero point."""
        if name not in self.quantised:
            names = (f"{name}_u8", f"{name}_scale", f"{name}_zero")
            self.constant(names[1], np.array(span.scale, dtype=np.float32))
            self.constant(names[2], np.array(span.zero, dtype=np.uint8))
            self.nodes.append(helper.make_node("QuantizeLinear", [self.widened(name, span), *names[1:]], [names[0]]))
            self.quantised[name] = names
        return self.quantised[name]

    def widened(self, name: str, span: Range) -> str:
        """An activation with further channels behind its own: copies of wide ones, shifted into the range."""
        further = span.further()
        if not further:
            return name
        channels = self.constant(f"{name}_wide", np.array([channel for channel, _ in further], dtype=np.int64))
        shifts = [-shift * CODES * span.scale for _, shift in further]
        self.nodes += [
            helper.make_node("Gather", [name, channels], [f"{name}_wide_values"], axis=-1),
            helper.make_node(
                "Add", [f"{name}_wide_values", self.constant(f"{name}_shifts", np.array(shifts, dtype=np.float32))], [f"{name}_further"]
            ),
            helper.make_node("Concat", [name, f"{name}_further"], [f"{name}_widened"], axis=-1),
        ]
        return f"{name}_widened"

    def operands(self, node: onnx.NodeProto, span: Range, bits: int) -> tuple[str, str, str, str, str, str]:
        """Names of the codes, scale and zero point of a node's activation (first) and weight (second) input."""
        codes, scale, zero = self.quantise_activation(node.input[0], span)
        name = node.input[1]
        matrix = self.weights[name].copy()
        matrix[list(span.outlying)] = 0
        if further := span.further():
            matrix = np.concatenate([matrix, matrix[[channel for channel, _ in further]]])
        weight, weight_scale = quantise_weight(matrix, bits)
        if further:
            # What the copies add to a value within the range: all are at their lowest code, or at their highest.
            rest = np.array([-span.zero if shift > 0 else CODES - span.zero for _, shift in further]) * span.scale
            self.rests[node.output[0]] = rest @ (weight[-len(further) :] * weight_scale)
        return (
            codes, scale, zero,
            self.constant(f"{name}_s8", weight),
            self.constant(f"{name}_scale", weight_scale),
            self.constant(f"{name}_zero", np.zeros_like(weight_scale, dtype=np.int8)),
        )  # fmt: skip

    def matmul(self, node: onnx.NodeProto, span: Range, bits: int) -> None:
        a, a_scale, a_zero, w, w_scale, w_zero = self.operands(node, span, bits)
        inputs, output = [a, w, a_scale, w_scale, a_zero, w_zero], node.output[0]
        rest = self.rests.get(output)
        biased, bias = self.bias_adds.get(output, (output, None))
        if bias and self.weights[bias].shape == self.weights[node.input[1]].shape[1:]:
            output = biased
            self.folded.add(output)
        else:
            bias = None
        if rest is not None:
            own = self.weights[bias] if bias else 0
            bias = self.constant(f"{node.input[1]}_bias", (own - rest).astype(np.float32))
        if bias:
            inputs.append(bias)
        product = output
        if span.outlying:
            part = self.outlying(node, span)
            if output in self.read:
                product = f"{output}_product"
            else:
                self.parts[output] = part
        self.nodes.append(
            helper.make_node("MatMulIntegerToFloat", inputs, [product], name=node.name, domain="com.microsoft")
        )
        if product != output:
            self.nodes.append(helper.make_node("Sum", [product, part], [output]))

    def outlying(self, node: onnx.NodeProto, span: Range) -> str:
        """Computes the part of the outlying channels in a product, in float32."""
        value, name = node.input[:2]
        channels = self.constant(f"{value}_channels", np.array(span.outlying, dtype=np.int64))
        rows = self.constant(f"{name}_rows", self.weights[name][list(span.outlying)])
        self.nodes += [
            helper.make_node("Gather", [value, channels], [f"{value}_outlying"], axis=-1),
            helper.make_node("MatMul", [f"{value}_outlying", rows], [f"{node.output[0]}_outlying"]),
        ]
        return f"{node.output[0]}_outlying"

    def other(self, node: onnx.NodeProto) -> None:
        """Keeps a node. A Sum also adds the parts in float32 of what it reads."""
        if node.op_type == "Sum":
            node.input.extend([self.parts[name] for name in node.input if name in self.parts])
        self.nodes.append(node)

    def attention(self, node: onnx.NodeProto, span: Range, bits: int) -> None:
        a, a_scale, a_zero, w, w_scale, w_zero = self.operands(node, span, bits)
        bias = node.input[2]
        mask = node.input[3] if len(node.input) > 3 else ""
        attributes = {
            attribute.name: helper.get_attribute_value(attribute)
            for attribute in node.attribute
            if attribute.name in ("num_heads", "unidirectional", "mask_filter_value", "scale")
        }
        inputs = [a, w, bias, a_scale, w_scale, mask, a_zero, w_zero]
        self.nodes.append(
            helper.make_node("QAttention", inputs, list(node.output), name=node.name, domain="com.microsoft", **attributes)
        )

    def gather(self, node: onnx.NodeProto) -> None:
        """Gathers rows of s8 codes and their scales, and multiplies; rows of 4-bit blocks are gathered and scaled in one."""
        name, ids = node.input
        table = self.weights[name]
        if self.table_bits == 4:
            codes, scales = quantise_blocks(table)
            nibbles = (codes & 15).astype(np.uint8)
            packed = (nibbles[:, 0::2] | nibbles[:, 1::2] << 4).tobytes()
            self.added[f"{name}_s4"] = TensorProto(name=f"{name}_s4", data_type=TensorProto.INT4, dims=table.shape, raw_data=packed)
            inputs = [f"{name}_s4", ids, self.constant(f"{name}_scale", scales)]
            attributes = dict(gather_axis=0, quantize_axis=1, block_size=BLOCK)
            self.nodes.append(
                helper.make_node("GatherBlockQuantized", inputs, list(node.output), domain="com.microsoft", **attributes)
            )
            return
        scales = np.maximum(np.abs(table).max(axis=1, keepdims=True), 1e-12) / 127
        codes = np.clip(np.rint(table / scales), -127, 127).astype(np.int8)
        output = node.output[0]
        self.nodes += [
            helper.make_node("Gather", [self.constant(f"{name}_s8", codes), ids], [f"{output}_s8"]),
            helper.make_node("Gather", [self.constant(f"{name}_scale", scales.astype(np.float32)), ids], [f"{output}_scale"]),
            helper.make_node("Cast", [f"{output}_s8"], [f"{output}_codes"], to=TensorProto.FLOAT),
            helper.make_node("Mul", [f"{output}_codes", f"{output}_scale"], [output]),
        ]

    def finish(self) -> onnx.ModelProto:
        graph = self.model.graph
        del graph.node[:]
        graph.node.extend(self.nodes)
        used = {name for node in self.nodes for name in node.input}
        kept = [tensor for tensor in graph.initializer if tensor.name in used]
        del graph.initializer[:]
        graph.initializer.extend([*kept, *self.added.values()])
        del graph.value_info[:]
        if not any(opset.domain == "com.microsoft" for opset in self.model.opset_import):
            self.model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
        return self.model


def quantise_embeddings(model: onnx.ModelProto) -> onnx.ModelProto:
    """Only the embedding tables: the rest of the graph as it is. For variants that quantise the rest otherwise."""
    return rewrite(model, {}, WEIGHT_BITS)


def rewrite(model: onnx.ModelProto, ranges: dict[str, Range], bits: int, table_bits: int = 8) -> onnx.ModelProto:
    """The graph with its embeddings in s8, or in blocks of 4 bits, and, given ranges, its matrices in s8."""
    if ranges:
        unfuse(model)
    rewriter = Rewriter(model, table_bits)
    outputs = {node.output[0] for node in targets(model)} if ranges else set()
    for node in list(model.graph.node):
        if node.output[0] in outputs:
            convert = rewriter.matmul if node.op_type == "MatMul" else rewriter.attention
            convert(node, ranges[node.input[0]], bits)
        elif large_embedding(node, rewriter.weights):
            rewriter.gather(node)
        elif node.output[0] in rewriter.folded:
            continue
        else:
            rewriter.other(node)
    return rewriter.finish()


def int8_share(graph: Path) -> float:
    """Share of a graph's weights that are int8, or int4."""
    weights = _initializers(onnx.load(graph)).values()
    return sum(w.size for w in weights if w.dtype.name in ("int8", "int4")) / sum(w.size for w in weights)


def quantise_static(
    source: Path, target: Path, rows: list[list[int]], coverage: float = 0.99, bits: int = WEIGHT_BITS, table_bits: int = 8,
    apart: bool = False,
) -> None:
    """Writes the statically quantised form of a fused float32 graph, calibrated on texts given as token ids."""
    onnx.save(rewrite(onnx.load(source), activation_ranges(source, rows, coverage, apart), bits, table_bits), target)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--folder", type=Path, required=True, help="folder with config.json and the tokenizer")
    parser.add_argument("--texts", type=Path, required=True, help="text, TSV or JSONL file to calibrate on")
    parser.add_argument("--coverage", type=float, default=0.99)
    parser.add_argument("--bits", type=int, default=WEIGHT_BITS)
    parser.add_argument("--table", choices=TABLES, default="8-bit", help="of word embeddings")
    parser.add_argument("--outliers", choices=OUTLIERS, default="alike", help="channels that reach far beyond the others; see ranges.py")
    args = parser.parse_args()
    rows = read_model_folder(args.folder).encode(spread(read_texts(args.texts), CALIBRATION_TEXTS))
    quantise_static(args.source, args.target, rows, args.coverage, args.bits, TABLES[args.table], OUTLIERS[args.outliers])
    print(f"{int8_share(args.target):.1%} of the weights are int8 or int4")


if __name__ == "__main__":
    main()

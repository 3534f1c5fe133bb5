"""
Other ways to make a graph smaller or faster, for compare.py: the rivals of the shipped variant.

Each function writes one variant of an exported or fused float32 graph.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static

from model_folder import feeds
from quantise import WEIGHT_BITS, Rewriter, large_embedding, quantise_embeddings, quantise_weight, targets, unfuse


def dynamic(source: Path, target: Path, scratch: Path) -> None:
    """
    ONNX Runtime's dynamic quantisation: activations get their scale from the batch they are in.

    The embeddings are ours, so that the difference to the other variants is in the matrices alone.
    """
    onnx.save(quantise_embeddings(onnx.load(source)), scratch)
    quantize_dynamic(
        scratch, target, op_types_to_quantize=["MatMul", "Attention"], weight_type=QuantType.QInt8, per_channel=True,
        extra_options={"DefaultTensorType": TensorProto.FLOAT},
    )  # fmt: skip


class _Rows(CalibrationDataReader):
    """Feeds texts, as token ids, to ONNX Runtime's calibration, one at a time."""

    def __init__(self, source: Path, rows: list[list[int]]) -> None:
        inputs = [i.name for i in onnx.load(source, load_external_data=False).graph.input]
        self.feeds: Iterator[dict[str, np.ndarray]] = (feeds(inputs, [row]) for row in rows)

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.feeds, None)


def static_qdq(source: Path, target: Path, rows: list[list[int]]) -> None:
    """
    ONNX Runtime's static quantisation of the exported graph, as QuantizeLinear and DequantizeLinear pairs.

    `source` must not be fused: its shape inference knows standard operators only. 7-bit weights, like ours.
    """
    quantize_static(
        source, target, _Rows(source, rows), quant_format=QuantFormat.QDQ, per_channel=True, reduce_range=True,
        activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, op_types_to_quantize=["MatMul", "Gather"],
        extra_options={"MatMulConstBOnly": True},
    )  # fmt: skip


def per_row(source: Path, target: Path) -> None:
    """
    Dynamic quantisation with a scale per token: independent of the batch, and needs no calibration.

    No operator does that, so the scale is found with Abs, ReduceMax and Div; codes are u8 around 128. The attention's
    projection becomes a MatMul like the others, in front of MultiHeadAttention.
    """
    model = onnx.load(source)
    unfuse(model)
    rewriter = PerRowRewriter(model)
    outputs = {node.output[0] for node in targets(model)}
    for node in list(model.graph.node):
        if node.output[0] in outputs and node.op_type == "MatMul":
            rewriter.product(node, node.output[0])
        elif node.output[0] in outputs:
            rewriter.projection(node)
        elif large_embedding(node, rewriter.weights):
            rewriter.gather(node)
        else:
            rewriter.nodes.append(node)
    onnx.save(rewriter.finish(), target)


class PerRowRewriter(Rewriter):
    def codes(self, name: str) -> tuple[str, str]:
        """Adds the nodes that quantise [..., k] row by row, once; returns the names of codes and scales [..., 1]."""
        names = (f"{name}_u8", f"{name}_scale")
        if name not in self.quantised:
            limit = self.constant("limit", np.array(127, dtype=np.float32))
            least = self.constant("least", np.array(1e-8, dtype=np.float32))
            self.nodes += [
                helper.make_node("Abs", [name], [f"{name}_abs"]),
                helper.make_node("ReduceMax", [f"{name}_abs"], [f"{name}_max"], axes=[-1], keepdims=1),
                helper.make_node("Div", [f"{name}_max", limit], [f"{name}_step"]),
                helper.make_node("Max", [f"{name}_step", least], [names[1]]),
                helper.make_node("Div", [name, names[1]], [f"{name}_steps"]),
                # Scale 1: what is left for it is rounding, clipping and the zero point.
                helper.make_node("QuantizeLinear", [f"{name}_steps", self.one(), self.middle()], [names[0]]),
            ]
            self.quantised[name] = (*names, "")
        return names

    def one(self) -> str:
        return self.constant("one", np.array(1, dtype=np.float32))

    def middle(self) -> str:
        return self.constant("middle", np.array(128, dtype=np.uint8))

    def product(self, node: onnx.NodeProto, output: str) -> None:
        codes, scale = self.codes(node.input[0])
        name = node.input[1]
        weight, weight_scale = quantise_weight(self.weights[name], WEIGHT_BITS)
        w, ws = self.constant(f"{name}_s8", weight), self.constant(f"{name}_scale", weight_scale)
        self.nodes += [
            helper.make_node("MatMulInteger", [codes, w, self.middle()], [f"{output}_i32"]),
            helper.make_node("Cast", [f"{output}_i32"], [f"{output}_sums"], to=TensorProto.FLOAT),
            helper.make_node("Mul", [f"{output}_sums", scale], [f"{output}_rows"]),
            helper.make_node("Mul", [f"{output}_rows", ws], [output]),
        ]

    def projection(self, node: onnx.NodeProto) -> None:
        output = node.output[0]
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute if a.name in ("num_heads", "mask_filter_value")}
        third = len(self.weights[node.input[2]]) // 3
        sizes = self.constant("qkv_sizes", np.array([third] * 3, dtype=np.int64))
        parts = [f"{output}_{part}" for part in "qkv"]
        self.product(node, f"{output}_product")
        self.nodes += [
            helper.make_node("Add", [f"{output}_product", node.input[2]], [f"{output}_projected"]),
            helper.make_node("Split", [f"{output}_projected", sizes], parts, axis=2),
            helper.make_node(
                "MultiHeadAttention", [*parts, "", node.input[3]], [output], domain="com.microsoft", **attributes
            ),
        ]

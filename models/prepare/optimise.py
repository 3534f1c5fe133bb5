"""
Fuses the operators of an exported BERT-like graph, at the levels of Optimum and ONNX Runtime.

    python optimise.py EXPORTED model_O2.onnx --level O2 --first-token

EXPORTED is a folder written by export.py; from its config.json comes the shape of the attention.

O1: ONNX Runtime's general (basic) fusions. O2: also its transformer fusions (attention, skip + layer norm, bias + GELU).
O3: O2 with the tanh approximation of GELU, which changes scores slightly.

`--first-token` goes one step further, without any approximation: a BERT classifier reads the last layer at its first
token only, so what follows that layer's attention is computed for that token alone.
"""

import argparse
from collections import Counter
from pathlib import Path

import onnx
from onnx import helper, numpy_helper
from onnxruntime.transformers.fusion_options import AttentionMaskFormat, FusionOptions
from onnxruntime.transformers.optimizer import optimize_model

from model_folder import ModelFolder, read_model_folder

LEVELS = ("O1", "O2", "O3")

# Fused operators of a layer: at best one attention, two norms with their skips and one GELU.
FUSED = {
    "attention": ("Attention",),
    "skip + layer norm": ("SkipLayerNormalization",),
    "GELU": ("BiasGelu", "FastGelu", "Gelu"),
}

# Operators whose output for a token depends on that token alone.
TOKENWISE = {"MatMul", "Add", "SkipLayerNormalization", "LayerNormalization", "BiasGelu", "FastGelu", "Gelu"}


def optimise(source: Path, target: Path, level: str, folder: ModelFolder, first_token: bool = False) -> None:
    """
    Writes `source` with its operators fused. The graph keeps its inputs, outputs and float32 weights.

    What ONNX Runtime does not know is left as it is; `fusions` tells what that was.

    @throws ValueError for `first_token` if the graph does not select its first token
    """
    if level not in LEVELS:
        raise ValueError(f"level must be one of {', '.join(LEVELS)}, not {level}")
    options = FusionOptions("bert")
    # Its int8 form quantises all embedding rows with one scale; quantise.py gives every row its own instead.
    options.enable_embed_layer_norm = False
    options.enable_gelu_approximation = level == "O3"
    # The default replaces the mask by the number of its ones, which is wrong for texts padded on the left.
    options.attention_mask_format = AttentionMaskFormat.AttentionMask
    if level == "O1":
        fused = optimize_model(str(source), "bert", folder.heads, folder.hidden, options, opt_level=1, only_onnxruntime=True)
    else:
        fused = optimize_model(str(source), "bert", folder.heads, folder.hidden, options, opt_level=0)
        fused.topological_sort()
    model = fused.model
    if not any(opset.domain == "com.microsoft" for opset in model.opset_import):
        model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    if first_token:
        first_token_only(model)
    onnx.save(model, target)


def fusions(graph: Path) -> dict[str, int]:
    """How many fused operators of each kind a graph has."""
    counts = Counter(node.op_type for node in onnx.load(graph, load_external_data=False).graph.node)
    return {name: sum(counts[kind] for kind in kinds) for name, kinds in FUSED.items()}


def first_token_only(model: onnx.ModelProto) -> None:
    """
    Moves the pooler's selection of the first token, [batch, tokens, hidden] → [batch, hidden], up to the last attention.

    A node moves behind it if it works token by token and nothing else reads its output.
    """
    graph = model.graph
    consumers: dict[str, list[int]] = {}
    for index, node in enumerate(graph.node):
        for name in node.input:
            consumers.setdefault(name, []).append(index)
    select = _first_token_gather(graph)
    moved = {select}
    for index in range(select - 1, -1, -1):
        node = graph.node[index]
        readers = {reader for name in node.output for reader in consumers.get(name, [])}
        if node.op_type in TOKENWISE and readers and moved.issuperset(readers):
            moved.add(index)
    if len(moved) == 1:
        raise ValueError("what this graph does before it selects its first token does not work token by token")

    constants = {tensor.name for tensor in graph.initializer}
    constants |= {node.output[0] for node in graph.node if node.op_type == "Constant"}
    inside = {graph.node[index].output[0] for index in moved}
    zero = graph.node[select].input[1]
    nodes, selected = [], set()
    for index, node in enumerate(graph.node):
        if index == select:
            # Its input has only one token now: the name of its output goes to the node before it.
            before = next(other for other in nodes if node.input[0] in other.output)
            before.output[0] = node.output[0]
            continue
        if index in moved:
            for position, name in enumerate(node.input):
                if name in constants or name in inside or not name:
                    continue
                if name not in selected:
                    nodes.append(helper.make_node("Gather", [name, zero], [f"{name}_first"], axis=1))
                    selected.add(name)
                node.input[position] = f"{name}_first"
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    del graph.value_info[:]


def _first_token_gather(graph: onnx.GraphProto) -> int:
    """Index of the node that selects token 0 of the encoder's output."""
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            values[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    for index, node in enumerate(graph.node):
        axis = next((a.i for a in node.attribute if a.name == "axis"), 0)
        if node.op_type == "Gather" and axis == 1 and node.input[1] in values and values[node.input[1]].shape == ():
            if int(values[node.input[1]]) == 0:
                return index
    raise ValueError("this graph does not select its first token")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("exported", type=Path, help="folder written by export.py")
    parser.add_argument("target", type=Path)
    parser.add_argument("--level", choices=LEVELS, default="O2")
    parser.add_argument("--first-token", action="store_true")
    args = parser.parse_args()
    folder = read_model_folder(args.exported)
    optimise(args.exported / "onnx" / "model.onnx", args.target, args.level, folder, args.first_token)
    print(", ".join(f"{count} × {name}" for name, count in fusions(args.target).items()), f"in {folder.layers} layers")


if __name__ == "__main__":
    main()

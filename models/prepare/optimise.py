"""
Fuses the operators of an exported BERT-like graph, at the levels of Optimum and ONNX Runtime.

    python optimise.py model.onnx model_o2.onnx --level O2

O1: ONNX Runtime's general (basic) fusions. O2: also its extended and transformer fusions (attention, skip + layer norm,
bias + GELU). O3: O2 with the tanh approximation of GELU, which changes scores slightly.
"""

import argparse
from pathlib import Path

import onnx
from onnxruntime.transformers.fusion_options import FusionOptions
from onnxruntime.transformers.optimizer import optimize_model

LEVELS = ("O1", "O2", "O3")


def optimise(source: Path, target: Path, level: str, heads: int, hidden: int) -> None:
    """Writes `source` with its operators fused. The graph keeps its inputs, outputs and float32 weights."""
    if level not in LEVELS:
        raise ValueError(f"level must be one of {', '.join(LEVELS)}, not {level}")
    options = FusionOptions("bert")
    # Its int8 form quantises all embedding rows with one scale; quantise.py gives every row its own instead.
    options.enable_embed_layer_norm = False
    options.enable_gelu_approximation = level == "O3"
    if level == "O1":
        fused = optimize_model(str(source), "bert", heads, hidden, optimization_options=options, opt_level=1, only_onnxruntime=True)
    else:
        fused = optimize_model(str(source), "bert", heads, hidden, optimization_options=options, opt_level=0)
        fused.topological_sort()
    model = fused.model
    if not any(opset.domain == "com.microsoft" for opset in model.opset_import):
        model.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))
    onnx.save(model, str(target))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--level", choices=LEVELS, default="O2")
    parser.add_argument("--heads", type=int, default=12)
    parser.add_argument("--hidden", type=int, default=384)
    args = parser.parse_args()
    optimise(args.source, args.target, args.level, args.heads, args.hidden)


if __name__ == "__main__":
    main()

"""
Exports a fine-tuned classifier to ONNX with Optimum, in Hugging Face layout.

    python export.py CHECKPOINT_OR_HUB_ID OUT

OUT gets config.json, tokenizer files and onnx/model.onnx (float32). The tokenizer's own truncation and padding are
removed: sentence-embedding checkpoints carry fixed ones, and the service cuts and pads by itself.
"""

import argparse
import json
import shutil
from pathlib import Path

from optimum.exporters.onnx import main_export

# Enough for every token of the sequence to have its own position; what Transformers itself would write.
KEPT = ("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
OPSET = 17


def export(source: str, out: Path) -> Path:
    """Writes the folder; returns the path of the ONNX file."""
    raw = out / "raw"
    main_export(source, raw, task="text-classification", opset=OPSET, do_validation=True, no_post_process=True)
    (out / "onnx").mkdir(parents=True, exist_ok=True)
    for name in KEPT:
        if (raw / name).exists():
            shutil.copy(raw / name, out / name)
    model = out / "onnx" / "model.onnx"
    shutil.move(raw / "model.onnx", model)
    if (raw / "model.onnx_data").exists():
        shutil.move(raw / "model.onnx_data", out / "onnx" / "model.onnx_data")
    shutil.rmtree(raw)
    if not (out / "tokenizer.json").exists():
        raise SystemExit(f"{source} has no fast tokenizer: a worker needs its tokenizer.json")
    clean_tokenizer(out / "tokenizer.json")
    return model


def clean_tokenizer(path: Path) -> None:
    tokenizer = json.loads(path.read_text(encoding="utf-8"))
    tokenizer["truncation"] = None
    tokenizer["padding"] = None
    path.write_text(json.dumps(tokenizer, ensure_ascii=False), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="folder of a fine-tuned checkpoint, or a hub id")
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    print(export(args.source, args.out))


if __name__ == "__main__":
    main()

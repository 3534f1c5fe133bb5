"""
Makes the tiny models of the tests: one folder for each kind of graph, tokenizer and head that a worker serves.

    python tiny_models.py ../../test/fixtures/models

Weights are random (fixed seed), layers few and narrow, vocabularies of some hundred entries. But everything has the form
that Transformers, Optimum and ONNX Runtime give it for a full-sized model: normalisers, pre-tokenizers and post-processors
are those of each family, and the graphs are exported by export.py.

Needs sentencepiece besides requirements.txt.
"""

import argparse
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import onnx
import sentencepiece
import torch
from onnx import TensorProto, helper
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.transformers.float16 import convert_float_to_float16
from tokenizers import ByteLevelBPETokenizer, Tokenizer
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    BertTokenizerFast,
    DistilBertConfig,
    PretrainedConfig,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaTokenizerFast,
    XLMRobertaConfig,
    XLMRobertaTokenizerFast,
)

import ngrams
from export import clean_tokenizer, export
from parity_texts import PIECES, SENTENCES, sentences

MAX_TOKENS = 96
BAG = "bag-of-ngrams"
KEPT = ("config.json", "tokenizer.json", "tokenizer_config.json")


def wordpiece(folder: Path, lowercase: bool, size: int) -> PreTrainedTokenizerFast:
    """The frequent characters, then the frequent words and ends of words. (Training is not the same twice.)"""
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    target = folder / "vocab.txt"
    target.write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    backend = BertTokenizerFast(str(target), do_lower_case=lowercase).backend_tokenizer
    characters, words = Counter(), Counter()
    for text in SENTENCES["english"] if size < 300 else sentences() + PIECES:
        for word, _ in backend.pre_tokenizer.pre_tokenize_str(backend.normalizer.normalize_str(text)):
            characters.update([word[0], *(f"##{character}" for character in word[1:])])
            words.update([word, *(f"##{word[start:]}" for start in range(1, len(word) - 1))])
    for counter, share in ((characters, 0.7), (words, 1)):
        ranked = sorted(counter, key=lambda piece: (-counter[piece], piece))
        vocabulary += [piece for piece in ranked if piece not in vocabulary][: int(size * share) - len(vocabulary)]
    target.write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    return BertTokenizerFast(str(target), do_lower_case=lowercase, model_max_length=512)


def byte_level(folder: Path) -> PreTrainedTokenizerFast:
    trained = ByteLevelBPETokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trained.train_from_iterator(sentences(), vocab_size=900, min_frequency=2, special_tokens=special, show_progress=False)
    trained.save_model(str(folder))
    return RobertaTokenizerFast(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=512)


def unigram(folder: Path) -> PreTrainedTokenizerFast:
    text = folder / "text.txt"
    text.write_text("\n".join(sentences()), encoding="utf-8")
    sentencepiece.SentencePieceTrainer.train(
        input=str(text),
        model_prefix=str(folder / "sentencepiece.bpe"),
        vocab_size=700,
        character_coverage=0.995,
        model_type="unigram",
        normalization_rule_name="nmt_nfkc",
        num_threads=1,
        minloglevel=2,
    )
    converted = XLMRobertaTokenizerFast(str(folder / "sentencepiece.bpe.model"))
    # As in tokenizer.json of the models on the hub; Transformers converts a little differently today.
    backend = json.loads(converted.backend_tokenizer.to_str())
    precompiled = next(part for part in backend["normalizer"]["normalizers"] if part["type"] == "Precompiled")
    backend["normalizer"] = precompiled
    backend["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, backend["pre_tokenizer"]]}
    return XLMRobertaTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(backend)), model_max_length=512)


def uncased(folder: Path) -> PreTrainedTokenizerFast:
    return wordpiece(folder, True, 900)


def cased(folder: Path) -> PreTrainedTokenizerFast:
    return wordpiece(folder, False, 900)


def english(folder: Path) -> PreTrainedTokenizerFast:
    return wordpiece(folder, True, 150)


# --- what is done to an exported graph -------------------------------------------------------------------------------


def int32_inputs(graph: Path) -> None:
    model = onnx.load(graph)
    casts = []
    for entry in model.graph.input:
        entry.type.tensor_type.elem_type = TensorProto.INT32
        wide = f"{entry.name}_int64"
        for node in model.graph.node:
            node.input[:] = [wide if name == entry.name else name for name in node.input]
        casts.append(helper.make_node("Cast", [entry.name], [wide], to=TensorProto.INT64))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.save(model, graph)


def fp16_output(graph: Path) -> None:
    """As a converter leaves it that ends a float32 graph with a cast."""
    model = onnx.load(graph)
    for node in model.graph.node:
        node.output[:] = ["logits_float32" if name == "logits" else name for name in node.output]
    model.graph.node.append(helper.make_node("Cast", ["logits_float32"], ["logits"], to=TensorProto.FLOAT16))
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT16
    onnx.save(model, graph)


def fp16(graph: Path) -> None:
    onnx.save(convert_float_to_float16(onnx.load(graph), keep_io_types=False), graph)


def int8(graph: Path) -> None:
    """
    The dynamic quantisation that most int8 files on the hub have; with 7 bits of the weights, because 8 saturate on x86 without
    VNNI (README.md), and the golden files are to hold on every CPU.
    """
    quantised = graph.with_name("model_quantized.onnx")
    quantize_dynamic(graph, quantised, weight_type=QuantType.QInt8, reduce_range=True)
    graph.unlink()


def external_data(graph: Path) -> None:
    model = onnx.load(graph)
    onnx.save(model, graph, save_as_external_data=True, location="model.onnx_data", size_threshold=256)


# --- what is done to config.json -------------------------------------------------------------------------------------


def without(*keys: str) -> Callable[[dict], None]:
    def edit(config: dict) -> None:
        for key in keys:
            config.pop(key, None)

    return edit


def partly_named(config: dict) -> None:
    config["id2label"] = {"1": "neutral"}
    config["label2id"] = {"neutral": 1}


@dataclass(frozen=True)
class Tiny:
    name: str
    config: type[PretrainedConfig]
    tokenizer: Callable[[Path], PreTrainedTokenizerFast]
    labels: list[str]
    problem_type: str | None = None
    wide: bool = False
    graph: Callable[[Path], None] | None = None
    edit: Callable[[dict], None] | None = None


THREE = ["negative", "neutral", "positive"]
EMOTIONS = ["anger", "disgust", "fear", "joy", "sadness", "surprise"]

MODELS = [
    Tiny("bert-uncased", BertConfig, uncased, THREE, "single_label_classification", wide=True),
    Tiny("distilbert-cased", DistilBertConfig, cased, ["1 star", "2 stars", "3 stars", "4 stars", "5 stars"], wide=True),
    Tiny("roberta", RobertaConfig, byte_level, EMOTIONS, "multi_label_classification", wide=True),
    Tiny("xlm-roberta", XLMRobertaConfig, unigram, THREE, wide=True),
    Tiny("multi-label", BertConfig, english, EMOTIONS, "multi_label_classification"),
    Tiny("one-logit", BertConfig, english, ["spam"]),
    Tiny("regression", BertConfig, english, ["stars"], "regression"),
    Tiny("labels-150", DistilBertConfig, english, [f"intent {i}" for i in range(150)]),
    Tiny("labels-unnamed", BertConfig, english, ["LABEL_0", "LABEL_1"], edit=without("id2label", "label2id")),
    Tiny("labels-partly-named", BertConfig, english, THREE, "single_label_classification", edit=partly_named),
    Tiny("int32-inputs", BertConfig, english, THREE, graph=int32_inputs),
    Tiny("fp16-output", BertConfig, english, THREE, graph=fp16_output),
    Tiny("fp16", BertConfig, english, THREE, graph=fp16),
    Tiny("int8", BertConfig, english, THREE, graph=int8),
    Tiny("external-data", BertConfig, english, THREE, graph=external_data),
]


def make(tiny: Tiny, target: Path) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        tokenizer = tiny.tokenizer(work)
        torch.manual_seed(7)
        model = AutoModelForSequenceClassification.from_config(_config(tiny, tokenizer))
        for parameter in model.parameters():
            # The usual start, 0.02, gives every text nearly the same scores.
            if parameter.ndim == 2:
                parameter.data *= 12
        checkpoint = work / "checkpoint"
        model.save_pretrained(checkpoint)
        tokenizer.save_pretrained(checkpoint)
        exported = work / "exported"
        graph = export(str(checkpoint), exported)
        if tiny.graph:
            tiny.graph(graph)
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(exported / "onnx", target / "onnx")
        for name in KEPT:
            shutil.copy(exported / name, target / name)
    if tiny.edit:
        path = target / "config.json"
        config = json.loads(path.read_text(encoding="utf-8"))
        tiny.edit(config)
        path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def make_bag(target: Path) -> None:
    """The one without an encoder: distil.py's bag of n-grams."""
    with tempfile.TemporaryDirectory() as temporary:
        tokenizer = english(Path(temporary))
        config = ngrams.config_of(len(tokenizer), 3, 1009, THREE, "softmax")
        config.max_position_embeddings = MAX_TOKENS
        torch.manual_seed(7)
        model = ngrams.BagOfNgrams(config, torch.tensor([0.2, 0.0, -0.2]))
        for table in (model.pieces, model.runs):
            torch.nn.init.normal_(table.weight, std=2)
        shutil.rmtree(target, ignore_errors=True)
        config.save_pretrained(target)
        tokenizer.save_pretrained(target)
        ngrams.write_graph(model, target / "onnx" / "model_quantized.onnx")
        for file in target.iterdir():
            if file.is_file() and file.name not in KEPT:
                file.unlink()
        clean_tokenizer(target / "tokenizer.json")


def _config(tiny: Tiny, tokenizer: PreTrainedTokenizerFast) -> PretrainedConfig:
    width, pad = (16 if tiny.wide else 8), tokenizer.pad_token_id
    common = {
        "vocab_size": len(tokenizer),
        "id2label": dict(enumerate(tiny.labels)),
        "label2id": {label: i for i, label in enumerate(tiny.labels)},
        "problem_type": tiny.problem_type,
        "pad_token_id": pad,
    }
    if tiny.config is DistilBertConfig:
        shape = {"dim": width, "hidden_dim": 32, "n_heads": 2, "n_layers": 2}
        return DistilBertConfig(**common, **shape, max_position_embeddings=MAX_TOKENS)
    offset = pad + 1 if tiny.config in (RobertaConfig, XLMRobertaConfig) else 0
    return tiny.config(
        **common,
        hidden_size=width,
        num_attention_heads=2,
        num_hidden_layers=2 if tiny.wide else 1,
        intermediate_size=32,
        max_position_embeddings=MAX_TOKENS + offset,
        type_vocab_size=1 if offset else 2,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", nargs="*", help="names of folders; default: all")
    args = parser.parse_args()
    for tiny in MODELS:
        if not args.only or tiny.name in args.only:
            make(tiny, args.out / tiny.name)
            print(tiny.name)
    if not args.only or BAG in args.only:
        make_bag(args.out / BAG)
        print(BAG)


if __name__ == "__main__":
    main()

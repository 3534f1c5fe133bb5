"""
python -m unittest test_prepare

Small random models of every family go the whole way; the scores of what comes out are those of the float32 model in PyTorch.
"""

import contextlib
import io
import json
import random
import tempfile
import unittest
from argparse import Namespace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    DebertaV2Config,
    DistilBertConfig,
    ModernBertConfig,
    PreTrainedTokenizerFast,
    RobertaConfig,
    XLMRobertaConfig,
)

import metrics
from evaluate import Classifier, batch_dependence, sorted_scores
from model_folder import read_model_folder
from package_model import ANY_CARD
from prepare import prepare
from quantise import BLOCK, quantise_blocks, quantise_static
from ranges import CODES, Range, range_of
from text_data import read_split

WORDS = "a the film plot cast was is not very good bad dull bright slow fine thank you why never again of this".split()
# Enough rows for the table of words to be quantised.
VOCABULARY = 8500
SHAPE = dict(
    vocab_size=VOCABULARY, hidden_size=128, num_attention_heads=2, num_hidden_layers=2, intermediate_size=256,
    max_position_embeddings=66,
)  # fmt: skip


def sentences(count: int) -> list[str]:
    rng = random.Random(1)
    return [" ".join(rng.choices(WORDS, k=rng.randint(1, 40))) for _ in range(count)]


def word_piece() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer.train_from_iterator(sentences(200), trainers.WordPieceTrainer(vocab_size=200, special_tokens=special))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = dict(pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]", mask_token="[MASK]")
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)


def byte_pairs() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=special, initial_alphabet=alphabet)
    tokenizer.train_from_iterator(sentences(200), trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    names = dict(pad_token="<pad>", unk_token="<unk>", cls_token="<s>", sep_token="</s>", mask_token="<mask>")
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)


def checkpoint(folder: Path, config, tokenizer: PreTrainedTokenizerFast, outliers: bool = False) -> None:
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(config)
    for parameter in model.parameters():
        if parameter.ndim == 2:
            # Fresh weights are so small that every text would score alike.
            parameter.data *= 4
    if outliers:
        for layer in model.bert.encoder.layer:
            # One channel of the feed-forward part's input reaches 8 times as far as the others, and one of its middle 60 times.
            layer.attention.output.LayerNorm.weight.data[5] *= 8
            layer.intermediate.dense.weight.data[:, 5] /= 8
            layer.intermediate.dense.bias.data[7] = 60
            layer.output.dense.weight.data[:, 7] /= 4
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@torch.inference_mode()
def torch_logits(folder: Path, texts: list[str], longest: int) -> np.ndarray:
    model, tokenizer = AutoModelForSequenceClassification.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    encoded = (tokenizer(text, truncation=True, max_length=longest, return_tensors="pt") for text in texts)
    inputs = ({name: row[name] for name in ("input_ids", "attention_mask")} for row in encoded)
    return torch.cat([model(**row).logits for row in inputs]).numpy()


class Families(unittest.TestCase):
    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.work = Path(scratch.name)
        torch.set_num_threads(1)
        # The reports that are printed.
        self.enterContext(contextlib.redirect_stdout(io.StringIO()))

    def whole_way(self, config, tokenizer, labelled: str | None = None, attentions: int = 2, table: str = "8-bit", outliers: str = "alike") -> tuple[Path, dict]:
        """Prepares a random model, checks its scores, its int8 share and what was fused; returns the folder and the report."""
        source, out, texts = self.work / "checkpoint", self.work / "out", self.work / "texts.txt"
        checkpoint(source, config, tokenizer, outliers == "apart")
        texts.write_text("\n".join(sentences(160)), encoding="utf-8")
        file = None
        if labelled is not None:
            file = self.work / "labelled.tsv"
            file.write_text(labelled, encoding="utf-8")
        args = dict(source=str(source), out=out, texts=texts, labelled=file, test=None, name="tiny", rounds=1, sample=60)
        args |= dict(languages=["en"], table=table, outliers=outliers)
        prepare(Namespace(**args, card=ANY_CARD), self.work)
        report = json.loads((self.work / "variants" / "report.json").read_text(encoding="utf-8"))

        folder = read_model_folder(out)
        classifier = Classifier(out / "onnx" / "model_quantized.onnx", folder)
        rows = sentences(60)
        logits = torch_logits(source, rows, folder.max_tokens)
        expected = {
            "softmax": lambda: torch.softmax(torch.from_numpy(logits), dim=1).numpy(),
            "sigmoid": lambda: 1 / (1 + np.exp(-logits)),
            "none": lambda: logits,
        }[folder.apply]()
        scores = sorted_scores(classifier, rows)
        self.assertLess(np.abs(scores - expected).max(), 0.05)
        self.assertGreater(expected.std(axis=0).max(), 0.01, "the model scores every text alike: the test shows nothing")
        self.assertEqual(batch_dependence(classifier, rows, rounds=1), 0)
        nodes = " ".join(report["notes"])
        self.assertIn(f"{attentions} × attention", nodes)
        self.assertEqual("Not fused" in nodes, attentions < 2)
        manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
        self.assertIn("onnx/model_quantized.onnx", manifest["files"])
        self.assertIn("amulet.json", manifest["files"])
        settings = json.loads((out / "amulet.json").read_text(encoding="utf-8"))
        # A label's own threshold is chosen on labelled texts.
        self.assertEqual(list(settings.pop("thresholds", [])), folder.labels if labelled and folder.apply == "sigmoid" else [])
        self.assertEqual(settings, {"languages": ["en"]})
        for name in ("README.md", "REPORT.md", "report.png", "config.json", "tokenizer.json"):
            self.assertTrue((out / name).exists(), name)
        return out, report

    def test_bert_softmax(self) -> None:
        labelled = "".join(f"{text}\t{i % 3}\n" for i, text in enumerate(sentences(60)))
        out, report = self.whole_way(BertConfig(**SHAPE, num_labels=3), word_piece(), labelled)
        self.assertIn("accuracy", report["rows"][0]["figures"]["dev"])
        self.assertIn("accuracy, dev (60)", (out / "README.md").read_text(encoding="utf-8"))

    def test_channels_that_reach_far_beyond_the_others(self) -> None:
        _out, report = self.whole_way(BertConfig(**SHAPE, num_labels=3), word_piece(), outliers="apart")
        self.assertEqual(report["shipped"], "static int8, first token, 7-bit weights, outliers apart")
        self.assertIn("static int8, first token, 7-bit weights", [row["name"] for row in report["rows"]])

    def test_distilbert_sigmoid(self) -> None:
        config = DistilBertConfig(
            vocab_size=VOCABULARY, dim=128, n_heads=2, n_layers=2, hidden_dim=256, max_position_embeddings=66,
            num_labels=4, problem_type="multi_label_classification",
        )  # fmt: skip
        labelled = "".join(f"{text}\t{i % 4},{(i + 1) % 4}\n" for i, text in enumerate(sentences(60)))
        out, report = self.whole_way(config, word_piece(), labelled)
        self.assertEqual(report["apply"], "sigmoid")
        self.assertIn("its own best threshold", (out / "README.md").read_text(encoding="utf-8"))

    def test_roberta_regression(self) -> None:
        config = RobertaConfig(**SHAPE, type_vocab_size=1, pad_token_id=1, num_labels=1, problem_type="regression")
        labelled = "".join(f"{text}\t{i / 7}\n" for i, text in enumerate(sentences(60)))
        out, report = self.whole_way(config, byte_pairs(), labelled)
        self.assertIn("mean_absolute_error", report["rows"][0]["figures"]["dev"])
        # Two of the position embeddings are never used.
        self.assertEqual(read_model_folder(out).max_tokens, 64)

    def test_xlm_roberta_without_labels(self) -> None:
        config = XLMRobertaConfig(**SHAPE, type_vocab_size=1, pad_token_id=1, num_labels=5)
        out, report = self.whole_way(config, byte_pairs(), table="4-bit")
        sizes = {row["name"]: row["megabytes"] for row in report["rows"]}
        table = 4 * VOCABULARY * 128 / 8 / 1e6
        self.assertAlmostEqual(sizes["static int8, first token, 7-bit weights"] - sizes[report["shipped"]], table, delta=0.2)
        self.assertEqual(report["texts"], {})
        self.assertIn("Agreement with the float32 model", (out / "README.md").read_text(encoding="utf-8"))

    def test_a_family_whose_attention_is_unknown_says_so(self) -> None:
        config = DebertaV2Config(**SHAPE, pooler_hidden_size=128, num_labels=2)
        self.whole_way(config, word_piece(), attentions=0)


    def test_what_was_fused_wrongly_is_quantised_as_it_was_exported(self) -> None:
        with patch("compare.MAX_FUSED_DIFFERENCE", -1):
            _out, report = self.whole_way(BertConfig(**SHAPE, num_labels=3), word_piece(), attentions=0)
        self.assertEqual(report["shipped"], "static int8, not fused, 7-bit weights")
        self.assertIn("*fp32, O2* is left out", " ".join(report["notes"]))

    def test_what_cannot_be_quantised_is_packaged_as_it_was_fused(self) -> None:
        checkpoint(self.work / "checkpoint", BertConfig(**SHAPE, num_labels=2), word_piece())
        (self.work / "texts.txt").write_text("\n".join(sentences(40)), encoding="utf-8")
        args = dict(source=str(self.work / "checkpoint"), out=self.work / "out", texts=self.work / "texts.txt")
        args |= dict(labelled=None, test=None, name="tiny", rounds=1, sample=20, card=ANY_CARD, languages=None, table="8-bit", outliers="alike")
        with patch("compare.quantise_static", side_effect=ValueError("no matrix here")):
            prepare(Namespace(**args), self.work)
        manifest = json.loads((self.work / "out" / "manifest.json").read_text(encoding="utf-8"))
        self.assertIn("onnx/model.onnx", manifest["files"])
        self.assertNotIn("amulet.json", manifest["files"])
        self.assertIn("no matrix here", (self.work / "out" / "REPORT.md").read_text(encoding="utf-8"))
        self.assertIn("float32", (self.work / "out" / "README.md").read_text(encoding="utf-8"))

    def test_a_model_that_normalises_before_its_layers(self) -> None:
        ids = dict(pad_token_id=0, cls_token_id=2, sep_token_id=3, bos_token_id=2, eos_token_id=3)
        _out, report = self.whole_way(ModernBertConfig(**SHAPE, **ids, num_labels=3), word_piece(), attentions=0)
        # Variants that take SkipLayerNormalization apart, whose sum is used beside its norm.
        self.assertIn("per-row dynamic int8, first token", [row["name"] for row in report["rows"]])


class Ranges(unittest.TestCase):
    def test_copies_add_up_to_a_wide_channel(self) -> None:
        span = Range(-4.0, 5.0, wide=((0, -20.0, 31.0),))
        copies = [0, *(shift for _channel, shift in span.further())]
        self.assertEqual(copies, [0, 1, 2, 3, -1, -2])
        values = np.linspace(-20, 31, 1001)
        codes = [np.clip(np.rint(values / span.scale - shift * CODES) + span.zero, 0, CODES) for shift in copies]
        rests = [0 if shift == 0 else -span.zero if shift > 0 else CODES - span.zero for shift in copies]
        total = sum((code - span.zero - rest) * span.scale for code, rest in zip(codes, rests))
        self.assertLess(np.abs(total - values).max(), 0.51 * span.scale)

    def test_few_channels_are_treated_apart_and_do_not_count(self) -> None:
        rng = np.random.default_rng(1)
        highs, lows = rng.uniform(1, 2, (50, 20)), rng.uniform(-2, -1, (50, 20))
        highs[:, 3] *= 30
        narrow, wide = rng.uniform(0.5, 1, (20, 10)), rng.uniform(0.5, 1, (20, 40))
        alike = range_of(lows, highs, 0.99)
        self.assertEqual((alike.outlying, alike.wide), ((), ()))
        self.assertGreater(alike.high, 50)
        self.assertEqual(range_of(lows, highs, 0.99, narrow).outlying, (3,))
        self.assertEqual([channel for channel, _low, _high in range_of(lows, highs, 0.99, wide).wide], [3])
        for matrix in (narrow, wide):
            self.assertLess(range_of(lows, highs, 0.99, matrix).high, 2)
        # Many such channels are no outliers: the range is theirs.
        highs[:, 4:10] *= 30
        for matrix in (narrow, wide):
            self.assertGreater(range_of(lows, highs, 0.99, matrix).high, 50)


class OutliersApart(unittest.TestCase):
    """A feed-forward part in which one channel of the input and one of the middle reach far beyond all others."""

    def graph(self, last: str) -> onnx.ModelProto:
        rng = np.random.default_rng(3)
        table, wide, narrow = (rng.standard_normal(shape).astype(np.float32) for shape in ((50, 128), (128, 256), (256, 128)))
        wide, narrow, bias = wide / 12, narrow / 16, np.zeros(256, np.float32)
        table[:, 5] *= 30
        wide[5] /= 30
        bias[7], narrow[7] = 60, narrow[7] * 4
        constants = dict(table=table, wide=wide, narrow=narrow, bias=bias, after=rng.standard_normal(128).astype(np.float32))
        nodes = [
            helper.make_node("Gather", ["table", "input_ids"], ["x"]),
            helper.make_node("MatMul", ["x", "wide"], ["a"]),
            helper.make_node("Add", ["a", "bias"], ["b"]),
            helper.make_node("Gelu", ["b"], ["c"], domain="com.microsoft"),
            helper.make_node("MatMul", ["c", "narrow"], ["d"]),
            helper.make_node("Add", ["d", "after"], ["e"]),
            helper.make_node(last, ["e", "x"] if last == "Sum" else ["e"], ["y"]),
        ]
        of = [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["rows", "tokens"])]
        to = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
        graph = helper.make_graph(nodes, "part", of, to, [numpy_helper.from_array(v, n) for n, v in constants.items()])
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8)

    def test_the_other_channels_keep_fine_steps(self) -> None:
        rows = np.random.default_rng(4).integers(0, 50, (40, 9))
        for last in ("Sum", "Identity"):
            with self.subTest(last), tempfile.TemporaryDirectory() as folder:
                source, target = Path(folder) / "source.onnx", Path(folder) / "target.onnx"
                onnx.save(self.graph(last), source)
                outputs = {}
                for name, apart in (("float32", None), ("alike", False), ("apart", True)):
                    if apart is not None:
                        quantise_static(source, target, rows.tolist(), apart=apart)
                    session = onnxruntime.InferenceSession(source if apart is None else target)
                    outputs[name] = session.run(None, {"input_ids": rows})[0]
                    alone = [session.run(None, {"input_ids": rows[i : i + 1, :4]})[0][0] for i in range(len(rows))]
                    np.testing.assert_array_equal(np.array(alone), outputs[name][:, :4])
                errors = {name: np.abs(outputs[name] - outputs["float32"]).mean() for name in ("alike", "apart")}
                self.assertLess(errors["apart"], 0.2 * errors["alike"])


class Tables(unittest.TestCase):
    def test_a_table_that_was_in_4_bit_blocks_comes_out_exactly(self) -> None:
        rng = np.random.default_rng(1)
        codes = rng.integers(-8, 8, (50, 4, BLOCK))
        codes[:, :, 3] = -8
        scales = rng.standard_normal((50, 4, 1)).astype(np.float16).astype(np.float32)
        scales[7] = 0
        table = (codes * scales).reshape(50, -1).astype(np.float32)
        found, found_scales = quantise_blocks(table)
        np.testing.assert_array_equal((found.reshape(50, 4, BLOCK) * found_scales[:, :, None]).reshape(50, -1), table)

    def test_any_other_table_is_near(self) -> None:
        table = np.random.default_rng(2).standard_normal((50, 64)).astype(np.float32)
        codes, scales = quantise_blocks(table)
        self.assertTrue(-8 <= codes.min() and codes.max() <= 7)
        error = np.abs((codes.reshape(50, 2, BLOCK) * scales[:, :, None]).reshape(50, -1) - table)
        # Half a step; a whole one at the end that has no code.
        self.assertLess(error.max(), np.abs(scales).max() * 1.001)
        with self.assertRaisesRegex(ValueError, "rows of 40 values"):
            quantise_blocks(np.ones((2, 40), np.float32))


class Figures(unittest.TestCase):
    def split(self, content: str, labels: list[str], apply: str):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "rows.tsv"
            file.write_text(content, encoding="utf-8")
            return read_split(file, labels, apply)

    def test_softmax(self) -> None:
        truth = self.split("x\tno\ny\t1\nz\tYES\n", ["no", "yes"], "softmax").truth
        self.assertEqual(truth.tolist(), [0, 1, 1])
        scores = np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]])
        self.assertAlmostEqual(metrics.figures("softmax", scores, truth)["accuracy"], 2 / 3)
        self.assertAlmostEqual(metrics.figures("softmax", scores, truth)["macro_f1"], 2 / 3)

    def test_several_labels_where_there_is_one(self) -> None:
        with self.assertRaisesRegex(SystemExit, "row 2: 2 labels"):
            self.split("x\t0\ny\t0,1\n", ["no", "yes"], "softmax")

    def test_one_output_is_yes_or_no(self) -> None:
        self.assertEqual(self.split("x\t0\ny\t1\n", ["toxic"], "sigmoid").truth.tolist(), [[False], [True]])

    def test_regression_wants_numbers(self) -> None:
        self.assertEqual(self.split("x\t0.5\n", ["stars"], "none").truth.tolist(), [0.5])
        with self.assertRaisesRegex(SystemExit, "'good' is no number"):
            self.split("x\tgood\n", ["stars"], "none")

    def test_thresholds_of_one_set_are_used_for_another(self) -> None:
        scores = np.array([[0.3, 0.6], [0.2, 0.9], [0.1, 0.1]])
        truth = np.array([[True, False], [False, True], [False, False]])
        chosen = metrics.figures("sigmoid", scores, truth)
        self.assertEqual(chosen["macro_f1_own"], 1.0)
        self.assertLess(chosen["macro_f1"], 1.0)
        self.assertEqual(metrics.figures("sigmoid", scores / 2, truth, chosen)["thresholds"], chosen["thresholds"])
        self.assertEqual(metrics.figures("sigmoid", scores / 2, truth, chosen)["label_f1"][0], 0.0)


if __name__ == "__main__":
    unittest.main()

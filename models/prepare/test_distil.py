"""
python -m unittest test_distil

Toy teachers label made-up texts, students learn them; what was stopped and continued ends as what was not.
"""

import contextlib
import gzip
import io
import itertools
import json
import os
import signal
import tempfile
import unittest
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from transformers import BertConfig, BertForSequenceClassification

import distil
import distil_report
import ngrams
import student
import teacher
from evaluate import Classifier, batch_dependence, sorted_scores
from model_folder import read_model_folder
from taught import read_taught, records
from test_prepare import sentences, word_piece
from text_data import Labelled

LABELS = ["BAD", "FINE", "GOOD"]


def toy_teacher(folder: Path, apply: str = "softmax") -> Path:
    """A bag of n-grams that finds `good` good, `bad` bad, and `not good` bad, too."""
    tokenizer = word_piece()
    tokenizer.model_max_length = 512
    tokenizer.save_pretrained(folder)
    vocabulary = tokenizer.get_vocab()
    model = ngrams.BagOfNgrams(ngrams.config_of(len(vocabulary), 2, 1009, LABELS, apply), torch.tensor([-1.0, 0.5, -1.0]))
    with torch.no_grad():
        model.pieces.weight[vocabulary["good"]] = torch.tensor([-12.0, 0.0, 12.0])
        model.pieces.weight[vocabulary["bad"]] = torch.tensor([12.0, 0.0, -12.0])
        pair = vocabulary["not"] * ngrams.multiplier(2, 0) + vocabulary["good"] * ngrams.multiplier(2, 1)
        model.runs.weight[pair % 1009] = torch.tensor([30.0, 0.0, -30.0])
    model.save_pretrained(folder)
    ngrams.write_graph(model, folder / "onnx" / "model_quantized.onnx")
    return folder


def texts(count: int = 600) -> list[str]:
    return list(dict.fromkeys(sentences(count)))


class Distil(unittest.TestCase):
    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.work = Path(scratch.name)
        torch.set_num_threads(1)
        self.output = self.enterContext(contextlib.redirect_stdout(io.StringIO()))
        self.enterContext(contextlib.redirect_stderr(io.StringIO()))

    def write(self, name: str, content: str) -> Path:
        path = self.work / name
        path.write_text(content, encoding="utf-8")
        return path

    def archive(self) -> Path:
        return self.write("archive.jsonl", "".join(json.dumps({"id": f"t{i}", "text": text}) + "\n" for i, text in enumerate(texts())))

    def run_distil(self, *arguments: object) -> None:
        with patch("sys.argv", ["distil.py", *map(str, arguments)]):
            distil.main()


class Labelling(Distil):
    def test_rows_have_the_scores_of_the_folder_in_the_order_of_the_texts(self) -> None:
        folder, archive, out = toy_teacher(self.work / "teacher"), self.archive(), self.work / "labels.jsonl.gz"
        with patch("teacher.BLOCK_ROWS", 100):
            self.run_distil("label", folder, archive, "--out", out, "--threads", 2)
        taught = read_taught(out)
        self.assertEqual((taught.labels, taught.apply, taught.texts), (LABELS, "softmax", texts()))
        expected = sorted_scores(Classifier(folder / "onnx" / "model_quantized.onnx", read_model_folder(folder)), texts())
        self.assertLess(np.abs(taught.scores - expected).max(), 2e-6)
        self.assertGreater(expected.std(axis=0).min(), 0.05)

    def test_a_run_that_was_stopped_ends_as_one_that_was_not(self) -> None:
        folder, archive = toy_teacher(self.work / "teacher"), self.archive()
        scored = teacher.scored

        def stopping(*arguments):
            os.kill(os.getpid(), signal.SIGTERM)
            return scored(*arguments)

        for suffix in (".jsonl", ".jsonl.gz"):
            whole, out = self.work / f"whole{suffix}", self.work / f"out{suffix}"
            with patch("teacher.BLOCK_ROWS", 100):
                self.run_distil("label", folder, archive, "--out", whole)
                with patch("teacher.scored", stopping), self.assertRaises(SystemExit) as stopped:
                    self.run_distil("label", folder, archive, "--out", out)
                self.assertEqual(stopped.exception.code, 75)
                partial = out.with_name(f"{out.name}.partial")
                # As if the machine had gone down while the next rows were written.
                with partial.open("ab") as file:
                    file.write(gzip.compress(b'{"text": "half a row"}')[:-9] if suffix.endswith("gz") else b'{"text": "ha')
                self.run_distil("label", folder, archive, "--out", out)
            self.assertEqual(out.read_bytes(), whole.read_bytes())
            self.assertFalse(partial.exists())

    def test_rows_of_another_model_are_not_continued(self) -> None:
        archive, out = self.archive(), self.work / "labels.jsonl"
        self.write("labels.jsonl.partial", json.dumps({"teacher": {"labels": ["YES", "NO"]}}) + "\n")
        with self.assertRaisesRegex(SystemExit, "of another model or other texts"):
            self.run_distil("label", toy_teacher(self.work / "teacher"), archive, "--out", out)

    def test_a_text_that_cannot_be_read_is_a_row_with_an_error(self) -> None:
        folder = toy_teacher(self.work / "teacher")
        source = self.write("archive.jsonl", '{"text": "good"}\nnot JSON\n\n{"text": "  "}\n{"text": "bad", "lang": "en", "label": "BAD"}\n')
        self.run_distil("label", folder, source, "--out", self.work / "labels.jsonl")
        taught = read_taught(self.work / "labels.jsonl")
        self.assertEqual((taught.texts, taught.hard), (["good", "bad"], [None, (0,)]))
        self.assertEqual(taught.left_out, {"error invalid_text": 2})


class ReadingLabels(Distil):
    def backfilled(self, rows: list[dict]) -> Path:
        return self.write("labels.jsonl", "".join(json.dumps(row) + "\n" for row in rows))

    def row(self, line: int, scores: dict[str, float], **more: object) -> dict:
        best = sorted(scores, key=lambda label: -scores[label])
        ranked = [{"label": label, "score": scores[label]} for label in best]
        return {"line": line, "label": best[0], "score": scores[best[0]], "labels": ranked, "truncated": False, **more}

    def test_rows_of_a_backfill_find_their_texts_by_line(self) -> None:
        source = self.write("archive.csv", 'key,text\n1,"two\nlines, one ""text"""\n\n2,second\n3,third\n')
        labels = self.backfilled([
            self.row(2, {"yes": 0.8, "no": 0.2}), {"line": 5, "error": {"code": "invalid_text", "message": ""}},
            self.row(6, {"no": 0.9, "yes": 0.1}),
        ])  # fmt: skip
        taught = read_taught(labels, source)
        self.assertEqual((taught.labels, taught.apply), (["no", "yes"], "softmax"))
        self.assertEqual(taught.texts, ['two\nlines, one "text"', "third"])
        np.testing.assert_allclose(taught.scores, [[0.2, 0.8], [0.9, 0.1]], atol=1e-6)
        self.assertEqual(taught.left_out, {"error invalid_text": 1})

    def test_every_kind_of_file_is_read_as_a_backfill_reads_it(self) -> None:
        for name, content, expected in (
            ("a.txt", "one\r\n\ntwo \"2\"\n", [(1, "one"), (3, 'two "2"')]),
            ("a.tsv", 'id\ttext\n1\t"a ""b"""\n2\t"open\n3\n', [(2, 'a "b"'), (3, '"open'), (4, None)]),
            ("a.jsonl", '\ufeff{"text": "one"}\n[]\n{"text": 1}\n', [(1, "one"), (2, None), (3, None)]),
            ("a.csv", "\ufefftext,id\na,1\nb\n", [(2, "a"), (3, None)]),
        ):
            plain = self.write(name, content)
            packed = self.work / f"{name}.gz"
            packed.write_bytes(gzip.compress(plain.read_bytes()))
            for path in (plain, packed):
                self.assertEqual([(record.line, record.text) for record in records(path)], expected, path.name)
        with self.assertRaisesRegex(SystemExit, "no column 'review' among text, id"):
            list(records(self.work / "a.csv", "review"))

    def test_several_labels_a_text_are_recognised_by_their_scores(self) -> None:
        labels = self.backfilled([self.row(1, {"joy": 0.9, "love": 0.8})])
        self.assertEqual(read_taught(labels, self.write("a.txt", "hurray\n")).apply, "sigmoid")

    def test_what_cannot_be_learnt_from_says_why(self) -> None:
        source = self.write("archive.jsonl", '{"id": "a", "text": "one"}\n')
        for rows, message in (
            ([{"line": 1, "label": "yes", "score": 0.9}], "line 1 has the best label alone.*--top-k all"),
            ([self.row(1, {"yes": 0.6, "no": 0.4}), self.row(1, {"yes": 1.0})], "line 2 has no score of 'no'"),
            ([self.row(1, {"stars": 4.5})], "a student of a regression cannot be made"),
            ([self.row(1, {"yes": 0.6, "no": 0.4}, id="b")], "id 'b'.*has line 1 and id 'a'"),
            ([self.row(2, {"yes": 0.6, "no": 0.4})], "ends before its line 2"),
            ([{"text": "one"}], "neither scores nor a label"),
            ([{"text": "one", "scores": [0.5, 0.5]}], "pass --labels"),
            ([{"line": 1, "error": {"code": "invalid_text"}}], "no row with scores .1 × error invalid_text"),
        ):
            with self.assertRaisesRegex(SystemExit, message):
                read_taught(self.backfilled(rows), source)
        with self.assertRaisesRegex(SystemExit, "pass the file that was backfilled"):
            read_taught(self.backfilled([self.row(1, {"yes": 0.6, "no": 0.4})]))

    def test_rows_beyond_the_limit_are_left_out_evenly(self) -> None:
        rows = [{"text": f"text {i}", "scores": [i / 1000, 1 - i / 1000]} for i in range(1000)]
        taught = read_taught(self.backfilled(rows), labels=["a", "b"], limit=200)
        self.assertEqual((len(taught.texts), sum(taught.left_out.values())), (200, 800))
        numbers = [int(text.split()[1]) for text in taught.texts]
        np.testing.assert_allclose(taught.scores[:, 0], np.array(numbers) / 1000, atol=1e-6)
        self.assertAlmostEqual(np.mean(numbers), 500, delta=60)


class Students(Distil):
    def encoder(self, labels: int = 3, layers: int = 4, folder: str = "encoder") -> Path:
        torch.manual_seed(0)
        shape = dict(vocab_size=200, hidden_size=32, num_attention_heads=2, num_hidden_layers=layers, intermediate_size=64)
        model = BertForSequenceClassification(BertConfig(**shape, max_position_embeddings=66, num_labels=labels))
        model.config.id2label = dict(enumerate(LABELS))
        model.save_pretrained(self.work / folder)
        word_piece().save_pretrained(self.work / folder)
        return self.work / folder

    def labels(self, apply: str = "softmax") -> Path:
        out = self.work / "labels.jsonl"
        self.run_distil("label", toy_teacher(self.work / "teacher", apply), self.archive(), "--out", out)
        return out

    def arguments(self, base: Path, out: str, *more: object) -> list[object]:
        return ["student", self.work / "labels.jsonl", "--base", base, "--layers", "0,2", "--out", self.work / out,
                "--rate", "3e-3", "--size", 16, "--train-embeddings", "--held-out", 60, *more]  # fmt: skip

    def test_an_encoder_learns_a_toy_teacher(self) -> None:
        base = self.encoder()
        for apply in ("softmax", "sigmoid"):
            self.labels(apply)
            self.run_distil(*self.arguments(base, f"student-{apply}", "--epochs", 4))
            facts = json.loads((self.work / f"student-{apply}" / "training.json").read_text(encoding="utf-8"))
            # The commonest answer of the teacher is right in half of the texts.
            self.assertGreater(facts["agreement_with_teacher"], 0.85, apply)
            config = json.loads((self.work / f"student-{apply}" / "config.json").read_text(encoding="utf-8"))
            self.assertEqual((config["num_hidden_layers"], list(config["id2label"].values())), (2, LABELS))
            (self.work / "labels.jsonl").unlink()

    def test_an_encoder_is_served_with_both_reports(self) -> None:
        base = self.encoder()
        self.labels()
        served = self.work / "served"
        more = ("--epochs", 1, "--serve", served, "--rounds", 1, "--sample", 20)
        self.run_distil(*self.arguments(base, "student", *more))
        report = (served / "REPORT.md").read_text(encoding="utf-8")
        for text in ("# Variants of served, side by side", "## Student and teacher", "| label | teacher | student | both |"):
            self.assertIn(text, report)
        self.assertEqual(read_model_folder(served).labels, LABELS)
        self.assertTrue((served / "manifest.json").exists())
        # The same command again measures anew, and does not report twice.
        self.run_distil(*self.arguments(base, "student", *more))
        self.assertEqual((served / "REPORT.md").read_text(encoding="utf-8").count("## Student and teacher"), 1)

    def test_a_run_that_was_stopped_ends_with_the_same_weights(self) -> None:
        base = self.encoder()
        self.labels()
        self.run_distil(*self.arguments(base, "whole"))
        distance, steps = student.distance, itertools.count()

        def stopping(*arguments):
            if next(steps) == 20:
                os.kill(os.getpid(), signal.SIGTERM)
            return distance(*arguments)

        with patch("student.distance", stopping), self.assertRaises(SystemExit) as stopped:
            self.run_distil(*self.arguments(base, "resumed"))
        self.assertEqual(stopped.exception.code, 75)
        self.assertTrue((self.work / "resumed" / "state.pt").exists())
        self.run_distil(*self.arguments(base, "resumed"))
        whole, resumed = ((self.work / name / "model.safetensors").read_bytes() for name in ("whole", "resumed"))
        self.assertEqual(whole, resumed)
        self.assertFalse((self.work / "resumed" / "state.pt").exists())
        # A student that is complete is not taught again, and not replaced by another.
        before = (self.work / "resumed" / "training.json").read_bytes()
        self.run_distil(*self.arguments(base, "resumed"))
        self.assertEqual((self.work / "resumed" / "training.json").read_bytes(), before)
        with self.assertRaisesRegex(SystemExit, "--epochs was 2, is 3"):
            self.run_distil(*self.arguments(base, "resumed", "--epochs", 3))

    def test_the_layers_and_the_head_of_the_teacher_go_on(self) -> None:
        checkpoint = self.encoder(folder="teacher-checkpoint")
        lessons = student.Lessons(LABELS, "softmax", ["a"], np.array([[0.2, 0.3, 0.5]], np.float32), [None])
        model = student.smaller_encoder(checkpoint, [1, 3], lessons, with_head=True, seed=1)
        theirs = BertForSequenceClassification.from_pretrained(checkpoint)
        self.assertEqual(model.config.num_hidden_layers, 2)
        for ours, other in ((model.classifier, theirs.classifier), (model.bert.pooler.dense, theirs.bert.pooler.dense),
                            (model.bert.encoder.layer[1].output.dense, theirs.bert.encoder.layer[3].output.dense)):  # fmt: skip
            self.assertTrue(torch.equal(ours.weight, other.weight))
        lessons.labels = ["GOOD", "FINE", "BAD"]
        with self.assertRaisesRegex(SystemExit, "has the labels BAD, FINE, GOOD; the rows have GOOD, FINE, BAD"):
            student.smaller_encoder(checkpoint, [1, 3], lessons, with_head=True, seed=1)
        with self.assertRaisesRegex(SystemExit, "has the layers 0 to 3"):
            student.smaller_encoder(checkpoint, [1, 4], lessons, with_head=False, seed=1)

    def test_labels_count_by_their_share_beside_the_scores(self) -> None:
        logits, scores = torch.tensor([[2.0, 0.0], [0.0, 1.0], [0.5, 0.0]]), torch.tensor([[0.9, 0.1], [0.2, 0.8], [np.nan, np.nan]])
        for apply in ("softmax", "sigmoid"):
            rows = [
                student.distance(logits[i : i + 1], scores[i : i + 1], [hard], apply, share).item()
                for i, hard, share in ((0, None, 0.3), (1, None, 0.3), (1, (0,), 1.0), (2, (1,), 0.3))
            ]
            together = student.distance(logits, scores, [None, (0,), (1,)], apply, 0.3).item()
            self.assertAlmostEqual(together, (rows[0] + 0.7 * rows[1] + 0.3 * rows[2] + rows[3]) / 3, places=5)
        # What the teacher says is the least that the loss can be.
        for apply, best in (("softmax", scores[:2].log()), ("sigmoid", torch.logit(scores[:2]))):
            at_best = student.distance(best, scores[:2], [None, None], apply, 0.3).item()
            self.assertLess(at_best, student.distance(best + torch.tensor([0.1, 0.0]), scores[:2], [None, None], apply, 0.3).item())

    def test_what_is_held_out_is_never_trained_on(self) -> None:
        taught = read_taught(self.labels())
        taught.texts[1] = taught.texts[0].upper()
        labelled = [Labelled(taught.texts[5], (2,)), Labelled("its own text", (0,)), Labelled("a test", (0,))]
        lessons, held_out = student.lessons_of(taught, labelled, [taught.texts[7], "A  test"], 60)
        plain = [{" ".join(text.casefold().split()) for text in part.texts} for part in (lessons, held_out)]
        self.assertFalse(plain[0] & plain[1])
        self.assertFalse({taught.texts[7], "a test"} & plain[0])
        self.assertTrue(30 < len(held_out.texts) < 90)
        self.assertIn("its own text", plain[0])
        at = (lessons if taught.texts[5] in lessons.texts else held_out)
        self.assertEqual(at.hard[at.texts.index(taught.texts[5])], (2,))


class Ngrams(Distil):
    def test_the_graph_is_the_model_and_does_not_depend_on_the_batch(self) -> None:
        for order in (1, 2, 3, 4):
            folder = toy_teacher(self.work / f"teacher-{order}")
            tokenizer = word_piece()
            torch.manual_seed(order)
            model = ngrams.BagOfNgrams(ngrams.config_of(len(tokenizer), order, 1009, LABELS, "softmax"), torch.randn(3))
            for table in (model.pieces, model.runs):
                torch.nn.init.normal_(table.weight, std=2)
            model.save_pretrained(folder)
            ngrams.write_graph(model, folder / "onnx" / "model_quantized.onnx")
            classifier = Classifier(folder / "onnx" / "model_quantized.onnx", read_model_folder(folder))
            rows = [*sentences(60), "a", ""]
            expected = student.scores_of(ngrams.load(folder), tokenizer, student.Lessons(LABELS, "softmax", rows), 512)
            scores = sorted_scores(classifier, rows)
            self.assertLess(np.abs(scores - expected).max(), 0.02)
            self.assertGreater(expected.std(axis=0).min(), 0.03)
            self.assertEqual(batch_dependence(classifier, rows), 0)

    def test_one_command_makes_a_folder_that_is_served_with_its_report(self) -> None:
        out = self.work / "labels.jsonl"
        tests = self.write("test.tsv", "a good film\tGOOD\na bad film\tBAD\n" + "the cast\tFINE\n" * 30)
        for apply in ("softmax", "sigmoid"):
            folder = toy_teacher(self.work / "teacher", apply)
            self.run_distil("label", folder, self.archive(), "--out", out)
            served = self.work / f"served-{apply}"
            self.run_distil(
                "student", out, "--base", folder, "--ngrams", 2, "--buckets", 1009, "--out", self.work / f"bag-{apply}", "--epochs", 16,
                "--size", 16, "--rate", 0.1, "--held-out", 60, "--serve", served, "--teacher", folder, "--test", tests, "--rounds", 1,
                "--languages", "en",
            )  # fmt: skip
            facts = json.loads((self.work / f"bag-{apply}" / "training.json").read_text(encoding="utf-8"))
            self.assertGreater(facts["agreement_with_teacher"], 0.75, apply)
            report = (served / "REPORT.md").read_text(encoding="utf-8")
            figure = "accuracy, test (32) | 1.0000 | 1.0000" if apply == "softmax" else "mAP, test (32) | "
            for text in (figure, "| largest change of a score by its batch | 0 |", "rows a CPU second", "| GOOD | "):
                self.assertIn(text, report)
            manifest = json.loads((served / "manifest.json").read_text(encoding="utf-8"))
            self.assertLessEqual({"amulet.json", "config.json", "tokenizer.json", "onnx/model_quantized.onnx"}, set(manifest["files"]))
            self.assertEqual(json.loads((served / "amulet.json").read_text(encoding="utf-8")), {"languages": ["en"]})
            # What is served says what the checkpoint says.
            model = read_model_folder(served)
            scores = sorted_scores(Classifier(served / "onnx" / "model_quantized.onnx", model), texts())
            lessons = student.Lessons(LABELS, apply, texts())
            expected = student.scores_of(ngrams.load(self.work / f"bag-{apply}"), model.tokenizer, lessons, 512)
            self.assertEqual((model.labels, model.apply), (LABELS, apply))
            self.assertLess(np.abs(scores - expected).max(), 0.03)
            out.unlink()


class Reports(Distil):
    HELD_OUT = student.Lessons(
        ["no", "yes"], "softmax", ["a", "b", "c", "d"], np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.45, 0.55]], np.float32)
    )

    def test_agreement_is_counted_by_label_and_by_certainty(self) -> None:
        scores = np.array([[0.7, 0.3], [0.4, 0.6], [0.1, 0.9], [0.3, 0.7]], np.float32)
        labels = distil_report.by_label(self.HELD_OUT, scores)
        self.assertEqual(labels[2:], ["| no | 2 | 1 | 1 | 0.67 | 0.162 |", "| yes | 2 | 3 | 2 | 0.80 | 0.162 |"])
        parts = distil_report.by_certainty(self.HELD_OUT, scores)
        self.assertEqual(parts[2:4], ["| 0.55 to 0.55 | 1 | 1.000 |", "| 0.60 to 0.60 | 1 | 0.000 |"])

    def test_the_certainty_about_several_labels_is_that_of_the_closest_decision(self) -> None:
        np.testing.assert_allclose(distil_report.certainty("sigmoid", np.array([[0.9, 0.4], [0.01, 0.02]])), [0.6, 0.98])

    def test_rates_are_those_of_each_one_s_own_tokens(self) -> None:
        folder = toy_teacher(self.work / "teacher")
        side = distil_report.Side(folder / "onnx" / "model_quantized.onnx", read_model_folder(folder))
        measured = distil_report.rates({"student": side, "teacher": side}, texts(), 2)
        self.assertEqual([len(rounds) for rounds in measured.values()], [2, 2])
        self.assertTrue(all(rate > 100 for rounds in measured.values() for rate in rounds))


if __name__ == "__main__":
    unittest.main()

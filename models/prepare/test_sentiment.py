"""
python -m unittest test_sentiment

Figures and test rows of the sentiment model, on made-up rows.
"""

import gzip
import json
import tempfile
import unittest
from dataclasses import replace
from pathlib import Path

import numpy as np

import identity_terms
import sentiment_report
from calibrate import Group, fit
from compare import EXPORTED
from evaluate_sentiment import bars, compared, tests_of
from package_model import card
from report import Report, Row
from sentiment_figures import balanced_recall, calibration_error, figures, macro_f1
from sentiment_tests import LABELS, TestRow, letters, sample, seen_in_training, test_rows, typed_rows


class Figures(unittest.TestCase):
    def test_a_test_without_neutral_rows_is_judged_by_the_better_of_two(self) -> None:
        scores = np.array([[0.3, 0.6, 0.1], [0.1, 0.2, 0.7], [0.1, 0.5, 0.4]])
        result = figures(scores, np.array([0, 2, 0]))
        self.assertAlmostEqual(result["accuracy"], 2 / 3)
        self.assertAlmostEqual(result["balanced_recall"], 0.75)
        self.assertAlmostEqual(result["called_neutral"], 2 / 3)
        self.assertAlmostEqual(result["majority"], 2 / 3)
        self.assertEqual(result["confusion"], [[0, 2, 0], [0, 0, 0], [0, 0, 1]])

    def test_neutral_rows_count_for_accuracy_and_not_for_the_recall_of_the_others(self) -> None:
        scores = np.array([[0.7, 0.2, 0.1], [0.6, 0.3, 0.1], [0.1, 0.2, 0.7]])
        labels = np.array([0, 1, 2])
        self.assertAlmostEqual(figures(scores, labels)["accuracy"], 2 / 3)
        self.assertEqual(balanced_recall(labels, scores), 1.0)
        self.assertIsNone(balanced_recall(np.array([1, 2, 2]), scores))

    def test_macro_f1_is_that_of_the_classes_that_occur(self) -> None:
        self.assertAlmostEqual(macro_f1(np.array([0, 0, 2, 2]), np.array([0, 2, 2, 2])), (2 / 3 + 4 / 5) / 2)

    def test_calibration_error(self) -> None:
        scores = np.tile([0.8, 0.1, 0.1], (10, 1))
        self.assertAlmostEqual(calibration_error(scores, np.array([0] * 8 + [1] * 2)), 0.0)
        self.assertAlmostEqual(calibration_error(scores, np.array([0] * 5 + [1] * 5)), 0.3)

    def test_bars_say_what_is_missed(self) -> None:
        groups = {("m_absa", "test", "ru"): [TestRow("m_absa", "test", "ru", label, "") for label in (0, 2, 2)]}
        scores = {("m_absa", "test", "ru"): np.array([[0.1, 0.0, 0.9], [0.1, 0.0, 0.9], [0.1, 0.0, 0.9]])}
        evaluation = {"model": "m", "rows": 3, "tests": tests_of(groups, scores), "megabytes": 41.0}
        evaluation["typed"] = [{"lang": "ru", "polar": 0.9, "polar_rows": 60, "neutral": 0.5, "neutral_rows": 20}]
        self.assertEqual(
            {bar.name: bar.holds for bar in bars(evaluation)},
            {"Russian, m_absa: balanced recall": False, "typed ru: positive and negative": True,
             "typed: neutral, all languages": False, "graph: MB below 40": False},
        )  # fmt: skip
        evaluation["bars"] = []
        self.assertIn("| ru | 1 | 3 |", sentiment_report.tables(evaluation)["languages"])

    def test_two_graphs_are_compared_row_by_row(self) -> None:
        key = ("xlm_t", "test", "en")
        groups = {key: [TestRow("xlm_t", "test", "en", label, "") for label in (0, 1, 2, 2)]}
        ours, theirs = np.eye(3)[[0, 1, 2, 1]], np.eye(3)[[0, 1, 1, 2]]
        self.assertEqual(
            compared(groups, {key: ours}, {key: theirs}),
            [{"lang": "en", "rows": 4, "accuracy": 0.75, "reference": 0.75, "agreement": 0.5}],
        )

    def test_the_card_has_a_table_for_every_place(self) -> None:
        key = ("xlm_t", "test", "en")
        groups = {key: [TestRow("xlm_t", "test", "en", label, "") for label in (0, 1, 2)]}
        evaluation = {"model": "m", "rows": 3, "tests": tests_of(groups, {key: np.eye(3)}), "megabytes": 37.1, "bars": []}
        evaluation["tables"] = sentiment_report.tables(evaluation)
        logits = np.eye(3)[np.arange(60) % 3]
        _, calibration = fit([Group("tweets", "en", logits, np.arange(60) % 3)])
        calibration["tables"] = sentiment_report.calibration_tables(calibration)
        row = Row("static7", 37.1, {"dev": {"accuracy": 0.7}}, 1.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0)
        report = Report(
            "sentiment-multilingual", "bert", ["NEGATIVE", "NEUTRAL", "POSITIVE"], "softmax", 512, {"dev": 3}, 3, 1, "static7",
            "fp32", [], [row, replace(row, name=EXPORTED)],
        )  # fmt: skip
        template = Path(__file__).parent.joinpath("cards", "sentiment-multilingual.md").read_text(encoding="utf-8")
        text = card(template, report, "student", {"evaluation": evaluation, "calibration": calibration})
        self.assertIn("| en | 3 | 1.000 | 1.000 | 0.685 | 0.706 |", text)
        self.assertIn("| `rusentiment` | RuSentiment", text)
        self.assertNotIn("{", text)
        with self.assertRaisesRegex(SystemExit, "place for 'evaluation': --evaluation"):
            card(template, report, "student")


class Tests(unittest.TestCase):
    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.data = Path(scratch.name)
        (self.data / "sentiment" / "permissive").mkdir(parents=True)

    def write(self, name: str, rows: list[dict]) -> None:
        with gzip.open(self.data / "sentiment" / name, "wt", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)

    def test_only_rows_for_measuring_are_read(self) -> None:
        row = {"text": "a", "label": "neutral", "lang": "ru"}
        self.write("permissive/xlm_t.jsonl.gz", [row | {"split": split} for split in ("train", "dev", "test")])
        self.write("tests-only.jsonl.gz", [row | {"source": "rusentiment"}, row | {"source": "sentirueval2016"}])
        (self.data / "sst2_dev.tsv").write_text("good\t1\n", encoding="utf-8")
        (self.data / "ru_sentiment.jsonl").write_text(json.dumps({"text": "b", "label": "positive"}) + "\n", encoding="utf-8")
        self.assertEqual(
            [(row.source, row.split, row.lang, LABELS[row.label], row.text) for row in test_rows(self.data)],
            [("xlm_t", "test", "ru", "neutral", "a"), ("rusentiment", "test", "ru", "neutral", "a"),
             ("sst2", "dev", "en", "positive", "good"), ("sentirueval2016", "test", "ru", "positive", "b")],
        )  # fmt: skip

    def test_an_unknown_label_is_refused_by_name(self) -> None:
        self.write("permissive/xlm_t.jsonl.gz", [{"text": "a", "label": "mixed", "lang": "ru", "split": "test"}])
        with self.assertRaisesRegex(SystemExit, "xlm_t: label 'mixed'"):
            list(test_rows(self.data))

    def test_a_sample_is_the_same_whatever_else_is_read(self) -> None:
        rows = [TestRow("xlm_t", "test", lang, 0, f"{lang} {i}") for lang in ("en", "de") for i in range(50)]
        both, one = sample(rows, 5), sample(rows[:50], 5)
        self.assertEqual(
            {key: len(members) for key, members in both.items()}, {("xlm_t", "test", "de"): 5, ("xlm_t", "test", "en"): 5}
        )
        self.assertEqual(both["xlm_t", "test", "en"], one["xlm_t", "test", "en"])
        self.assertEqual(len(sample(rows, 5, whole=["xlm_t"])["xlm_t", "test", "en"]), 50)

    def test_typed_sentences_are_told_from_training_rows_by_letters(self) -> None:
        self.write("permissive/xlm_t.jsonl.gz", [{"text": "So GOOD!", "label": "positive", "lang": "en", "split": "train"}])
        (self.data / "en.jsonl").write_text(
            "".join(
                json.dumps({"lang": "en", "label": "positive", "text": text}) + "\n" for text in ("so good 😋", "better", "😋")
            ),
            encoding="utf-8",
        )
        self.assertEqual([row.text for row in seen_in_training(typed_rows(self.data), self.data)], ["so good 😋"])
        self.assertEqual(letters("Ёлка, 2!"), "ёлка2")

    def test_terms_differ_and_fit_every_sentence(self) -> None:
        for lang, (sentences, terms) in identity_terms.SENTENCES.items():
            self.assertEqual(len(set(terms)), len(terms), lang)
            self.assertTrue(all(sentence.count("{}") == 1 for sentence in sentences), lang)


if __name__ == "__main__":
    unittest.main()

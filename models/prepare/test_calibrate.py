"""
python -m unittest test_calibrate

Calibration, on made-up logits with a known temperature and bias, and on a small random checkpoint.
"""

import tempfile
import unittest
from pathlib import Path

import numpy as np

from calibrate import Calibration, Group, fit, fit_bias, fit_temperature, fold, golden_section, softmax, weights_of
from sentiment_report import calibration_tables


def drawn(count: int, seed: int = 0, scale: float = 2.0, prior: tuple[float, ...] = (1, 1, 1)) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and labels drawn from their softmax: calibrated by construction."""
    rng = np.random.default_rng(seed)
    logits = scale * rng.standard_normal((count, 3)) + np.log(prior)
    labels = (softmax(logits).cumsum(axis=1) > rng.random((count, 1))).argmax(axis=1)
    return logits, labels


class Calibrate(unittest.TestCase):
    def test_golden_section(self) -> None:
        self.assertAlmostEqual(golden_section(lambda x: (x - 1.25) ** 2, -4, 9), 1.25, places=5)

    def test_a_known_temperature_is_found(self) -> None:
        logits, labels = drawn(20_000)
        for temperature in (0.5, 1.0, 2.5):
            found = fit_temperature(logits * temperature, labels, np.full(len(labels), 1 / len(labels)))
            self.assertAlmostEqual(found / temperature, 1, delta=0.04)

    def test_a_known_bias_is_found_whatever_the_temperature(self) -> None:
        logits, labels = drawn(20_000)
        bias = np.array([0.5, -1.25, 0.75])
        for temperature in (0.5, 2.5):
            found = fit_bias(temperature * (logits - bias), labels, np.full(len(labels), 1 / len(labels)))
            np.testing.assert_allclose(found / temperature, bias, atol=0.06)

    def test_weights_give_every_domain_and_every_class_the_same(self) -> None:
        groups = [
            Group("tweets", "en", np.zeros((6, 3)), np.array([0, 1, 1, 1, 2, 2])),
            Group("tweets", "de", np.zeros((3, 3)), np.array([0, 1, 2])),
            Group("films", "en", np.zeros((4, 3)), np.array([0, 0, 0, 2])),
        ]
        for balanced in (False, True):
            weights = weights_of(groups, balanced)
            np.testing.assert_allclose([weights[:6].sum(), weights[6:9].sum(), weights[9:].sum()], [0.25, 0.25, 0.5])
        np.testing.assert_allclose(weights[9:], [1 / 12, 1 / 12, 1 / 12, 0.25])

    def test_a_bias_that_helps_most_domains_is_kept_and_scores_become_as_right_as_they_say(self) -> None:
        shift = np.array([0.4, -1.2, 0.8])
        groups = []
        for seed, domain in enumerate(("films", "shop", "tweets")):
            logits, labels = drawn(4000, seed)
            groups.append(Group(domain, "en", 2.0 * (logits - shift), labels))
        calibration, report = fit(groups)
        self.assertTrue(report["bias_kept"])
        self.assertAlmostEqual(calibration.temperature, 2.0, delta=0.15)
        np.testing.assert_allclose(calibration.bias, 2.0 * shift, atol=0.25)
        self.assertLess(report["calibration_error"]["after"], 0.03)
        self.assertIn("temperature of 2.", calibration_tables(report)["summary"])
        self.assertGreater(report["calibration_error"]["before"], 0.1)

    def test_a_bias_that_helps_nothing_is_not_kept(self) -> None:
        groups = [
            Group(domain, "en", 3.0 * drawn(4000, seed)[0], drawn(4000, seed)[1])
            for seed, domain in enumerate(("films", "tweets"))
        ]
        calibration, report = fit(groups)
        self.assertFalse(report["bias_kept"])
        self.assertTrue((calibration.bias == 0).all())
        self.assertAlmostEqual(calibration.temperature, 3.0, delta=0.2)

    def test_the_calibration_is_folded_into_the_checkpoint(self) -> None:
        import torch
        from transformers import AutoModelForSequenceClassification, BertConfig, BertForSequenceClassification

        names = ["positive", "NEGATIVE", "neutral"]
        shape = dict(vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
        torch.manual_seed(0)
        model = BertForSequenceClassification(BertConfig(**shape, num_labels=3, id2label=dict(enumerate(names)))).eval()
        with tempfile.TemporaryDirectory() as scratch:
            model.save_pretrained(f"{scratch}/from")
            fold(Path(scratch, "from"), Path(scratch, "to"), Calibration(2.0, np.array([0.1, 0.2, -0.3])))
            folded = AutoModelForSequenceClassification.from_pretrained(f"{scratch}/to").eval()
        ids = torch.arange(20).reshape(2, 10)
        with torch.inference_mode():
            before, after = model(input_ids=ids).logits, folded(input_ids=ids).logits
        torch.testing.assert_close(after, (before + torch.tensor([-0.3, 0.1, 0.2])) / 2.0)


if __name__ == "__main__":
    unittest.main()

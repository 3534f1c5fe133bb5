"""The temperature of a model folder: found where it is known, and written beside the other settings. Seconds."""

import hashlib
import json
import tempfile
import unittest
from pathlib import Path

import numpy as np

from calibrate import fit_temperature, softmax
from temperature import even, helps, reliability, write_temperature


def overconfident(times: float, rows: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """Logits that are `times` as large as the labels justify."""
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(rows, 3)) * 1.5
    labels = np.array([rng.choice(3, p=row) for row in softmax(logits)])
    return logits * times, labels


class TemperatureTest(unittest.TestCase):
    def test_is_found(self):
        for times in (0.5, 2.5):
            logits, labels = overconfident(times)
            temperature = fit_temperature(logits[::2], labels[::2], even(labels[::2]))
            self.assertAlmostEqual(temperature / times, 1, delta=0.1)
            self.assertTrue(helps((logits[1::2], labels[1::2]), temperature))
            self.assertFalse(helps((logits[1::2], labels[1::2]), 1.0))

    def test_is_written_beside_other_settings_under_another_revision(self):
        with tempfile.TemporaryDirectory() as work:
            folder = Path(work)
            (folder / "config.json").write_text("{}", encoding="utf-8")
            settings = folder / "amulet.json"
            settings.write_text('{ "languages": ["en"] }\n', encoding="utf-8")
            files = {"config.json": {"sha256": "", "bytes": 2}}
            (folder / "manifest.json").write_text(json.dumps({"revision": "old", "files": files}), encoding="utf-8")
            write_temperature(folder, 1.25)
            write_temperature(folder, 1.5)
            self.assertEqual(json.loads(settings.read_text(encoding="utf-8")), {"languages": ["en"], "temperature": 1.5})
            manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
            self.assertNotEqual(manifest["revision"], "old")
            self.assertEqual(manifest["files"]["amulet.json"]["sha256"], hashlib.sha256(settings.read_bytes()).hexdigest())
            self.assertIn("config.json", manifest["files"])

    def test_is_plotted(self):
        with tempfile.TemporaryDirectory() as work:
            reliability(overconfident(2.5), 2.5, Path(work) / "plot.png")
            self.assertGreater((Path(work) / "plot.png").stat().st_size, 1000)


if __name__ == "__main__":
    unittest.main()

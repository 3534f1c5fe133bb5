"""
python -m unittest test_training

A tiny model is trained whole, and stopped and resumed: the weights are the same.
"""

import contextlib
import io
import os
import random
import signal
import tempfile
import unittest
from pathlib import Path

import torch
from transformers import BertConfig, BertForSequenceClassification

from training import Recipe, Task, batches, parameter_groups, save_checkpoint, token_counts, train, without_dropout
from test_prepare import word_piece

ROWS = [(tuple(random.Random(i).choices(range(4, 40), k=1 + i % 9)), i % 2) for i in range(90)]
RECIPE = Recipe(epochs=2, rate=5e-3, size=8)


def tiny() -> BertForSequenceClassification:
    torch.manual_seed(0)
    shape = dict(vocab_size=200, hidden_size=16, num_attention_heads=2, num_hidden_layers=2, intermediate_size=32)
    dropout = dict(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    return BertForSequenceClassification(BertConfig(**shape, **dropout, max_position_embeddings=16, num_labels=2))


def loss(model: torch.nn.Module, rows: list) -> torch.Tensor:
    longest = max(len(ids) for ids, _ in rows)
    ids = torch.tensor([[*ids, *[0] * (longest - len(ids))] for ids, _ in rows])
    logits = model(input_ids=ids, attention_mask=(ids > 0).long()).logits
    return torch.nn.functional.cross_entropy(logits, torch.tensor([label for _, label in rows]))


def task(loss=loss) -> Task:
    return Task(lambda epoch: random.Random(epoch).sample(ROWS, 80), lambda rows: [len(ids) for ids, _ in rows], loss)


def stopping_at(step: int, number: signal.Signals):
    """The loss of a run that gets a signal while it computes a step."""
    steps = 0

    def of(model, rows):
        nonlocal steps
        steps += 1
        if steps == step:
            os.kill(os.getpid(), number)
        return loss(model, rows)

    return of


class Training(unittest.TestCase):
    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.work = Path(scratch.name)
        torch.set_num_threads(1)
        self.output = self.enterContext(contextlib.redirect_stdout(io.StringIO()))

    def test_a_run_that_was_stopped_ends_with_the_weights_of_one_that_was_not(self) -> None:
        whole = train(tiny(), task(), RECIPE, self.work / "whole.pt")
        state = self.work / "state.pt"
        # In the first epoch and in the second.
        for step, number in ((4, signal.SIGTERM), (9, signal.SIGINT)):
            with self.assertRaises(SystemExit) as stopped:
                train(tiny(), task(stopping_at(step, number)), RECIPE, state)
            self.assertEqual(stopped.exception.code, 75)
        resumed = train(tiny(), task(), RECIPE, state)
        self.assertIn("resumed after step 13", self.output.getvalue())
        self.assertEqual(resumed.progress.step, whole.progress.step)
        for name, value in whole.model.state_dict().items():
            self.assertTrue(torch.equal(value, resumed.model.state_dict()[name]), name)
        # Signals are what they were before.
        self.assertIs(signal.getsignal(signal.SIGINT), signal.default_int_handler)

    def test_it_learns_and_leaves_the_embeddings_alone(self) -> None:
        model = tiny()
        before = {name: value.clone() for name, value in model.state_dict().items()}
        separable = [((5, 6), 0), ((7, 8, 9), 1)] * 40
        self.assertGreater(loss(model, separable).item(), 0.68)
        trained = train(model, Task(lambda _: separable, lambda rows: [len(ids) for ids, _ in rows], loss), RECIPE, self.work / "s.pt")
        self.assertLess(loss(trained.model, separable).item(), 0.63)
        for name, value in trained.model.state_dict().items():
            self.assertEqual(torch.equal(value, before[name]), "embeddings.weight" in name, name)

    def test_a_state_of_other_settings_is_refused(self) -> None:
        train(tiny(), task(), RECIPE, self.work / "state.pt")
        with self.assertRaisesRegex(SystemExit, "rate was 0.005, is 0.002. Remove it"):
            train(tiny(), task(), Recipe(epochs=2, rate=2e-3, size=8), self.work / "state.pt")

    def test_a_run_that_had_ended_gives_its_result_again(self) -> None:
        first = train(tiny(), task(), RECIPE, self.work / "state.pt")
        again = train(tiny(), task(), RECIPE, self.work / "state.pt")
        self.assertTrue(torch.equal(first.model.classifier.weight, again.model.classifier.weight))

    def test_rates_fall_towards_the_input(self) -> None:
        model = tiny()
        groups = parameter_groups(model, Recipe(epochs=1, rate=1.0, decay=0.5))
        rates = {id(group["params"][0]): group["top"] for group in groups}
        tops = {name: rates.get(id(parameter)) for name, parameter in model.named_parameters()}
        self.assertIsNone(tops["bert.embeddings.word_embeddings.weight"])
        self.assertEqual(tops["bert.embeddings.LayerNorm.weight"], 0.125)
        self.assertEqual(tops["bert.encoder.layer.0.attention.self.query.weight"], 0.25)
        self.assertEqual(tops["bert.encoder.layer.1.attention.self.query.weight"], 0.5)
        self.assertEqual(tops["classifier.weight"], 1.0)
        every = parameter_groups(tiny(), Recipe(epochs=1, rate=1.0, freeze=""))
        self.assertEqual(len(every), len(tops))

    def test_batches_have_every_row_once_and_rows_of_like_length(self) -> None:
        rng = random.Random(1)
        lengths = [rng.randint(1, 90) for _ in range(1000)]
        plan = batches(lengths, 16, random.Random(2))
        self.assertEqual(sorted(i for batch in plan for i in batch), list(range(1000)))
        self.assertEqual(plan, batches(lengths, 16, random.Random(2)))
        padded = sum(len(batch) * max(lengths[i] for i in batch) for batch in plan)
        self.assertLess(padded, 1.06 * sum(lengths))

    def test_a_checkpoint_has_its_tokenizer_and_no_dropout(self) -> None:
        base, out = self.work / "base", self.work / "out"
        model = tiny()
        model.config.hidden_dropout_prob = 0.1
        model.save_pretrained(base)
        tokenizer = word_piece()
        tokenizer.save_pretrained(base)
        self.assertEqual(without_dropout(base).hidden_dropout_prob, 0.0)
        save_checkpoint(train(tiny(), task(), RECIPE, self.work / "s.pt"), base, out, {"base": base})
        self.assertEqual((out / "tokenizer.json").read_bytes(), (base / "tokenizer.json").read_bytes())
        self.assertIn('"steps": 20', (out / "training.json").read_text(encoding="utf-8"))
        tokenizer(["a good film", "a good film, a very good one"], padding=True, return_tensors="pt")
        self.assertEqual(token_counts(tokenizer, ["a good film", "good " * 30], 12), [5, 12])


if __name__ == "__main__":
    unittest.main()

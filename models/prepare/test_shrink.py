"""
python -m unittest test_shrink

Small random encoders are cut; what they say of texts that need no piece which went is what they said before.
"""

import json
import random
import tempfile
import unittest
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer, BertConfig, PreTrainedTokenizerFast, XLMRobertaConfig

from shrink import read_weights, shrink
from test_prepare import byte_pairs, word_piece
from text_data import read_texts_by_language
from vocabulary import Vocabulary

ENGLISH_WORDS = "wonderful terrible entertaining boring brilliant dreadful characters directing soundtrack dialogue ending".split()
RUSSIAN_WORDS = "чудесный ужасный скучный блестящий герои музыка диалоги концовка".split()


def texts_of(words: list[str], count: int) -> list[str]:
    return [" ".join(random.Random(i).choices(words, k=1 + i % 4)) for i in range(count)]


ENGLISH, RUSSIAN = texts_of(ENGLISH_WORDS, 60), texts_of(RUSSIAN_WORDS, 60)
SHAPE = dict(
    hidden_size=16, num_attention_heads=2, num_hidden_layers=3, intermediate_size=32, max_position_embeddings=40,
    hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
)  # fmt: skip


def unigram(special: tuple[str, ...] = ("<s>", "<pad>", "</s>", "<unk>")) -> PreTrainedTokenizerFast:
    """Words, their halves and letters; the mask comes behind all pieces, as in XLM-R."""
    words = [f"▁{word}" for word in ENGLISH_WORDS + RUSSIAN_WORDS]
    halves = [half for word in words for half in (word[: len(word) // 2], word[len(word) // 2 :])]
    letters = sorted(set("".join(words)))
    scores = {name: 0.0 for name in special} | dict.fromkeys(words, -8.0) | dict.fromkeys(halves, -9.5) | dict.fromkeys(letters, -11.0)
    # Goes when no text has it, and has the lowest score.
    scores["힣"] = -14.0
    tokenizer = Tokenizer(models.Unigram(list(scores.items()), unk_id=special.index("<unk>")))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.add_special_tokens([name for name in special if name.startswith("<")] + ["<mask>"])
    ids = [(name, tokenizer.token_to_id(name)) for name in ("<s>", "</s>")]
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=ids)
    names = dict(pad_token="<pad>", unk_token="<unk>", cls_token="<s>", sep_token="</s>", mask_token="<mask>")
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)


@torch.inference_mode()
def output(folder: Path, text: str) -> torch.Tensor:
    """Logits of a classifier, or the states of an encoder."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    classifier = "ForSequenceClassification" in (folder / "config.json").read_text(encoding="utf-8")
    model = (AutoModelForSequenceClassification if classifier else AutoModel).from_pretrained(folder).eval()
    # Padded, so that a wrong pad_token_id would show.
    inputs = tokenizer(text, padding="max_length", max_length=30, return_tensors="pt")
    mask = inputs["attention_mask"]
    result = model(input_ids=inputs["input_ids"], attention_mask=mask)
    return result.logits if classifier else result.last_hidden_state[0, : int(mask.sum())]


class Shrinking(unittest.TestCase):
    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.base, self.out = Path(scratch.name) / "base", Path(scratch.name) / "out"
        torch.set_num_threads(1)
        torch.manual_seed(0)

    def make(self, config, tokenizer: PreTrainedTokenizerFast, kind=AutoModel) -> None:
        config.vocab_size = len(tokenizer)
        kind.from_config(config).save_pretrained(self.base)
        tokenizer.save_pretrained(self.base)

    def cut(self, texts: list[str], size: int, layers: list[int] | None = None, **options) -> tuple[list[str], list[str]]:
        """Cuts by some texts; the texts of all that need no piece which went, and the others."""
        shrink(str(self.base), self.out, [0, 1, 2] if layers is None else layers, {"": texts}, size, **options)
        before, after = (AutoTokenizer.from_pretrained(folder) for folder in (self.base, self.out))
        pieces = set(after.get_vocab())
        every = ENGLISH + RUSSIAN
        kept = [text for text in every if pieces.issuperset(before.tokenize(text))]
        for text in kept:
            self.assertEqual(before.tokenize(text), after.tokenize(text))
        others = [text for text in every if text not in kept]
        for text in every:
            self.assertNotIn(after.unk_token, after.tokenize(text))
        self.assertEqual(sorted(after.get_vocab().values()), list(range(len(after))))
        self.assertTrue(kept and others, f"{len(kept)} texts are read as before, {len(others)} are not: the test shows nothing")
        return kept, others

    def test_a_unigram_vocabulary_reads_texts_as_before(self) -> None:
        self.make(BertConfig(**SHAPE, pad_token_id=0), unigram())
        kept, _others = self.cut(ENGLISH[:12] + RUSSIAN[:5], 54)
        # BERT's config names another padding token than the tokenizer: the tokenizer is right.
        config = json.loads((self.out / "config.json").read_text(encoding="utf-8"))
        self.assertEqual(config["pad_token_id"], AutoTokenizer.from_pretrained(self.out).pad_token_id)
        for text in kept[:5]:
            torch.testing.assert_close(output(self.base, text), output(self.out, text))

    def test_scores_and_the_penalty_of_the_unknown_stay(self) -> None:
        whole = Vocabulary.read(unigram().backend_tokenizer.to_str())
        kept = whole.choose(whole.count({"": ENGLISH[:12]}), 54, {})
        old, new = whole.definition["model"]["vocab"], whole.cut(kept).definition["model"]["vocab"]
        self.assertEqual(new, [old[i] for i in kept if i < len(old)])
        self.assertEqual(min(score for _, score in new), min(score for _, score in old))

    def test_xlm_roberta_counts_positions_behind_the_padding(self) -> None:
        # A piece before the padding token, which goes: its id changes, and the first position with it.
        tokenizer = unigram(("<s>", "unused", "<pad>", "</s>", "<unk>"))
        self.make(XLMRobertaConfig(**SHAPE, pad_token_id=2, bos_token_id=0, eos_token_id=3), tokenizer)
        kept, _others = self.cut(ENGLISH[:12] + RUSSIAN[:5], 54, positions=30)
        config = json.loads((self.out / "config.json").read_text(encoding="utf-8"))
        self.assertEqual([config[f"{name}_token_id"] for name in ("bos", "pad", "eos")], [0, 1, 2])
        self.assertEqual(config["max_position_embeddings"], 32)
        for text in kept[:5]:
            torch.testing.assert_close(output(self.base, text), output(self.out, text))
        with self.assertRaisesRegex(SystemExit, "--positions 38: the base has 37"):
            shrink(str(self.base), self.out, [0], positions=38)

    def test_a_word_piece_vocabulary_reads_texts_as_before(self) -> None:
        self.make(BertConfig(**SHAPE), word_piece())
        texts = ["the film was good", "thank you", "a slow film"]
        shrink(str(self.base), self.out, [0, 1, 2], {"": texts[:2]}, 60, positions=32)
        before, after = (AutoTokenizer.from_pretrained(folder) for folder in (self.base, self.out))
        self.assertEqual([before.tokenize(text) == after.tokenize(text) for text in texts], [True, True, False])
        for text in texts[:2]:
            torch.testing.assert_close(output(self.base, text), output(self.out, text))
        pieces = (self.out / "vocab.txt").read_text(encoding="utf-8").split()
        self.assertEqual(pieces[:5], ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])

    def test_languages_count_as_they_are_weighted(self) -> None:
        whole = Vocabulary.read(unigram().backend_tokenizer.to_str())
        counts = whole.count({"en": ENGLISH, "ru": RUSSIAN})

        def russian(weights: str) -> int:
            kept = whole.choose(counts, 60, read_weights(weights))
            return sum(whole.pieces[i].removeprefix("▁") in RUSSIAN_WORDS for i in kept)

        self.assertGreater(russian("ru=3,en=1"), russian("ru=0.01,*=1"))

    def test_a_classifier_keeps_its_head(self) -> None:
        self.make(BertConfig(**SHAPE, num_labels=3), unigram(), AutoModelForSequenceClassification)
        shrink(str(self.base), self.out, [0, 2])
        teacher = AutoModelForSequenceClassification.from_pretrained(self.base)
        student = AutoModelForSequenceClassification.from_pretrained(self.out)
        self.assertTrue(torch.equal(student.classifier.weight, teacher.classifier.weight))
        self.assertTrue(torch.equal(student.bert.pooler.dense.weight, teacher.bert.pooler.dense.weight))
        query = "attention.self.query.weight"
        self.assertTrue(torch.equal(student.bert.encoder.layer[1].get_parameter(query), teacher.bert.encoder.layer[2].get_parameter(query)))
        self.assertEqual(len(student.bert.encoder.layer), 2)

    def test_a_pooler_that_the_base_lacks_is_not_made_up(self) -> None:
        config = BertConfig(**SHAPE)
        config.vocab_size = len(unigram())
        model = AutoModel.from_config(config, add_pooling_layer=False)
        model.save_pretrained(self.base)
        unigram().save_pretrained(self.base)
        shrink(str(self.base), self.out, [0])
        self.assertIsNone(AutoModel.from_pretrained(self.out, add_pooling_layer=False).pooler)
        from safetensors import safe_open

        with safe_open(self.out / "model.safetensors", "pt") as weights:
            self.assertFalse([name for name in weights.keys() if "pooler" in name])

    def test_what_cannot_be_cut_says_so(self) -> None:
        self.make(XLMRobertaConfig(**SHAPE, pad_token_id=1), byte_pairs())
        with self.assertRaisesRegex(SystemExit, "has a BPE vocabulary"):
            shrink(str(self.base), self.out, [0], {"": ["x"]}, 100)
        with self.assertRaisesRegex(SystemExit, "layers 0 to 2"):
            shrink(str(self.base), self.out, [3])


class Texts(unittest.TestCase):
    def test_languages_of_json_lines(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "texts.jsonl"
            file.write_text('{"text": "a", "lang": "en"}\n{"text": " б ", "lang": "ru"}\n{"text": "c", "lang": "en"}\n{"text": "d"}\n')
            self.assertEqual(read_texts_by_language(file), {"en": ["a", "c"], "ru": ["б"], "": ["d"]})


if __name__ == "__main__":
    unittest.main()

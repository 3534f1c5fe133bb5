"""BentoML with adaptive batching on: its dispatcher chooses the size and the wait of each batch."""

import os

import bentoml
from classifier import Classifier


@bentoml.service(workers=int(os.environ["WORKERS"]))
class TextClassification:
    def __init__(self) -> None:
        self.classifier = Classifier()

    @bentoml.api(batchable=True, max_batch_size=int(os.environ["MAX_BATCH_SIZE"]))
    def predict(self, texts: list[str]) -> list[dict]:
        return [{"label": label, "score": score} for label, score in self.classifier.classify(texts)]

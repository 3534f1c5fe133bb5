"""LitServe with its batching on: every worker takes what is queued, up to a limit, as one padded batch."""

import os

import litserve as ls
from classifier import Classifier


class TextClassificationAPI(ls.LitAPI):
    def setup(self, device: str) -> None:
        self.classifier = Classifier()
        print("ready\n", end="", flush=True)

    def decode_request(self, request: dict) -> str:
        return request["text"]

    def batch(self, inputs: list[str]) -> list[str]:
        return inputs

    def predict(self, texts: list[str]) -> list[tuple[str, float]]:
        return self.classifier.classify(texts)

    def unbatch(self, output: list[tuple[str, float]]) -> list[tuple[str, float]]:
        return output

    def encode_response(self, output: tuple[str, float]) -> dict:
        label, score = output
        return {"label": label, "score": score}


if __name__ == "__main__":
    api = TextClassificationAPI(
        max_batch_size=int(os.environ["MAX_BATCH_SIZE"]),
        batch_timeout=float(os.environ["BATCH_TIMEOUT"]),
    )
    server = ls.LitServer(
        api,
        accelerator="cpu",
        workers_per_device=int(os.environ["WORKERS"]),
    )
    server.run(
        host="127.0.0.1",
        port=int(os.environ["PORT"]),
        log_level="warning",
        generate_client_file=False,
    )

"""FastAPI + ONNX Runtime as guides describe it: the model loaded in the lifespan, inference off the event loop."""

import asyncio
from contextlib import asynccontextmanager

from classifier import Classifier
from fastapi import FastAPI, Request
from pydantic import BaseModel, Field


class PredictRequest(BaseModel):
    text: str = Field(min_length=1, max_length=5000)


class PredictResponse(BaseModel):
    label: str
    score: float


@asynccontextmanager
async def lifespan(app: FastAPI):
    app.state.classifier = Classifier()
    print("ready\n", end="", flush=True)
    yield


app = FastAPI(lifespan=lifespan)


@app.post("/predict")
async def predict(body: PredictRequest, request: Request) -> PredictResponse:
    classifier: Classifier = request.app.state.classifier
    loop = asyncio.get_running_loop()
    ((label, score),) = await loop.run_in_executor(None, classifier.classify, [body.text])
    return PredictResponse(label=label, score=score)

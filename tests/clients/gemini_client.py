"""Drives Keyward with the official `google-genai` package, as a user would, and prints what it saw as one JSON object.

Run by tests/it/clients.rs; the address and the agent key come in the client's own environment variables.
"""

import json
import os

from google import genai
from google.genai import errors

MODEL = os.environ["KEYWARD_TEST_MODEL"]

client = genai.Client()


def chat(of, model=MODEL):
    return of.models.generate_content(model=model, contents="hello")


def tokens(usage):
    return [usage.prompt_token_count, usage.candidates_token_count]


def error_of(call):
    try:
        call()
    except errors.APIError as error:
        return [type(error).__name__, error.code, error.details["error"]["details"][0]["reason"]]
    return None


answer = chat(client)
chunks = list(client.models.generate_content_stream(model=MODEL, contents="hello"))
embedded = client.models.embed_content(model=MODEL, contents=["hello", "there"])
stranger = genai.Client(api_key="kw_not-a-key")

seen = {
    "chat": answer.text,
    "chat_tokens": tokens(answer.usage_metadata),
    "stream": "".join(chunk.text for chunk in chunks),
    "stream_chunks": len(chunks),
    "stream_tokens": tokens(chunks[-1].usage_metadata),
    "embeddings": [embedding.values for embedding in embedded.embeddings],
    "counted": client.models.count_tokens(model=MODEL, contents="hello").total_tokens,
    "models": [model.name for model in client.models.list()],
    "model": client.models.get(model=MODEL).name,
    "bad_key": error_of(lambda: chat(stranger)),
    "bad_key_for_models": error_of(lambda: list(stranger.models.list())),
    "unknown_model": error_of(lambda: chat(client, "nobody-knows-me")),
}
print(json.dumps(seen))

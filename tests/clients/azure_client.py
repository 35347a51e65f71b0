"""Drives Keyward with `AzureOpenAI` of the official `openai` package, and prints what it saw as one JSON object.

Run by tests/it/clients.rs; the address and the agent key come in the client's own environment variables.
"""

import json
import os

import openai

MODEL = os.environ["KEYWARD_TEST_MODEL"]
MESSAGES = [{"role": "user", "content": "hello"}]

client = openai.AzureOpenAI(max_retries=0)


def chat(of, model=MODEL):
    return of.chat.completions.create(model=model, messages=MESSAGES)


def stream(**options):
    return list(client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True, **options))


def text_of(chunks):
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)


def error_of(call):
    try:
        call()
    except openai.APIStatusError as error:
        return [type(error).__name__, error.code]
    return None


answer = chat(client)
streamed = stream()
with_usage = stream(stream_options={"include_usage": True})

seen = {
    "chat": answer.choices[0].message.content,
    "chat_tokens": answer.usage.total_tokens,
    "stream": text_of(streamed),
    "stream_has_usage": any(chunk.usage for chunk in streamed),
    "stream_has_filter_results": "prompt_filter_results" in streamed[0].model_extra,
    "stream_with_usage_tokens": with_usage[-1].usage.total_tokens,
    "embedding": list(client.embeddings.create(model=MODEL, input="hello").data[0].embedding),
    "models": [model.id for model in client.models.list()],
    "model": client.models.retrieve(MODEL).id,
    "bad_key": error_of(lambda: chat(client.with_options(api_key="kw_not-a-key"))),
    "bad_key_for_models": error_of(lambda: client.with_options(api_key="kw_not-a-key").models.list()),
    "unknown_model": error_of(lambda: chat(client, "nobody-knows-me")),
}
print(json.dumps(seen))

"""Drives Keyward with the official `openai` package, as a user would, and prints what it saw as one JSON object.

Run by tests/it/clients.rs; the address and the agent key come in the client's own environment variables.
"""

import json
import os

import openai

MODEL = os.environ["KEYWARD_TEST_MODEL"]
MESSAGES = [{"role": "user", "content": "hello"}]

client = openai.OpenAI(max_retries=0)


def chat(of):
    return of.chat.completions.create(model=MODEL, messages=MESSAGES)


def stream(**options):
    chunks = list(client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True, **options))
    text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    return text, [chunk.usage for chunk in chunks if chunk.usage]


def error_of(call):
    try:
        call()
    except openai.APIStatusError as error:
        return [type(error).__name__, error.code]
    return None


answer = chat(client)
streamed, uncalled_for_usage = stream()
_, usage = stream(stream_options={"include_usage": True})

seen = {
    "chat": answer.choices[0].message.content,
    "chat_tokens": answer.usage.total_tokens,
    "stream": streamed,
    "stream_has_usage": bool(uncalled_for_usage),
    "stream_with_usage_tokens": usage[0].total_tokens,
    "embedding": list(client.embeddings.create(model=MODEL, input="hello").data[0].embedding),
    "models": [model.id for model in client.models.list()],
    "chat_at_provider_route": chat(
        client.with_options(base_url=os.environ["KEYWARD_TEST_PROVIDER_BASE_URL"])
    ).choices[0].message.content,
    "bad_key": error_of(lambda: chat(client.with_options(api_key="kw_not-a-key"))),
    "unknown_model": error_of(
        lambda: client.chat.completions.create(model="nobody-knows-me", messages=MESSAGES)
    ),
}
print(json.dumps(seen))

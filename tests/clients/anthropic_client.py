"""Drives Keyward with the official `anthropic` package, as a user would, and prints what it saw as one JSON object.

Run by tests/it/clients.rs; the address and the agent key come in the client's own environment variables.
"""

import json
import os

import anthropic

MODEL = os.environ["KEYWARD_TEST_MODEL"]
MESSAGES = [{"role": "user", "content": "hello"}]

client = anthropic.Anthropic(max_retries=0)


def chat(of, model=MODEL):
    return of.messages.create(model=model, max_tokens=64, messages=MESSAGES)


def error_of(call):
    try:
        call()
    except anthropic.APIStatusError as error:
        return [type(error).__name__, error.body["error"]["code"]]
    return None


answer = chat(client)
with client.messages.stream(model=MODEL, max_tokens=64, messages=MESSAGES) as stream:
    streamed = "".join(stream.text_stream)
    final = stream.get_final_message()
stranger = anthropic.Anthropic(api_key="kw_not-a-key", max_retries=0)

seen = {
    "version": client.default_headers["anthropic-version"],
    "chat": answer.content[0].text,
    "chat_tokens": [answer.usage.input_tokens, answer.usage.output_tokens],
    "stream": streamed,
    "stream_tokens": [final.usage.input_tokens, final.usage.output_tokens],
    "stream_stop_reason": final.stop_reason,
    "counted": client.messages.count_tokens(model=MODEL, messages=MESSAGES).input_tokens,
    "models": [model.id for model in client.models.list()],
    "model": client.models.retrieve(MODEL).id,
    "bad_key": error_of(lambda: chat(stranger)),
    "bad_key_for_models": error_of(lambda: stranger.models.list()),
    "unknown_model": error_of(lambda: chat(client, "nobody-knows-me")),
}
print(json.dumps(seen))

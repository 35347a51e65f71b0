// Drives Keyward with the official `openai` package for Node, as a user would, and prints what it saw as one JSON
// object.
//
// Run by tests/it/clients.rs; the address and the agent key come in the client's own environment variables.

import OpenAI from "openai";

const model = process.env.KEYWARD_TEST_MODEL;
const messages = [{ role: "user", content: "hello" }];

const client = new OpenAI({ maxRetries: 0 });

const chat = (of) => of.chat.completions.create({ model, messages });

async function stream(options) {
  let text = "";
  const usage = [];
  for await (const chunk of await client.chat.completions.create({ model, messages, stream: true, ...options })) {
    text += chunk.choices.map((choice) => choice.delta.content ?? "").join("");
    if (chunk.usage) usage.push(chunk.usage);
  }
  return { text, usage };
}

async function errorOf(call) {
  try {
    await call();
  } catch (error) {
    if (error instanceof OpenAI.APIError) return [error.constructor.name, error.code];
    throw error;
  }
  return null;
}

async function all(pages) {
  const items = [];
  for await (const item of pages) items.push(item);
  return items;
}

const answer = await chat(client);
const streamed = await stream({});
const withUsage = await stream({ stream_options: { include_usage: true } });
const embedded = await client.embeddings.create({ model, input: "hello" });
const elsewhere = client.withOptions({ baseURL: process.env.KEYWARD_TEST_PROVIDER_BASE_URL });

const seen = {
  chat: answer.choices[0].message.content,
  chat_tokens: answer.usage.total_tokens,
  stream: streamed.text,
  stream_has_usage: streamed.usage.length > 0,
  stream_with_usage_tokens: withUsage.usage[0].total_tokens,
  embedding: embedded.data[0].embedding,
  models: (await all(client.models.list())).map((entry) => entry.id),
  chat_at_provider_route: (await chat(elsewhere)).choices[0].message.content,
  bad_key: await errorOf(() => chat(client.withOptions({ apiKey: "kw_not-a-key" }))),
  unknown_model: await errorOf(() => client.chat.completions.create({ model: "nobody-knows-me", messages })),
};
console.log(JSON.stringify(seen));

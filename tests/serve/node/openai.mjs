// The official npm client against a server: node openai.mjs http://127.0.0.1:PORT/v1
// Says what was seen as one JSON object; what it should be is in test_openai_npm.py.

import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

// The package is installed elsewhere, in the folder in which this is run.
const entry = createRequire(`${process.cwd()}/package.json`).resolve("openai");
const { default: OpenAI } = await import(pathToFileURL(entry));

const client = new OpenAI({ baseURL: process.argv[2], apiKey: "none", maxRetries: 0, timeout: 60_000 });
const base = { model: "bundled", messages: [{ role: "user", content: "What is 17 times 23?" }] };
const tools = [
  {
    type: "function",
    function: {
      name: "weather",
      parameters: {
        type: "object",
        properties: { city: { enum: ["Bonn", "Paris"] } },
        required: ["city"],
        additionalProperties: false,
      },
    },
  },
];

const required = { tools, tool_choice: "required", parallel_tool_calls: false };

async function streamed(fields) {
  const seen = { thought: "", answer: "", reasons: [] };
  const stream = await client.chat.completions.create({ ...base, ...fields, stream: true });
  for await (const chunk of stream) {
    const { delta, finish_reason } = chunk.choices[0];
    seen.thought += delta.reasoning_content ?? "";
    seen.answer += delta.content ?? "";
    if (finish_reason) seen.reasons.push(finish_reason);
  }
  return seen;
}

async function toolTurn() {
  const first = await client.chat.completions.create({ ...base, ...required });
  const { finish_reason, message } = first.choices[0];
  const results = message.tool_calls.map((call) => ({ role: "tool", tool_call_id: call.id, content: "It rains." }));
  const messages = [...base.messages, message, ...results];
  const second = await client.chat.completions.create({ ...base, messages, tools, max_tokens: 100 });
  return { reason: finish_reason, calls: message.tool_calls, second: second.object };
}

async function gathered() {
  const stream = client.chat.completions.stream({ ...base, ...required });
  const completion = await stream.finalChatCompletion();
  return completion.choices[0].message.tool_calls;
}

async function schema() {
  const json_schema = {
    name: "sum",
    strict: true,
    schema: {
      type: "object",
      properties: { result: { type: "integer" } },
      required: ["result"],
      additionalProperties: false,
    },
  };
  const answer = await client.chat.completions.create({
    ...base,
    response_format: { type: "json_schema", json_schema },
  });
  return JSON.parse(answer.choices[0].message.content);
}

async function failure(fields) {
  try {
    await client.chat.completions.create({ ...base, ...fields });
    return null;
  } catch (error) {
    return { name: error.constructor.name, status: error.status, param: error.param, code: error.code };
  }
}

async function hungUp() {
  const stream = await client.chat.completions.create({ ...base, stream: true });
  for await (const _ of stream) break;
  return stream.controller.signal.aborted;
}

const whole = await client.chat.completions.create({ ...base, thinking: { type: "enabled" } });
const models = [];
for await (const model of client.models.list()) models.push(model.id);

console.log(
  JSON.stringify({
    whole: whole.choices[0].message,
    usage: whole.usage,
    streamed: await streamed({}),
    tools: await toolTurn(),
    gathered: await gathered(),
    schema: await schema(),
    unknown: await failure({ model: "gpt-4" }),
    wrong: await failure({ temperature: 3 }),
    hungUp: await hungUp(),
    models,
  }),
);

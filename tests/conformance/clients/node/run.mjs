// The script through the Node client named by the argument. One line of JSON a call.
import { readFileSync } from "node:fs";

const { default: OpenAI, APIError, toFile } = await import(process.argv[2]);
const given = JSON.parse(readFileSync(0, "utf8"));

async function listed(pages) {
  const found = [];
  for await (const each of pages) found.push(each);
  return found;
}

async function answer(client, kind, params) {
  const create = {
    chat: () => client.chat.completions.create(params),
    completion: () => client.completions.create(params),
    embedding: () => client.embeddings.create(params),
    response: () => client.responses.create(params),
    model: () => client.models.retrieve(params.model),
  }[kind];
  if (create) return params.stream ? listed(await create()) : create();
  if (kind === "models") return listed(client.models.list());
  const file = await client.files.create({ file: await toFile(Buffer.from(params.content), "requests.jsonl"), purpose: "batch" });
  return kind === "file" ? kept(client, file.id) : executed(client, file.id);
}

// What can be done with a file, ending with its deletion.
async function kept(client, file) {
  const content = await (await client.files.content(file)).text();
  const ids = (await listed(client.files.list())).map((each) => each.id);
  const found = ids.includes(file) && (await client.files.retrieve(file)).id === file;
  return { content, listed: found, deleted: (await client.files.delete(file)).deleted };
}

async function executed(client, file) {
  let batch = await client.batches.create({ input_file_id: file, endpoint: "/v1/chat/completions", completion_window: "24h" });
  while (["validating", "in_progress", "finalizing"].includes(batch.status)) {
    await new Promise((resolve) => setTimeout(resolve, 200));
    batch = await client.batches.retrieve(batch.id);
  }
  return { status: batch.status, content: await (await client.files.content(batch.output_file_id)).text() };
}

for (const call of given.calls) {
  const options = { apiKey: given.keys[call.key], maxRetries: call.retries };
  const client = new OpenAI({ baseURL: given.base_url, timeout: 120_000, ...options });
  let line;
  try {
    line = { answer: await answer(client, call.kind, call.params) };
  } catch (error) {
    if (!(error instanceof APIError)) throw error;
    const { status, param, code, message: said } = error;
    line = { error: { classes: [error.constructor.name], status, param, code, said } };
  }
  console.log(JSON.stringify({ call: call.name, ...line }));
}

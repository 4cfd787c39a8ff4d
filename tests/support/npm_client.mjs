// The client of the npm package @modelcontextprotocol/sdk: connects to a server, and does what stdin asks for.
// usage: node npm_client.mjs COMMAND ARGUMENT… < requests.json       prints a JSON object
import { readFileSync } from "node:fs";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { ResourceUpdatedNotificationSchema } from "@modelcontextprotocol/sdk/types.js";

const [command, ...args] = process.argv.slice(2);
const { calls, env, appendTo, line } = JSON.parse(readFileSync(0, "utf8"));
const client = new Client({ name: "npm", version: "1" });
await client.connect(new StdioClientTransport({ command, args, env, stderr: "inherit" }));
const { tools } = await client.listTools();
const results = [];
const progress = [];
for (const [name, given] of calls) {
  // It checks the data against the schema that the tool declares.
  results.push(
    await client.callTool({ name, arguments: given }, undefined, { onprogress: (one) => progress.push(one) }),
  );
}
let notified = null;
if (appendTo) {
  const { appendFileSync } = await import("node:fs");
  const came = new Promise((resolve) =>
    client.setNotificationHandler(ResourceUpdatedNotificationSchema, ({ params }) => resolve(params.uri)),
  );
  await client.subscribeResource({ uri: "vdbevents://live" });
  appendFileSync(appendTo, line);
  notified = await came;
}
const { resources } = await client.listResources();
const { prompts } = await client.listPrompts();
await client.close();
console.log(
  JSON.stringify({
    tools: tools.map((tool) => tool.name),
    results,
    progress,
    notified,
    resources: resources.map((one) => one.uri),
    prompts: prompts.map((one) => one.name),
  }),
);

// The client of the npm package @modelcontextprotocol/sdk: connects to a server, and does what stdin asks for.
// usage: node npm_client.mjs COMMAND ARGUMENT… < requests.json       prints a line for each thing that happens:
//        {"progress": …} of a call, {"subscribed": true}, and at last {"done": …}
import { readFileSync } from "node:fs";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { ResourceUpdatedNotificationSchema } from "@modelcontextprotocol/sdk/types.js";

const [command, ...args] = process.argv.slice(2);
const { calls, env } = JSON.parse(readFileSync(0, "utf8"));
const client = new Client({ name: "npm", version: "1" });
await client.connect(new StdioClientTransport({ command, args, env, stderr: "inherit" }));
const { tools } = await client.listTools();
const results = [];
const tell = (what) => console.log(JSON.stringify(what));
for (const [name, given] of calls) {
  // It checks the data against the schema that the tool declares.
  results.push(
    await client.callTool({ name, arguments: given }, undefined, { onprogress: (progress) => tell({ progress }) }),
  );
}
const came = new Promise((resolve) =>
  client.setNotificationHandler(ResourceUpdatedNotificationSchema, ({ params }) => resolve(params.uri)),
);
await client.subscribeResource({ uri: "vdbevents://live" });
tell({ subscribed: true });
const notified = await came;
const { resources } = await client.listResources();
const { prompts } = await client.listPrompts();
await client.close();
tell({
  done: {
    tools: tools.map((tool) => tool.name),
    results,
    notified,
    resources: resources.map((one) => one.uri),
    prompts: prompts.map((one) => one.name),
  },
});

// Drives the official TypeScript SDK, first generation, as its users would.

import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import * as types from "@modelcontextprotocol/sdk/types.js";
import { calling, common, elicit, event, fetching, sample, serve } from "./javascript_lines.mjs";

serve(async (command) => {
  if (command.era === "modern") throw new Error("this generation knows no 2026-07-28");
  const client = new Client(
    { name: "cortex-clients", version: "1" },
    { capabilities: { sampling: {}, elicitation: {} } },
  );
  client.setRequestHandler(types.CreateMessageRequestSchema, sample);
  client.setRequestHandler(types.ElicitRequestSchema, elicit);
  for (const schema of [
    types.ResourceUpdatedNotificationSchema,
    types.ToolListChangedNotificationSchema,
    types.LoggingMessageNotificationSchema,
  ]) {
    client.setNotificationHandler(schema, (heard) => event("notification", heard));
  }
  const transport = command.command
    ? new StdioClientTransport({
        command: command.command[0],
        args: command.command.slice(1),
        env: command.env,
      })
    : new StreamableHTTPClientTransport(new URL(command.url), {
        fetch: fetching,
        requestInit: { headers: { Authorization: `Bearer ${command.token}` } },
      });
  const timeout = command.timeout * 1000;
  // This generation tells nobody but the transport which revision was agreed on.
  let protocolVersion;
  const told = transport.setProtocolVersion?.bind(transport);
  transport.setProtocolVersion = (revision) => {
    protocolVersion = revision;
    told?.(revision);
  };
  await client.connect(transport, { timeout });
  const greeting = {
    protocolVersion,
    serverInfo: client.getServerVersion(),
    capabilities: client.getServerCapabilities(),
    instructions: client.getInstructions(),
  };
  const run = async (asked, signal) => {
    const options = { signal, timeout };
    if (asked.op === "tools/call") {
      const params = { name: asked.name, arguments: asked.arguments };
      return client.callTool(params, undefined, calling(asked, options));
    }
    if (asked.op === "resources/subscribe") {
      return client.subscribeResource({ uri: asked.uri }, options);
    }
    return common(client, asked, options);
  };
  const close = async () => {
    await transport.terminateSession?.();
    await client.close();
  };
  return { greeting, run, close };
});

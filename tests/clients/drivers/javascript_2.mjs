// Drives the official TypeScript SDK, second generation, as its users would.

import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";
import { calling, common, elicit, event, fetching, sample, serve } from "./javascript_lines.mjs";

const MODES = { legacy: "legacy", auto: "auto", modern: { pin: "2026-07-28" } };

serve(async (command) => {
  const client = new Client(
    { name: "cortex-clients", version: "1" },
    {
      capabilities: { sampling: {}, elicitation: { form: {} } },
      versionNegotiation: { mode: MODES[command.era] },
    },
  );
  client.setRequestHandler("sampling/createMessage", sample);
  client.setRequestHandler("elicitation/create", elicit);
  for (const method of [
    "notifications/resources/updated",
    "notifications/tools/list_changed",
    "notifications/message",
  ]) {
    client.setNotificationHandler(method, (heard) => event("notification", heard));
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
  await client.connect(transport, { timeout });
  const greeting = {
    protocolVersion: client.getNegotiatedProtocolVersion(),
    serverInfo: client.getServerVersion() ?? {},
    capabilities: client.getServerCapabilities(),
    instructions: client.getInstructions(),
  };
  const run = async (asked, signal) => {
    const options = { signal, timeout, cacheMode: "refresh" };
    if (asked.op === "tools/call") {
      const params = { name: asked.name, arguments: asked.arguments };
      return client.callTool(params, calling(asked, options));
    }
    if (asked.op === "resources/subscribe") {
      if (client.getProtocolEra() === "legacy") {
        return client.subscribeResource({ uri: asked.uri }, options);
      }
      await client.listen({ resourceSubscriptions: [asked.uri] });
      return {};
    }
    return common(client, asked, options);
  };
  const close = async () => {
    await transport.terminateSession?.().catch(() => {});
    await client.close();
  };
  return { greeting, run, close };
});

// Commands as lines on standard input, answers and events as lines on standard output: the part
// that the drivers of both generations of the TypeScript SDK share.

import { createInterface } from "node:readline";

export function say(message) {
  process.stdout.write(`${JSON.stringify(message)}\n`);
}

/** Tells of something nobody asked for. */
export function event(kind, more) {
  say({ event: kind, ...more });
}

/** Fetches, and tells of an answer that shows the door. */
export async function fetching(...asked) {
  const response = await fetch(...asked);
  if (response.status === 401) {
    event("refused", { challenge: response.headers.get("www-authenticate") });
  }
  return response;
}

function told(error) {
  const found = { message: `${error?.name}: ${error?.message}` };
  for (let one = error; one; one = one.cause) {
    if (Number.isInteger(one.code) && one.code < 0) found.code = one.code;
  }
  return found;
}

/** What a model and a person would answer, if there were one. */
export function sample(request) {
  event("sampling", { params: request.params });
  return { role: "assistant", model: "none", content: { type: "text", text: "a made-up answer" } };
}

export function elicit(request) {
  event("elicitation", { params: request.params });
  return { action: "accept", content: { name: "Ann" } };
}

/** Connects as the first command says, then runs each command beside the others. */
export async function serve(connect) {
  const lines = createInterface({ input: process.stdin });
  const controllers = new Map();
  let run;
  let close;
  for await (const line of lines) {
    const command = JSON.parse(line);
    if (!run) {
      try {
        let greeting;
        ({ greeting, run, close } = await connect(command));
        say({ id: command.id, ok: greeting });
      } catch (error) {
        say({ id: command.id, error: told(error) });
        process.exit(1);
      }
    } else if (command.op === "cancel") {
      controllers.get(command.of)?.abort("no longer wanted");
      say({ id: command.id, ok: {} });
    } else if (command.op === "leave") {
      await close();
      say({ id: command.id, ok: {} });
      process.exit(0);
    } else {
      const controller = new AbortController();
      controllers.set(command.id, controller);
      run(command, controller.signal).then(
        (result) => say({ id: command.id, ok: result ?? {} }),
        (error) => {
          const cancelled = controller.signal.aborted;
          say({ id: command.id, error: { ...told(error), ...(cancelled && { cancelled }) } });
        },
      );
    }
  }
  await close?.();
  process.exit(0);
}

/** What both generations call alike. */
export async function common(client, asked, options) {
  const page = asked.cursor === undefined ? undefined : { cursor: asked.cursor };
  switch (asked.op) {
    case "tools/list":
      return client.listTools(page, options);
    case "resources/list":
      return client.listResources(page, options);
    case "resources/templates/list":
      return client.listResourceTemplates(page, options);
    case "prompts/list":
      return client.listPrompts(page, options);
    case "resources/read":
      return client.readResource({ uri: asked.uri }, options);
    case "prompts/get":
      return client.getPrompt({ name: asked.name, arguments: asked.arguments }, options);
    case "completion/complete": {
      const ref = asked.prompt
        ? { type: "ref/prompt", name: asked.prompt }
        : { type: "ref/resource", uri: asked.template };
      const argument = { name: asked.argument, value: asked.value };
      return client.complete({ ref, argument }, options);
    }
    default:
      throw new Error(`not known: ${asked.op}`);
  }
}

/** The options of a call, with a listener for its progress. */
export function calling(asked, options) {
  const onprogress = ({ progress, total }) => event("progress", { of: asked.id, progress, total });
  return asked.progress ? { ...options, onprogress } : options;
}

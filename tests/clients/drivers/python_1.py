"""Drives the official Python SDK, first generation, as its users would."""

from contextlib import asynccontextmanager
from datetime import timedelta

import anyio
import httpx
from mcp import ClientSession, StdioServerParameters, types
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client

from python_lines import answered, event, plain, serve


async def sample(_context, params):
    event("sampling", params=plain(params))
    content = types.TextContent(type="text", text="a made-up answer")
    return types.CreateMessageResult(role="assistant", model="none", content=content)


async def elicit(_context, params):
    event("elicitation", params=plain(params))
    return types.ElicitResult(action="accept", content={"name": "Ann"})


async def heard(message):
    if isinstance(message, types.ServerNotification):
        event("notification", **plain(message.root))


@asynccontextmanager
async def connect(command):
    if command["era"] == "modern":
        raise ValueError("this generation knows no 2026-07-28")
    if "command" in command:
        program, *arguments = command["command"]
        server = StdioServerParameters(command=program, args=arguments, env=command["env"])
        async with stdio_client(server) as (read, write), session(command, read, write) as made:
            yield made
        return
    headers = {"Authorization": f"Bearer {command['token']}"}
    timeout = httpx.Timeout(command["timeout"])
    hooks = {"response": [answered]}
    async with httpx.AsyncClient(headers=headers, timeout=timeout, event_hooks=hooks) as web:
        transport = streamable_http_client(command["url"], http_client=web)
        async with transport as (read, write, _), session(command, read, write) as made:
            yield made


@asynccontextmanager
async def session(command, read, write):
    async with ClientSession(
        read,
        write,
        read_timeout_seconds=timedelta(seconds=command["timeout"]),
        sampling_callback=sample,
        elicitation_callback=elicit,
        message_handler=heard,
    ) as client:
        yield plain(await client.initialize()), runner(client)


def runner(client):
    async def call(asked):
        async def progressed(progress, total, _message):
            event("progress", of=asked["id"], progress=progress, total=total)
        # This generation numbers its requests so and tells no server of its own that a call is
        # over: its users send the notification themselves.
        number = client._request_id
        progress = progressed if asked.get("progress") else None
        try:
            return plain(await client.call_tool(
                asked["name"], asked["arguments"], progress_callback=progress))
        except anyio.get_cancelled_exc_class():
            with anyio.CancelScope(shield=True):
                params = types.CancelledNotificationParams(requestId=number)
                await client.send_notification(
                    types.ClientNotification(types.CancelledNotification(params=params)))
            raise

    async def run(asked):
        page = types.PaginatedRequestParams(cursor=asked.get("cursor"))
        match asked["op"]:
            case "tools/list":
                return plain(await client.list_tools(params=page))
            case "resources/list":
                return plain(await client.list_resources(params=page))
            case "resources/templates/list":
                return plain(await client.list_resource_templates(params=page))
            case "prompts/list":
                return plain(await client.list_prompts(params=page))
            case "tools/call":
                return await call(asked)
            case "resources/read":
                return plain(await client.read_resource(asked["uri"]))
            case "prompts/get":
                return plain(await client.get_prompt(asked["name"], asked["arguments"]))
            case "completion/complete":
                ref = (types.PromptReference(type="ref/prompt", name=asked["prompt"])
                       if "prompt" in asked
                       else types.ResourceTemplateReference(
                           type="ref/resource", uri=asked["template"]))
                argument = {"name": asked["argument"], "value": asked["value"]}
                return plain(await client.complete(ref, argument))
            case "resources/subscribe":
                return plain(await client.subscribe_resource(asked["uri"]))
        raise ValueError(asked["op"])

    return run


anyio.run(serve, connect)

"""Drives the official Python SDK, second generation, as its users would."""

import warnings
from contextlib import asynccontextmanager

import anyio
import httpx2
from mcp import Client
from mcp.client.stdio import StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CreateMessageResult, ElicitResult, PromptReference
from mcp_types import ResourceTemplateReference, TextContent

from python_lines import answered, event, plain, serve

warnings.simplefilter("ignore")


async def sample(_context, params):
    event("sampling", params=plain(params))
    content = TextContent(type="text", text="a made-up answer")
    return CreateMessageResult(role="assistant", model="none", content=content)


async def elicit(_context, params):
    event("elicitation", params=plain(params))
    return ElicitResult(action="accept", content={"name": "Ann"})


async def heard(message):
    if type(message).__name__.endswith("Notification"):
        event("notification", **plain(message))


@asynccontextmanager
async def connect(command):
    common = {
        "mode": {"legacy": "legacy", "auto": "auto", "modern": "2026-07-28"}[command["era"]],
        "sampling_callback": sample,
        "elicitation_callback": elicit,
        "message_handler": heard,
        "cache": None,
        "read_timeout_seconds": command["timeout"],
    }
    if "command" in command:
        program, *arguments = command["command"]
        server = StdioServerParameters(command=program, args=arguments, env=command["env"])
        async with Client(server, **common) as client, anyio.create_task_group() as group:
            yield greeting(client), runner(client, group)
            group.cancel_scope.cancel()
        return
    headers = {"Authorization": f"Bearer {command['token']}"}
    timeout = httpx2.Timeout(command["timeout"])
    hooks = {"response": [answered]}
    async with httpx2.AsyncClient(headers=headers, timeout=timeout, event_hooks=hooks) as web:
        transport = streamable_http_client(command["url"], http_client=web)
        async with Client(transport, **common) as client, anyio.create_task_group() as group:
            yield greeting(client), runner(client, group)
            group.cancel_scope.cancel()


def greeting(client):
    return {
        "protocolVersion": client.protocol_version,
        "serverInfo": plain(client.server_info) if client.server_info else {},
        "capabilities": plain(client.server_capabilities),
        "instructions": client.instructions,
    }


def runner(client, group):
    async def follow(uri, ready, refused):
        try:
            async with client.listen(resource_subscriptions=[uri]) as changes:
                ready.set()
                async for change in changes:
                    event("notification", method="notifications/resources/updated",
                          params={"uri": change.uri})
        except Exception as error:
            refused.append(error)
            ready.set()

    async def subscribe(uri):
        if client.protocol_version < "2026":
            return plain(await client.subscribe_resource(uri))
        ready, refused = anyio.Event(), []
        group.start_soon(follow, uri, ready, refused)
        await ready.wait()
        if refused:
            raise refused[0]
        return {}

    async def run(asked):
        match asked["op"]:
            case "tools/list":
                return plain(await client.list_tools(cursor=asked.get("cursor")))
            case "resources/list":
                return plain(await client.list_resources(cursor=asked.get("cursor")))
            case "resources/templates/list":
                return plain(await client.list_resource_templates(cursor=asked.get("cursor")))
            case "prompts/list":
                return plain(await client.list_prompts(cursor=asked.get("cursor")))
            case "tools/call":
                async def progressed(progress, total, _message):
                    event("progress", of=asked["id"], progress=progress, total=total)
                progress = progressed if asked.get("progress") else None
                return plain(await client.call_tool(
                    asked["name"], asked["arguments"], progress_callback=progress))
            case "resources/read":
                return plain(await client.read_resource(asked["uri"]))
            case "prompts/get":
                return plain(await client.get_prompt(asked["name"], asked["arguments"]))
            case "completion/complete":
                ref = (PromptReference(type="ref/prompt", name=asked["prompt"])
                       if "prompt" in asked
                       else ResourceTemplateReference(type="ref/resource", uri=asked["template"]))
                argument = {"name": asked["argument"], "value": asked["value"]}
                return plain(await client.complete(ref, argument))
            case "resources/subscribe":
                return await subscribe(asked["uri"])
        raise ValueError(asked["op"])

    return run


anyio.run(serve, connect)

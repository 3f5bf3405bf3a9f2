"""A small server made with FastMCP, over HTTP on a port of the system's choice, or the one given."""

import asyncio
import socket
import sys

import uvicorn
from fastmcp import Context, FastMCP
from fastmcp.exceptions import ToolError
from mcp_types import ElicitRequest, ElicitRequestFormParams, InputRequiredResult

server = FastMCP("fast")
cancelled = 0


@server.tool
def add(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b


@server.tool
async def wait(seconds: float) -> str:
    """Waits, and counts who does not wait to the end."""
    global cancelled
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        cancelled += 1
        raise
    return "waited"


@server.tool
def count_cancelled() -> int:
    """How many did not wait to the end."""
    return cancelled


@server.tool
async def walk(steps: int, context: Context) -> str:
    """Goes some steps and reports each."""
    for step in range(1, steps + 1):
        await context.report_progress(progress=step, total=steps)
    return "arrived"


@server.tool
def ask_person(context: Context) -> str:
    """Asks whoever sits before the client for a name: the answer comes with the next call."""
    if not context.input_responses:
        schema = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
        params = ElicitRequestFormParams(message="What is your name?", requested_schema=schema)
        asked = ElicitRequest(method="elicitation/create", params=params)
        return InputRequiredResult(input_requests={"name": asked}, request_state="asked")
    answer = context.input_responses["name"]
    return f"{answer.action}: {answer.content['name']}, {context.request_state}"


@server.tool
def fail() -> str:
    """Fails."""
    raise ToolError("it was meant to fail")


@server.resource("data://greeting")
def greeting() -> str:
    """A greeting."""
    return "hello"


@server.resource("data://greeting/{name}")
def greeting_for(name: str) -> str:
    """A greeting for someone."""
    return f"hello {name}"


@server.prompt
def greet(name: str) -> str:
    """Asks for a greeting."""
    return f"Greet {name}"


def main():
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", int(sys.argv[1])))
    print(f"listening on 127.0.0.1:{listener.getsockname()[1]}", file=sys.stderr, flush=True)
    config = uvicorn.Config(server.http_app(path="/mcp"), log_level="warning")
    uvicorn.Server(config).run(sockets=[listener])


main()

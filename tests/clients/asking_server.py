"""A small server made with the first generation of the official Python SDK, which asks whoever calls
it: over HTTP on the port given, 0 for a free one, else over standard input and output."""

import socket
import sys

import uvicorn
from mcp.server.fastmcp import Context, FastMCP
from mcp.types import SamplingMessage, TextContent
from pydantic import BaseModel

server = FastMCP("asker")


class Named(BaseModel):
    """What a person is asked."""

    name: str


@server.tool()
async def ask_person(context: Context) -> str:
    """Asks whoever sits before the client for a name."""
    answer = await context.elicit("What is your name?", schema=Named)
    return f"{answer.action}: {answer.data.name}"


@server.tool()
async def ask_model(context: Context) -> str:
    """Asks the client's model."""
    content = TextContent(type="text", text="what?")
    messages = [SamplingMessage(role="user", content=content)]
    answer = await context.session.create_message(messages, max_tokens=10)
    return f"it said: {answer.content.text}"


def serve(port):
    """Serves over HTTP."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    print(f"listening on 127.0.0.1:{listener.getsockname()[1]}", file=sys.stderr, flush=True)
    config = uvicorn.Config(server.streamable_http_app(), log_level="warning")
    uvicorn.Server(config).run(sockets=[listener])


if len(sys.argv) > 1:
    serve(int(sys.argv[1]))
else:
    server.run()

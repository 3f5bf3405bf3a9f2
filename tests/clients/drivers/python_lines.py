"""Commands as lines on standard input, answers and events as lines on standard output: the part
that the drivers of both generations of the Python SDK share."""

import json
import sys

import anyio


def say(message):
    """Writes one message."""
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def event(kind, **more):
    """Tells of something nobody asked for."""
    say({"event": kind, **more})


def plain(model):
    """What came over the wire, with the names it has there."""
    return model.model_dump(mode="json", by_alias=True, exclude_none=True)


async def answered(response):
    """Tells of an answer that shows the door."""
    if response.status_code == 401:
        event("refused", challenge=response.headers.get("www-authenticate"))


def told(error):
    """What a failure says, with the protocol's code behind it, wherever that is."""
    found = {"message": f"{type(error).__name__}: {error}"}
    for one in every(error):
        inner = getattr(one, "error", None)
        if getattr(inner, "code", None) is not None:
            found.update(code=inner.code, message=inner.message)
    return found


def every(error):
    """The failure, and those it is made of."""
    yield error
    for one in getattr(error, "exceptions", ()):
        yield from every(one)
    for one in (error.__cause__, error.__context__):
        if one is not None and one is not error:
            yield from every(one)
            return


async def serve(connect):
    """Connects as the first command says, then runs each command beside the others, until the
    input ends. `connect` is given the command, and yields what runs the others."""
    lines = anyio.wrap_file(sys.stdin)
    first = json.loads(await lines.readline())
    try:
        async with connect(first) as (greeting, run):
            say({"id": first["id"], "ok": greeting})
            async with anyio.create_task_group() as group:
                scopes = {}
                while line := await lines.readline():
                    command = json.loads(line)
                    if command["op"] == "cancel":
                        scopes[command["of"]].cancel()
                        say({"id": command["id"], "ok": {}})
                        continue
                    if command["op"] == "leave":
                        say({"id": command["id"], "ok": {}})
                        break
                    group.start_soon(_one, command, run, scopes)
                group.cancel_scope.cancel()
    except BaseException as error:  # Whatever it is, whoever started this is told.
        say({"id": first["id"], "error": told(error)})
        raise SystemExit(1) from None


async def _one(command, run, scopes):
    with anyio.CancelScope() as scope:
        scopes[command["id"]] = scope
        try:
            say({"id": command["id"], "ok": await run(command)})
        except Exception as error:
            say({"id": command["id"], "error": told(error)})
    if scope.cancelled_caught:
        say({"id": command["id"], "error": {"message": "cancelled", "cancelled": True}})

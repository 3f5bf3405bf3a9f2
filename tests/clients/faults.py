"""What clients see when a server behind core is killed: the others unhurt, a clear word, and the
server back by itself."""

import os
import signal
import time

from behind import ALIVE, LONG, answers, text
from session import Refused
from stage import within

# Longest that anything may take while a server is away, in seconds.
PROMPT = 5.0


def others(session, but):
    """Everybody else answers, promptly."""
    for name in ALIVE:
        if name != but:
            began = time.monotonic()
            answers(session, name)
            took = time.monotonic() - began
            assert took < PROMPT, f"{name} took {took:.1f} s while {but} was away"
    began = time.monotonic()
    tools = [tool["name"] for tool in session.ask("tools/list")["tools"]]
    assert time.monotonic() - began < PROMPT, "the list took too long"
    assert "memory__store_input" in tools, tools


def back(session, name):
    """It answers again, by itself."""
    def again():
        try:
            return answers(session, name)
        except (AssertionError, Refused):
            return None

    within(session.deadline, again, f"{name} is back")


def says_clearly(session, name):
    """A call to what is away names it, at once."""
    tool, arguments, _ = ALIVE[name]
    began = time.monotonic()
    try:
        result = session.call(f"{name}__{tool}", arguments)
        assert result.get("isError"), f"{name} was answered: {result}"
        said = text(result)
    except Refused as error:
        said = str(error)
    assert time.monotonic() - began < PROMPT, f"{said}: after {time.monotonic() - began:.1f} s"
    assert name in said, f"{name} is not named: {said}"


def child_killed(plane, session, name, *words):
    """A child of core's."""
    pid = plane.child(*words)
    assert pid, f"no process of {name}"
    under_way = session.begin(
        "tools/call", name=f"{name}__{LONG}", arguments={"duration": 60, "steps": 1}
    ) if name == "every" else None
    if under_way is not None:
        # It has what came before by the time it answers this.
        answers(session, name)
    os.kill(pid, signal.SIGKILL)
    if under_way is not None:
        try:
            result = session.end(under_way, "the call under way")
            assert result.get("isError") and name in text(result), result
        except Refused as error:
            assert name in str(error), error
    others(session, name)
    back(session, name)
    assert plane.child(*words) != pid


def server_killed(session, server):
    """A server that listens itself."""
    server.kill()
    says_clearly(session, server.name)
    others(session, server.name)
    server.start(session.deadline)
    back(session, server.name)


def run(clients, report, servers, version):
    """All of it, with a client of each era."""
    plane = clients.backplane
    for client, era in (("javascript_2", "modern"), ("python_1", "legacy")):
        session = clients.meet(client, era, url=f"{plane.urls['core']}/mcp")
        children = [("every", "server-everything", "stdio"), ("graph", "server-memory")]
        tasks = [(f"{name} killed", lambda name=name, words=words:
                  child_killed(plane, session, name, *words)) for name, *words in children]
        tasks += [(f"{server.name} killed", lambda server=server: server_killed(session, server))
                  for server in servers]
        report.row("kill -9", version, era, "upstreams", tasks)
        session.kill()

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


def failed(name, called):
    """A call to what is away fails at once, and names it."""
    began = time.monotonic()
    try:
        result = called()
        assert result.get("isError"), f"{name} has answered: {result}"
        said = text(result)
    except Refused as error:
        said = str(error)
    took = time.monotonic() - began
    assert took < PROMPT, f"{said}: after {took:.1f} s"
    assert name in said, f"{name} is not named: {said}"


def child_killed(plane, session, name, *words):
    """A child of core's. What may be repeated and was under way is repeated with the next one."""
    pid = plane.child(*words)
    assert pid, f"no process of {name}"
    repeated = None
    if name == "every":
        repeated = session.begin("tools/call", name=f"{name}__{LONG}",
                                 arguments={"duration": 2, "steps": 1})
        # It has what came before by the time it answers this.
        answers(session, name)
    os.kill(pid, signal.SIGKILL)
    others(session, name)
    if repeated is not None:
        result = session.end(repeated, "the call under way")
        assert "completed" in text(result), result
    back(session, name)
    assert plane.child(*words) not in (None, pid)


def server_killed(session, server):
    """A server that listens itself. What may not be repeated and was under way has failed."""
    lost = None
    if server.name == "fast":
        lost = session.begin("tools/call", name="fast__wait", arguments={"seconds": 600})
        answers(session, "fast")
    server.kill()
    if lost is not None:
        failed(server.name, lambda: session.end(lost, "the call under way"))
    tool, arguments, _ = ALIVE[server.name]
    failed(server.name, lambda: session.call(f"{server.name}__{tool}", arguments))
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
                  for server in servers if server.name in ALIVE]
        report.row("kill -9", version, era, "upstreams", tasks)
        session.kill()

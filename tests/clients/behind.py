"""What every client must be able to do with the servers behind core."""

import threading
import uuid

from checks import refused
from stage import within

# The servers of the stage: by their names, a tool and what it answers.
ECHO = {"message": "hello"}
EVERYTHING = ["every", "everyhttp", "everysse"]
ALIVE = {
    **{name: ("echo", ECHO, "Echo: hello") for name in EVERYTHING},
    "graph": ("read_graph", {}, "entities"),
    "fast": ("add", {"a": 1, "b": 2}, "3"),
}
GRAPH = threading.Lock()
LONG = "trigger-long-running-operation"


def text(result):
    """The first text of a result."""
    return next(block["text"] for block in result["content"] if block["type"] == "text")


def answers(session, name):
    """The answer of a server behind core, which must be right."""
    tool, arguments, expected = ALIVE[name]
    result = session.call(f"{name}__{tool}", arguments)
    assert not result.get("isError"), f"{name}: {text(result)}"
    assert expected in text(result), f"{name}: {text(result)}"
    return result


def lists_everything(session):
    """The tools, prompts, resources and templates of each."""
    tools = [tool["name"] for tool in session.ask("tools/list")["tools"]]
    for name, least in (*((name, 10) for name in EVERYTHING), ("graph", 9), ("fast", 5), ("asker", 2), ("askhttp", 2)):
        own = [tool for tool in tools if tool.startswith(f"{name}__")]
        assert len(own) >= least, f"{name}: {own}"
    prompts = [prompt["name"] for prompt in session.ask("prompts/list")["prompts"]]
    assert {"every__simple-prompt", "fast__greet"} <= set(prompts), prompts
    uris = [one["uri"] for one in session.ask("resources/list")["resources"]]
    assert "data://greeting" in uris, uris
    templates = session.ask("resources/templates/list")["resourceTemplates"]
    assert "data://greeting/{name}" in [one["uriTemplate"] for one in templates], templates


def calls_each(session):
    """A tool of each."""
    for name in ALIVE:
        answers(session, name)


def gets_all_kinds(session):
    """Images, structure, resources and prompts come through unharmed."""
    for name in EVERYTHING:
        kinds = [block["type"] for block in session.call(f"{name}__get-tiny-image")["content"]]
        assert "image" in kinds, f"{name}: {kinds}"
        weather = session.call(f"{name}__get-structured-content", {"location": "Chicago"})
        assert "temperature" in weather["structuredContent"], f"{name}: {weather}"
    assert answers(session, "fast")["structuredContent"] == {"result": 3}
    for uri, said in (("data://greeting", "hello"), ("data://greeting/ann", "hello ann")):
        contents = session.ask("resources/read", uri=uri)["contents"]
        assert contents[0]["text"] == said, contents
    got = session.ask("prompts/get", name="fast__greet", arguments={"name": "Ann"})
    assert got["messages"][0]["content"]["text"] == "Greet Ann", got
    completed = session.ask("completion/complete", prompt="every__completable-prompt",
                            argument="department", value="E")
    assert "Engineering" in completed["completion"]["values"], completed


def keeps_what_is_stored(session):
    """Another memory, behind ours."""
    name = f"Ann-{uuid.uuid4()}"
    entity = {"name": name, "entityType": "person", "observations": ["likes tea"]}
    # It reads its file, and writes all of it: of two at once, one is lost.
    with GRAPH:
        session.call("graph__create_entities", {"entities": [entity]})
    found = session.call("graph__search_nodes", {"query": name})
    assert "likes tea" in text(found), found


def sees_progress(session):
    """Of a server with a session, of a child, and of FastMCP."""
    for tool, arguments, total in (
        (f"everyhttp__{LONG}", {"duration": 0.3, "steps": 3}, 3),
        (f"every__{LONG}", {"duration": 0.3, "steps": 3}, 3),
        ("fast__walk", {"steps": 3}, 3),
    ):
        number = session.begin("tools/call", name=tool, arguments=arguments, progress=True)
        result = session.end(number, tool)
        assert not result.get("isError"), f"{tool}: {text(result)}"
        seen = [event["progress"] for event in session.events
                if event["event"] == "progress" and event["of"] == number]
        assert seen and seen == sorted(seen), f"{tool}: progress {seen} of {total}"


QUESTIONS = {
    "ask_model": ("sampling", "what?", "it said: a made-up answer"),
    "ask_person": ("elicitation", "What is your name?", "accept: Ann"),
}


def asks(session, server, tool):
    """A tool whose server asks this client something while it works, and is answered."""
    kind, asked, answer = QUESTIONS[tool]
    begun = len(session.events)
    result = session.call(f"{server}__{tool}")
    assert not result.get("isError") and answer in text(result), f"{server}: {result}"
    questions = [event for event in session.events[begun:] if event["event"] == kind]
    assert len(questions) == 1 and asked in str(questions[0]["params"]), questions


def is_asked_by_a_newer_server(session):
    """In rounds of 2026-07-28, whatever this client speaks."""
    asks(session, "fast", "ask_person")


def is_asked_by_an_older_server(session):
    """While the call is under way, over HTTP."""
    asks(session, "askhttp", "ask_model")
    asks(session, "askhttp", "ask_person")


def is_asked_by_a_program(session):
    """By a program of the earlier era that is this client's alone."""
    asks(session, "asker", "ask_model")
    asks(session, "asker", "ask_person")


def is_offered_what_it_can_answer(session):
    """Tools that a server offers only to clients that can be asked."""
    tools = [tool["name"] for tool in session.ask("tools/list")["tools"]]
    for name in EVERYTHING:
        assert f"{name}__trigger-sampling-request" in tools, f"{name} offers nothing that asks"
        result = session.call(f"{name}__trigger-sampling-request", {"prompt": "what?"})
        assert "a made-up answer" in text(result), f"{name}: {result}"
        result = session.call(f"{name}__trigger-elicitation-request")
        assert "Ann" in str(result["content"]), f"{name}: {result}"


def stops_what_is_cancelled(session):
    """A call given up here is given up there."""
    def count():
        return int(text(session.call("fast__count_cancelled")))

    before = count()
    number = session.begin("tools/call", name="fast__wait", arguments={"seconds": 60})
    # Only what has begun can be cancelled where it runs: the server has it by the time it has
    # answered what came after.
    answers(session, "fast")
    session.ask("cancel", of=number)
    within(session.deadline, lambda: count() > before, "the server behind has stopped")


def is_told_of_their_errors(session):
    """A tool's own failure, as it says it, and a tool that is not there."""
    result = session.call("fast__fail")
    assert result.get("isError") and "it was meant to fail" in text(result), result
    result = session.call("every__get-sum", {"a": "one"})
    assert result.get("isError"), result
    refused([-32602], lambda: session.call("every__nonesuch"))


# What does not pass yet, for which clients, and why. What passes must not be here.
EXPECTED = {
    "is_offered_what_it_can_answer": (
        ("modern", "auto", "legacy"),
        "the gateway asks servers for their lists as a client that cannot be asked anything",
    ),
    "is_asked_by_an_older_server": (
        ("modern", "auto"),
        "clients of 2026-07-28 have no session that a connection could be theirs by",
    ),
    "is_asked_by_a_program": (
        ("modern", "auto"),
        "clients of 2026-07-28 have no session that a program could be theirs by",
    ),
}

ALL = [lists_everything, calls_each, gets_all_kinds, keeps_what_is_stored, sees_progress,
       is_asked_by_a_newer_server, is_asked_by_an_older_server, is_asked_by_a_program,
       is_offered_what_it_can_answer, stops_what_is_cancelled, is_told_of_their_errors]

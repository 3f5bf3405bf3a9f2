"""What every client must be able to do, at each of our endpoints."""

import json
import re
import uuid
from urllib.parse import quote

from jsonschema import Draft202012Validator

from session import Refused

# What all known clients take as a name.
NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
UNKNOWN = -32602
NOT_FOUND_BEFORE_2026 = -32002
FORMATS = {"date-time", "date", "time", "uri", "uuid", "email"}


class Meeting:
    """One client at one endpoint."""

    def __init__(self, session, endpoint, modern, user):
        self.session, self.endpoint, self.modern = session, endpoint, modern
        self.user = user
        self.has = {"memory": ["memory"], "cognition": ["cognition"]}.get(
            endpoint, ["core", "memory", "cognition"]
        )

    def name(self, service, tool):
        """What a tool is called here."""
        return f"{service}__{tool}" if len(self.has) > 1 else tool

    def call(self, service, tool, **arguments):
        """A tool's structured answer, which its text repeats."""
        result = self.session.call(self.name(service, tool), arguments)
        assert not result.get("isError"), f"{tool}: {result['content']}"
        structured, text = result.get("structuredContent"), result["content"][0]["text"]
        assert json.loads(text) == structured, f"{tool}: the text is not the structure: {text}"
        return structured

    def store(self):
        """Stores an input; its id and its words."""
        words = f"Apollo {uuid.uuid4()} starts on 12 March 2027"
        given = {"content": words, "conversation_id": "clients"}
        stored = self.call("memory", "store_input", user_id=self.user, input_data=given)
        assert stored["status"] == "stored", stored
        return stored["item_id"], words

    def pages(self, kind, key):
        """A whole list."""
        found, cursor = [], None
        for _ in range(100):
            more = {} if cursor is None else {"cursor": cursor}
            page = self.session.ask(f"{kind}/list", **more)
            found += page[key]
            cursor = page.get("nextCursor")
            if cursor is None:
                return found
        raise AssertionError(f"{kind}/list does not end")


def refused(expected, asked):
    """Asks, and expects an error of the protocol."""
    try:
        result = asked()
    except Refused as error:
        assert error.code in expected, f"code {error.code}, not {expected}: {error}"
        return error
    raise AssertionError(f"was answered: {str(result)[:200]}")


def greets(meeting):
    """The handshake or the discovery."""
    greeting = meeting.session.greeting
    revision = "2026-07-28" if meeting.modern else "2025-11-25"
    assert greeting["protocolVersion"] == revision, greeting["protocolVersion"]
    names = {"memory": "cortex-memory", "cognition": "cortex-cognition"}
    named = names.get(meeting.endpoint, "cortex")
    assert greeting["serverInfo"].get("name") == named, greeting["serverInfo"]
    assert greeting["instructions"], "no instructions"
    for capability in ("tools", "resources", "prompts", "completions"):
        assert capability in greeting["capabilities"], f"{capability} is not declared"


def lists_tools(meeting):
    """Names, descriptions and schemas that everybody takes."""
    tools = meeting.pages("tools", "tools")
    names = [tool["name"] for tool in tools]
    assert len(set(names)) == len(names), "a name comes twice"
    for service, known in (("memory", "store_input"), ("cognition", "get_context"),
                           ("core", "send_input")):
        if service in meeting.has:
            assert meeting.name(service, known) in names, f"{known} is missing from {names}"
    for tool in tools:
        assert NAME.fullmatch(tool["name"]), tool["name"]
        assert tool.get("description"), f"{tool['name']} has no description"
        for schema in (tool["inputSchema"], tool.get("outputSchema")):
            if schema is not None:
                assert schema["type"] == "object", f"{tool['name']}: {schema['type']}"
                Draft202012Validator.check_schema(schema)
                strange = formats(schema) - FORMATS
                # What others wrote may have what it likes.
                own = tool["name"].partition("__")[0] in meeting.has or "__" not in tool["name"]
                assert not own or not strange, f"{tool['name']}: formats {strange}"


def formats(schema):
    """The formats a schema names."""
    found = set()
    inner = schema.values() if isinstance(schema, dict) else schema
    if isinstance(schema, dict) and isinstance(schema.get("format"), str):
        found.add(schema["format"])
    for one in inner:
        if isinstance(one, (dict, list)):
            found |= formats(one)
    return found


def lists_resources(meeting):
    """The caller's own, and the templates."""
    uris = [resource["uri"] for resource in meeting.pages("resources", "resources")]
    templates = meeting.pages("resources/templates", "resourceTemplates")
    templates = [template["uriTemplate"] for template in templates]
    for service, own, template in (
        ("memory", "memory://history/{}", "memory://item/{item_id}"),
        ("cognition", "cognition://context/{}", "cognition://context/{user_id}/query/{query}"),
    ):
        if service in meeting.has:
            assert address(own, meeting.user) in uris, f"the caller's own is missing from {uris}"
            assert template in templates, f"{template} is missing from {templates}"


def address(template, *parts):
    """A URI as our servers write it."""
    escaped = [re.sub("[-_.~]", lambda one: f"%{ord(one[0]):02X}", quote(part, safe=""))
               for part in parts]
    return template.format(*escaped)


def stores_and_reads_back(meeting):
    """Through a tool and through a resource."""
    item, words = meeting.store()
    found = meeting.call("memory", "get_item", user_id=meeting.user, item_id=item)
    assert found["content"] == words, found
    for uri in (f"memory://history/{meeting.user}", f"memory://item/{item}"):
        contents = meeting.session.ask("resources/read", uri=uri)["contents"]
        assert contents[0]["uri"] == uri and contents[0]["mimeType"] == "application/json"
        items = json.loads(contents[0]["text"])
        assert words in [item["content"] for item in items], f"not in {uri}"


def sends_and_is_answered(meeting):
    """An input through core, found again as context."""
    words = f"Zebra {uuid.uuid4()} sleeps in Lisbon"
    sent = meeting.call("core", "send_input", content=words)
    assert sent["status"] == "received", sent
    found = meeting.call("cognition", "get_context", user_id=meeting.user, query=words)
    assert words in json.dumps(found), f"not in the context: {found}"


def builds_context(meeting):
    """Cognition's tools, with nothing else near."""
    found = meeting.call("cognition", "extract_entities", user_id=meeting.user,
                         content="Apollo starts on 12 March 2027")
    assert "12 March 2027" in json.dumps(found), found
    uri = f"cognition://context/{meeting.user}"
    contents = meeting.session.ask("resources/read", uri=uri)["contents"]
    json.loads(contents[0]["text"])


def hears_of_changes(meeting):
    """A subscription, told when an input is stored."""
    uri = f"memory://history/{meeting.user}"
    meeting.session.ask("resources/subscribe", uri=uri)
    begun = len(meeting.session.events)
    meeting.store()
    meeting.session.until(
        lambda event: event.get("method") == "notifications/resources/updated"
        and event["params"]["uri"] == uri and event in meeting.session.events[begun:],
        "notification of a change",
    )


def gets_prompts(meeting):
    """Whatever is listed can be filled in."""
    for prompt in meeting.pages("prompts", "prompts"):
        if prompt["name"].partition("__")[0] not in ("core", "memory", "cognition", prompt["name"]):
            continue
        given = {blank["name"]: "Apollo" for blank in prompt.get("arguments", [])}
        got = meeting.session.ask("prompts/get", name=prompt["name"], arguments=given)
        assert got["messages"], f"{prompt['name']} says nothing"
    refused([UNKNOWN], lambda: meeting.session.ask("prompts/get", name="nonesuch", arguments={}))


def completes(meeting):
    """A variable of a template."""
    service = meeting.has[-1]
    template = {"memory": "memory://history/{user_id}/conversation/{conversation_id}",
                "cognition": "cognition://entities/{user_id}/conversation/{conversation_id}"}
    result = meeting.session.ask("completion/complete", template=template[service],
                                 argument="conversation_id", value="cli")
    values = result["completion"]["values"]
    assert len(values) <= 100 and all(value.startswith("cli") for value in values), values


def is_told_of_errors(meeting):
    """Wrong arguments are the tool's answer; what is not there is the protocol's."""
    service = meeting.has[-1]
    tool = {"memory": "get_item", "cognition": "search_history"}[service]
    result = meeting.session.call(meeting.name(service, tool), {"user_id": meeting.user})
    assert result.get("isError"), f"was answered: {result}"
    assert "field required" in result["content"][0]["text"], result["content"]
    other = meeting.session.call(meeting.name(service, tool),
                                 {"user_id": "somebody-else", "item_id": "x", "query": "x"})
    assert other.get("isError"), f"somebody else's data: {other}"
    error = refused([UNKNOWN], lambda: meeting.session.call("nonesuch"))
    assert "nonesuch" in str(error), error
    # The newest libraries give their users the newer code, whatever came over the wire.
    codes = [UNKNOWN] if meeting.modern else [NOT_FOUND_BEFORE_2026, UNKNOWN]
    refused(codes, lambda: meeting.session.ask("resources/read", uri="nonesuch://x"))


def at(endpoint):
    """The checks of an endpoint."""
    checks = [greets, lists_tools, lists_resources]
    if endpoint != "cognition":
        checks += [stores_and_reads_back, hears_of_changes]
    if endpoint != "memory":
        checks += [builds_context]
    if endpoint not in ("memory", "cognition"):
        checks += [sends_and_is_answered]
    return [*checks, gets_prompts, completes, is_told_of_errors]

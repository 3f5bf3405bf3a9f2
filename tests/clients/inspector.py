"""The Inspector without its window."""

import json
import os
import subprocess
import uuid


def run(clients, report, deadline):
    """Each of its methods, in both eras."""
    plane, version = clients.backplane, clients.package("inspector")
    program = str(clients.home / "node_modules/@modelcontextprotocol/inspector"
                  "/clients/launcher/build/index.js")
    state = clients.home / "inspector"
    env = {**os.environ, "MCP_CATALOG_PATH": str(state / "mcp.json"), "HOME": str(state)}

    def ask(endpoint, era, method, *words, token=plane.token):
        return subprocess.run(
            [clients.node, program, "--cli", "--server-url", f"{plane.urls[endpoint]}/mcp",
             "--transport", "http", "--protocol-era", era, "--stored-auth-only", "--format", "json",
             "--quiet", "--header", f"Authorization: Bearer {token}", "--method", method, *words],
            capture_output=True, text=True, timeout=deadline, env=env,
        )

    def good(*asked):
        ran = ask(*asked)
        assert ran.returncode == 0, f"exit code {ran.returncode}: {ran.stderr.strip()[:500]}"
        answer = json.loads(ran.stdout)
        return answer.get("result", answer)

    def lists(endpoint, era):
        listed = good(endpoint, era, "tools/list", "--strict")
        assert len(listed["tools"]) >= 5, listed
        assert "resources" in good(endpoint, era, "resources/list")
        assert good(endpoint, era, "resources/templates/list")["resourceTemplates"]
        assert "prompts" in good(endpoint, era, "prompts/list")

    def stores(endpoint, era):
        words = f"Inspected {uuid.uuid4()}"
        tool = "store_input" if endpoint == "memory" else "memory__store_input"
        given = {"user_id": plane.user, "input_data": {"content": words}}
        stored = good(endpoint, era, "tools/call", "--tool-name", tool, "--tool-args-json",
                      json.dumps(given))
        assert stored["structuredContent"]["status"] == "stored", stored
        read = good(endpoint, era, "resources/read", "--uri", f"memory://history/{plane.user}")
        assert words in read["contents"][0]["text"], read

    def refuses(endpoint, era):
        ran = ask(endpoint, era, "tools/list", token="wrong")
        assert ran.returncode != 0, "was let in"
        ran = ask(endpoint, era, "tools/call", "--tool-name", "nonesuch")
        assert ran.returncode != 0 and "nonesuch" in ran.stderr + ran.stdout, ran

    for endpoint, era in (("memory", "legacy"), ("cognition", "modern"), ("core", "legacy"),
                          ("core", "modern")):
        tasks = [("lists", lambda: lists(endpoint, era))]
        if endpoint != "cognition":
            tasks.append(("stores_and_reads", lambda: stores(endpoint, era)))
        if endpoint == "core":
            tasks.append(("is_refused", lambda: refuses(endpoint, era)))
        report.row("Inspector", version, era, endpoint, tasks)

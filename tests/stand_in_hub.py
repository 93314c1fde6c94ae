"""The part of the Hugging Face hub's HTTP interface that uploading a dataset uses, on the loopback.

It takes every file as a regular one, so what large files go by (xet) is not exercised.
"""

import base64
import json
import re
import threading
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

USER = "me"
TOKEN = "hf_stand_in_0123456789"


class StandInHub:
    """Holds repositories: their visibility, files and commits.

    fault(method, path, attempt): a status to answer with instead, or 0.
    """

    def __init__(self, fault: Callable[[str, str, int], int] = lambda *request: 0) -> None:
        self.fault = fault
        self.repos: dict[str, dict[str, Any]] = {}
        self.asked: Counter[tuple[str, str]] = Counter()
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def add(self, name: str, *, private: bool) -> None:
        self.repos[name] = {"private": private, "files": {}, "commits": 0}

    def answer(self, method: str, path: str, body: bytes, token: str) -> tuple[int, Any]:
        self.asked[method, path] += 1
        if status := self.fault(method, path, self.asked[method, path] - 1):
            return status, {"error": "so it was planned"}
        if token != f"Bearer {TOKEN}":
            return 401, {"error": "Invalid credentials in Authorization header"}
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        if path == "/api/validate-yaml":
            return 200, {"errors": [], "warnings": []}
        found = re.fullmatch(r"/api/datasets/([^/]+/[^/]+)(?:/(preupload|commit)/main)?", path)
        if not found or found[1] not in self.repos:
            return 404, {"error": "Repository not found"}
        repo = self.repos[found[1]]
        if found[2] == "preupload":
            return 200, {"files": [_regular(file) for file in json.loads(body)["files"]]}
        if found[2] == "commit":
            return self._commit(found[1], body)
        return 200, {"id": found[1], "private": repo["private"], "sha": "0" * 40}

    def _create(self, asked: dict[str, Any]) -> tuple[int, Any]:
        owner = asked["organization"] or USER
        if owner != USER:
            return 403, {"error": f"You don't have the rights to create a dataset under {owner}"}
        name = f"{owner}/{asked['name']}"
        told = {"url": f"{self.url}/datasets/{name}"}
        if name in self.repos:
            return 409, {"error": "You already created this dataset repo", **told}
        self.add(name, private=asked.get("visibility") == "private")
        return 200, told

    def _commit(self, name: str, body: bytes) -> tuple[int, Any]:
        repo = self.repos[name]
        for line in body.splitlines():
            entry = json.loads(line)
            if entry["key"] == "file":
                value = entry["value"]
                repo["files"][value["path"]] = base64.b64decode(value["content"])
        repo["commits"] += 1
        url = f"{self.url}/datasets/{name}/commit/{'1' * 40}"
        return 200, {"commitUrl": url, "commitOid": "1" * 40, "success": True}


def _regular(file: dict[str, Any]) -> dict[str, Any]:
    return {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}


class _Handler(BaseHTTPRequestHandler):
    hub: StandInHub

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = self.path.partition("?")[0]
        token = self.headers.get("Authorization", "")
        status, value = self.hub.answer(self.command, path, body, token)
        payload = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, *arguments: Any) -> None:
        pass

"""A hub on localhost with the HTTP endpoints that huggingface_hub uses for models."""

import base64
import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

TOKEN = "hf_secret"
EXPIRED = "hf_expired"


@dataclass
class Repo:
    """A model: its files by name, of one commit; `lfs` are listed with their SHA-256.

    Without the token a private one is hidden, and a gated one gives no files.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    lfs: tuple[str, ...] = ("model.safetensors", "pytorch_model.bin")
    private: bool = False
    gated: bool = False
    branches: tuple[str, ...] = ("main",)

    @property
    def commit(self) -> str:
        content = b"".join(name.encode() + data for name, data in sorted(self.files.items()))
        return hashlib.sha1(content).hexdigest()


@dataclass
class Hub:
    """What the hub holds, what it was asked, and how it misbehaves.

    Attributes:
      fault: "" or "rubbish" (HTML for JSON), "shape" (JSON of another shape), "down" (503),
        "truncated" (half of each file), "breaks" (a connection that ends early), "flipped" (a
        bit of each large file), "full" (413 for a commit).
    """

    url: str = ""
    repos: dict[str, Repo] = field(default_factory=dict)
    fault: str = ""
    requests: list[str] = field(default_factory=list)
    sent: list[str] = field(default_factory=list)


@contextlib.contextmanager
def small_hub() -> Iterator[Hub]:
    """Runs a hub for the time of the block."""
    hub = Hub()

    class Handler(_Handler):
        state = hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: Hub

    def log_message(self, format, *args):
        pass

    def do_GET(self):
        self._get(body=True)

    def do_HEAD(self):
        self._get(body=False)

    def _get(self, *, body):
        path = unquote(urlsplit(self.path).path)
        if path == "/api/agent-harnesses":  # asked once for each process
            return self._answer(404, b"{}")
        self.state.requests.append(f"{self.command} {path}")
        if self.state.fault == "down":
            return self._answer(503, b"{}")
        if self.state.fault == "rubbish":
            return self._answer(200, b"<html>Please log in to the WiFi</html>")
        if self.state.fault == "shape" and path.startswith("/api/"):
            return self._answer(200, b'{"id": 7, "sha": null, "siblings": 3}')
        parts = path.strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            repo = self._repo("/".join(parts[2:4]))
            return None if repo is None else self._describe(repo, parts[2:])
        repo = self._repo("/".join(parts[:2]))
        return None if repo is None else self._file(repo, "/".join(parts[4:]), body=body)

    def _repo(self, name):
        repo = self.state.repos.get(name)
        given = self.headers.get("authorization")
        allowed = given == f"Bearer {TOKEN}"
        if given == f"Bearer {EXPIRED}":
            # As the Hugging Face Hub, for public models too.
            said = {"X-Error-Message": "Invalid credentials in Authorization header"}
            self._answer(401, b'{"error": "Invalid username or password."}', said)
            return None
        if repo is None or (repo.private and not allowed):
            # As the Hugging Face Hub: 401 without a token, 404 with one.
            status = 404 if self.headers.get("authorization") else 401
            error = b'{"error": "Repository not found"}'
            self._answer(status, error, {"X-Error-Code": "RepoNotFound"})
            return None
        return repo

    def _describe(self, repo, parts):
        revision = parts[3] if len(parts) > 3 else "main"
        if revision not in (*repo.branches, repo.commit):
            return self._answer(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        files = []
        for name, content in repo.files.items():
            digest = hashlib.sha256(content).hexdigest()
            lfs = {"sha256": digest, "oid": digest, "size": len(content), "pointerSize": 1}
            own = {"size": len(content), "oid": hashlib.sha1(content).hexdigest()}
            kept = {"lfs": lfs} if name in repo.lfs else {}
            files.append({"rfilename": name, "path": name, "type": "file", **own, **kept})
        if len(parts) > 2 and parts[2] == "tree":
            return self._answer(200, json.dumps(files).encode())
        name = "/".join(parts[:2])
        answer = {"id": name, "modelId": name, "sha": repo.commit, "siblings": files}
        return self._answer(200, json.dumps(answer).encode())

    def _file(self, repo, name, *, body):
        given = self.headers.get("authorization")
        if repo.gated and given != f"Bearer {TOKEN}":
            return self._answer(403 if given else 401, b"{}", {"X-Error-Code": "GatedRepo"})
        if name not in repo.files:
            return self._answer(404, b"", {"X-Error-Code": "EntryNotFound"})
        content = repo.files[name]
        headers = {"X-Repo-Commit": repo.commit, "ETag": f'"{hashlib.sha1(content).hexdigest()}"'}
        size = len(content)
        if body and self.state.fault == "truncated":
            content = content[: size // 2]
            size = len(content)
        if body and self.state.fault == "breaks":
            content = content[: size // 2]
        if body and self.state.fault == "flipped" and name in repo.lfs:
            content = content[:-1] + bytes([content[-1] ^ 1])
        return self._answer(200, content, headers, size=size)

    def do_POST(self):
        path = urlsplit(self.path).path
        self.state.requests.append(f"POST {path}")
        content = self.rfile.read(int(self.headers.get("content-length", 0)))
        if self.headers.get("authorization") != f"Bearer {TOKEN}":
            return self._answer(401, b'{"error": "Invalid username or password."}')
        if path == "/api/validate-yaml":
            return self._answer(200, b'{"errors": [], "warnings": []}')
        if path == "/api/repos/create":
            wanted = json.loads(content)
            name = "/".join(part for part in (wanted.get("organization"), wanted["name"]) if part)
            if name in self.state.repos:
                body = json.dumps({"url": f"{self.state.url}/{name}"}).encode()
                return self._answer(409, body)
            private = wanted.get("private") or wanted.get("visibility") == "private"
            self.state.repos[name] = Repo(private=bool(private))
            return self._answer(200, json.dumps({"url": f"{self.state.url}/{name}"}).encode())
        parts = path.strip("/").split("/")
        name, action = "/".join(parts[2:4]), parts[4]
        if action == "preupload":
            files = [
                {"path": one["path"], "uploadMode": "regular", "shouldIgnore": False}
                for one in json.loads(content)["files"]
            ]
            return self._answer(200, json.dumps({"files": files}).encode())
        if self.state.fault == "full":
            return self._answer(413, b'{"error": "too large"}')
        for line in content.splitlines():
            item = json.loads(line)
            if item["key"] == "file":
                value = item["value"]
                self.state.repos[name].files[value["path"]] = base64.b64decode(value["content"])
                self.state.sent.append(value["path"])
        commit = self.state.repos[name].commit
        answer = {"commitUrl": f"{self.state.url}/{name}/commit/{commit}", "commitOid": commit}
        return self._answer(200, json.dumps(answer).encode())

    def _answer(self, status, body, headers=None, *, size=None):
        self.send_response(status)
        size = len(body) if size is None else size
        for key, value in {"Content-Length": size, **(headers or {})}.items():
            self.send_header(key, str(value))
        if size != len(body):
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

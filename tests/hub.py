"""A server on this machine that speaks the Hugging Face hub's protocol, as far as repositories of models need it."""

import base64
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

import yaml

Files = dict[str, bytes]


class Hub:
    """Repositories of commits; what it was asked; and what it does wrong, if it shall."""

    def __init__(self) -> None:
        self.repositories: dict[str, dict[str, Files]] = {}  # by name: commits, the newest last
        self.private: set[str] = set()
        self.asked: list[str] = []
        self.status: int | None = None  # answers everything so
        self.gated = False
        self.truncates = False  # sends half of each file
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                hub.answer(self)

            do_HEAD = do_POST = do_GET

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    def shut_down(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def commit(self, repository: str, files: Files) -> str:
        """A commit of these files over those of the last; returns its name."""
        commits = self.repositories.setdefault(repository, {})
        whole = (list(commits.values())[-1] if commits else {}) | files
        name = hashlib.sha1(repr((len(commits), sorted(whole.items()))).encode()).hexdigest()
        commits[name] = whole
        return name

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        length = int(request.headers.get("Content-Length") or 0)
        body = request.rfile.read(length)
        path = unquote(urlsplit(request.path).path)
        self.asked.append(f"{request.command} {path}")
        if self.status is not None:
            return self.send(request, self.status, {"error": "no"})
        if self.gated:
            return self.send(request, 403, {"error": "gated"}, {"X-Error-Code": "GatedRepo"})
        if path == "/api/validate-yaml":
            front = json.loads(body)["content"].split("---\n")[1]
            known = isinstance(yaml.safe_load(front), dict)
            errors = [] if known else [{"message": "the card has no front matter"}]
            return self.send(request, 200 if known else 400, {"errors": errors, "warnings": []})
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked.get('organization') or 'me'}/{asked['name']}"
            if name in self.repositories:
                return self.send(request, 409, {"error": "it is there", "url": f"{self.endpoint}/{name}"})
            self.repositories[name] = {}
            if asked.get("private") or asked.get("visibility") == "private":
                self.private.add(name)
            return self.send(request, 200, {"url": f"{self.endpoint}/{name}", "name": name})
        of_api = re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(revision|tree|preupload|commit)/([^/]+)(/.*)?)?", path)
        of_file = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        repository = (of_api or of_file or re.match("(nothing)?", ""))[1]  # type: ignore[index]
        if repository not in self.repositories:
            return self.send(request, 404, {"error": "no repository"}, {"X-Error-Code": "RepoNotFound"})
        commits = self.repositories[repository]
        revision = (of_api[3] if of_api else of_file[2] if of_file else None) or "main"
        commit = list(commits)[-1] if revision == "main" and commits else revision
        if of_api and of_api[2] == "preupload":
            files = [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in json.loads(body)["files"]
            ]
            return self.send(request, 200, {"files": files})
        if of_api and of_api[2] == "commit":
            lines = [json.loads(line) for line in body.splitlines()]
            added = {
                line["value"]["path"]: base64.b64decode(line["value"]["content"])
                for line in lines
                if line["key"] == "file"
            }
            name = self.commit(repository, added)
            url = f"{self.endpoint}/{repository}/commit/{name}"
            return self.send(request, 200, {"success": True, "commitOid": name, "commitUrl": url, "hookOutput": ""})
        if commit not in commits and (commits or not of_api or of_api[2]):  # a new one is described all the same
            return self.send(request, 404, {"error": "no revision"}, {"X-Error-Code": "RevisionNotFound"})
        found = commits.get(commit, {})
        if of_api and of_api[2] == "tree":
            return self.send(
                request,
                200,
                [
                    {"type": "file", "path": p, "size": len(c), "oid": hashlib.sha1(c).hexdigest()}
                    for p, c in found.items()
                ],
            )
        if of_api:
            siblings = [{"rfilename": path} for path in found]
            info = {"id": repository, "modelId": repository, "sha": commit, "siblings": siblings, "tags": []}
            return self.send(request, 200, info | {"private": repository in self.private, "downloads": 0, "likes": 0})
        assert of_file
        if of_file[3] not in found:
            return self.send(request, 404, {"error": "no file"}, {"X-Error-Code": "EntryNotFound"})
        content = found[of_file[3]]
        headers = {"X-Repo-Commit": commit, "ETag": f'"{hashlib.sha1(content).hexdigest()}"', "Accept-Ranges": "bytes"}
        self.send(request, 200, content, headers)

    def send(
        self, request: BaseHTTPRequestHandler, status: int, content: object, headers: dict[str, str] | None = None
    ) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        request.send_response(status)
        for name, value in (headers or {}).items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        if request.command != "HEAD":
            half = self.truncates and isinstance(content, bytes)
            request.wfile.write(body[: len(body) // 2] if half else body)
            request.close_connection = half

"""A server on this machine that gives a dict of files, and can misbehave."""

import http.server
import threading
from contextlib import contextmanager


class Server(http.server.ThreadingHTTPServer):
    """Serves `files`; `cut` sends only so many bytes, `status` refuses; `log` has the path of every file sent."""

    def __init__(self, files):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.cut, self.status, self.log = files, None, None, []
        self.url = f"http://127.0.0.1:{self.server_port}/"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        content = self.server.files.get(self.path[1:])
        if content is None or self.server.status:
            self.send_error(self.server.status or 404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.server.log.append(self.path[1:])  # first: whoever has read the last byte may look at once
        self.wfile.write(content if self.server.cut is None else content[: self.server.cut])

    def log_message(self, *_):
        pass


@contextmanager
def serving(files):
    """A running server."""
    server = Server(files)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()

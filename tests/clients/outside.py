"""A server of this machine that pods are to reach."""

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TEXT = "from outside"


class _Hello(BaseHTTPRequestHandler):
    def do_GET(self):
        """Say where this is."""
        self.send_response(200)
        self.end_headers()
        self.wfile.write(TEXT.encode())

    def log_message(self, *_):
        """Nothing."""


@contextmanager
def server(host):
    """Its port, while the block runs."""
    with ThreadingHTTPServer((host, 0), _Hello) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        try:
            yield serving.server_port
        finally:
            serving.shutdown()

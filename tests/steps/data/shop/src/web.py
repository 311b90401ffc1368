"""A producer: every GET /<order> enqueues one packing order in the old or the new system."""

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module

side, address = sys.argv[1:]


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        order = self.path.strip("/")
        if side == "legacy":
            # By name: the module goes at the cutover, and nothing that stays may import it.
            import_module("jobs.old_celery").pack_order.delay(order)
        else:
            from jobs.unified import pack

            pack.delay(order)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(side.encode())

    def log_message(self, *arguments):
        pass


host, port = address.split(":")
ThreadingHTTPServer((host, int(port)), Handler).serve_forever()

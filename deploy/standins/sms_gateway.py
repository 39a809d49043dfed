"""A stand-in for an SMS gateway shaped like Aliyun's: a process that keeps books and can be made ill.

    python -m deploy.standins.sms_gateway --port 8610 --ledger sms.jsonl --secret-file sms.key

Doors: POST / (SendSms, QuerySendDetails, signed), GET / (a page), GET /__ledger, GET and POST /__faults, GET
/__healthz. It knows no idempotency unless told to (`--honours-out-id`), so what is sent twice stands in the
ledger twice.
"""

import argparse
import json
import signal
import sys
import threading
from http.server import ThreadingHTTPServer
from pathlib import Path

from deploy.standins.fault_switch import FaultSwitch
from deploy.standins.ledger import Ledger
from deploy.standins.sms_core import Account, SmsGateway
from deploy.standins.sms_http import Gate, make_handler


class _Server(ThreadingHTTPServer):
    # Five, the default, makes twenty workers wait a second for their connection.
    request_queue_size = 256


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT."""
    options = _parser().parse_args(arguments)
    secret = options.secret_file.read_text(encoding="utf-8").strip()
    if not secret:
        sys.stderr.write(f"{options.secret_file} is empty: it must hold the access key secret\n")
        return 2
    account = Account(options.access_key_id, secret, options.honours_out_id, options.deliver_after)
    gateway = SmsGateway(account, Ledger(options.ledger, key=secret), FaultSwitch())
    gate = Gate()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    port = options.port
    try:
        while True:
            with _Server((options.host, port), make_handler(gateway, gate)) as server:
                gate.server = server
                port = server.server_port
                sys.stdout.write(json.dumps({"listening": f"http://{options.host}:{port}"}) + "\n")
                sys.stdout.flush()
                server.serve_forever(poll_interval=0.05)
            threading.Event().wait(gate.left_s())
    except KeyboardInterrupt:
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sms_gateway", description=__doc__.splitlines()[0] if __doc__ else ""
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=0, help="port to listen on; 0 takes a free one")
    parser.add_argument("--ledger", type=Path, required=True, help="file of everything taken, JSON lines")
    parser.add_argument("--access-key-id", default="standin", help="the one access key that may send")
    parser.add_argument("--secret-file", type=Path, required=True, help="file with the access key secret")
    parser.add_argument("--honours-out-id", action="store_true", help="take a repeated OutId only once")
    parser.add_argument(
        "--deliver-after", type=float, default=0.0, help="seconds until receipts say delivered"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())

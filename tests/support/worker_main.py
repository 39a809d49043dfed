"""A worker process for tests: `python -m tests.support.worker_main <service> ...`."""

import sys

from deploy import worker
from shared.settings import Settings

if __name__ == "__main__":
    sys.exit(worker.run(Settings(), sys.argv[1:]))

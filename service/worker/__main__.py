"""`python -m service.worker`: the process that `worker_process` starts."""

import sys

from .process import main

sys.exit(main(*sys.argv[1:]))

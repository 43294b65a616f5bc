"""One thread each: a process that is forked from one whose OpenMP threads have worked waits for them for ever."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

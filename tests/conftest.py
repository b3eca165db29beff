"""What every test starts from."""

import os

# Before anything imports torch: on small tensors one thread is up to ten times faster than four,
# and the tests already share the cores between processes.
os.environ.setdefault("OMP_NUM_THREADS", "1")

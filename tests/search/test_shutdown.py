"""The end of a driver's Ray, while other threads of it go on."""

import subprocess
import sys

import pytest

# Ray's core is slow to be forgotten; meanwhile garbage with references of Ray's can be collected.
DRIVER = """
import threading, time
import ray
from hoyer_search.search.cluster import cluster

class Node:
    def __init__(self, held=None):
        self.own, self.held = self, held

class Slow:
    def __init__(self, core):
        self._core = core

    def __getattr__(self, name):
        return getattr(self._core, name)

    def shutdown_driver(self):
        self._core.shutdown_driver()
        kept.clear()
        down.set()
        time.sleep(2)

def allocate():
    down.wait()
    for _ in range(100_000):
        Node()

with cluster(None):
    down, kept = threading.Event(), [Node(ray.put(i)) for i in range(100)]
    thread = threading.Thread(target=allocate)
    thread.start()
    worker = ray._private.worker.global_worker
    worker.core_worker = Slow(worker.core_worker)
thread.join()
print("the end")
"""


@pytest.mark.slow
def test_another_thread_may_collect_garbage_meanwhile():
    ended = subprocess.run([sys.executable, "-c", DRIVER], capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (0, "the end\n"), ended.stderr

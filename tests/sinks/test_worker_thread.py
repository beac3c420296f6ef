import subprocess
import sys
import threading

from lightning_viz.sinks.worker_thread import WorkerThread


def test_jobs_are_done_in_order_in_another_thread():
    done, worker, go = [], WorkerThread(), threading.Event()
    worker.submit(go.wait)
    for number in range(5):
        worker.submit(
            lambda number=number: done.append((number, threading.current_thread() is threading.main_thread()))
        )
    assert not done
    go.set()
    worker.flush()
    assert done == [(number, False) for number in range(5)]


def test_a_full_queue_waits_and_drops_nothing():
    done, worker = [], WorkerThread(capacity=2)
    for number in range(50):
        worker.submit(lambda number=number: done.append(number))
    worker.flush()
    assert done == list(range(50))


def test_flush_of_nothing_returns():
    WorkerThread().flush()


def test_python_finishes_the_queue_before_it_exits():
    program = (
        "import time\nfrom lightning_viz.sinks.worker_thread import WorkerThread\nworker = WorkerThread()\n"
        "for n in range(3): worker.submit(lambda n=n: (time.sleep(0.1), print(n, flush=True)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", "1", "2"]

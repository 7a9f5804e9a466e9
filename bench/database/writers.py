"""Copied into a site as `bench_writers.py`: processes of four threads that insert all the time.

`bench_writers.py PROCESSES SECONDS` prints a JSON list with a process each: how long every
insert took (seconds; null for one that failed), and the process's CPU.
"""

import json
import os
import subprocess
import sys
import threading
import time

THREADS = 4  # as a worker of gunicorn has


def crowd(processes: int, seconds: float) -> None:
    """Begin together, when the last of them has a connection in each thread."""
    words = [sys.executable, __file__, "-", str(seconds)]
    started = [
        subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(processes)
    ]
    for process in started:
        process.stdout.readline()
    for process in started:
        process.stdin.write(b"go\n")
        process.stdin.flush()
    print(json.dumps([json.loads(process.communicate()[0]) for process in started]))


def one(seconds: float) -> None:
    from aaa_env_setup import SYSTEM

    os.environ["DJANGO_SETTINGS_MODULE"] = SYSTEM.django_settings
    import django

    django.setup()
    took: list[float | None] = []
    ready = threading.Barrier(THREADS + 1)
    words = (ready, seconds, took)
    threads = [threading.Thread(target=write, args=words) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    ready.wait()
    print("ready", flush=True)
    sys.stdin.readline()
    before = sum(os.times()[:2])
    ready.wait()
    for thread in threads:
        thread.join()
    print(json.dumps({"took": took, "cpu": sum(os.times()[:2]) - before}))


def write(ready: threading.Barrier, seconds: float, took: list[float | None]) -> None:
    from django.db import OperationalError
    from mysite.models import Entry

    Entry.objects.count()  # opens the connection
    ready.wait()
    ready.wait()
    end = time.monotonic() + seconds
    while (started := time.monotonic()) < end:
        try:
            Entry.objects.create(name="writer", message="Thank you. " * 9)
            took.append(time.monotonic() - started)
        except OperationalError:
            took.append(None)


if __name__ == "__main__":
    if sys.argv[1] == "-":
        one(float(sys.argv[2]))
    else:
        crowd(int(sys.argv[1]), float(sys.argv[2]))

"""Put a peer's messages on a queue, from a process that does not load Zenith.

    python -m bench.peers.publish APP QUEUE TASK COUNT [TEXT_SIZE]

With QUEUE `-`, it sends with `delay()` one by one and prints the seconds that took.
"""

import importlib
import sys
import time

from bench.texts import text_of


def main(module: str, queue: str, name: str, count: str, size: str = "0") -> None:
    """Send the messages."""
    app = importlib.import_module(module).app
    app.loader.import_default_modules()
    args = [text_of(int(size))] if int(size) else []
    task = app.tasks[name]
    task.delay(*args) if queue == "-" else None
    started = time.perf_counter()
    if queue == "-":
        for _ in range(int(count)):
            task.delay(*args)
    else:
        with app.producer_pool.acquire(block=True) as producer, producer.batch():
            for _ in range(int(count)):
                app.send_task(name, args, producer=producer, queue=queue)
    print(time.perf_counter() - started)


if __name__ == "__main__":
    main(*sys.argv[1:])

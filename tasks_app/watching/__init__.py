"""Watching applications from outside: what their workers tell everybody, as if it had been reported.

1. An application's row has its broker's URL, encrypted (brokers.py, applications.py).
2. One engine at a time holds the application's lease and runs its observer (observers.py, observer.py).
3. The observer receives Celery's events, and asks workers to send them (receiver.py).
4. Events become the entries of the application's stream (translation.py), which recorders record like any other.
5. What workers say of themselves becomes their heartbeats (heard_workers.py, inspection.py).
6. It measures the queues at the broker (queues.py, queue_state.py).
7. What servers want to be done there, they ask of the observer (requests.py, answering.py): to tell workers something
   (remote_control.py), or to look into a queue (looks.py).
8. What the observer knows of itself is read by pages (observer_state.py).

Nothing is written to the application's broker but what Celery's own event receiver and remote control write.
"""

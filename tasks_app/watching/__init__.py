"""Watching applications from outside: what their workers tell everybody, as if it had been reported.

1. An application's row has its broker's URL, encrypted (brokers.py, applications.py).
2. One engine at a time holds the application's lease and runs its observer (observers.py, observer.py).
3. The observer receives Celery's events, and asks workers to send them (receiver.py).
4. Events become the entries of the application's stream (translation.py), which recorders record like any other.
5. What workers say of themselves becomes their heartbeats (heard_workers.py, inspection.py).
6. It measures the queues at the broker, and looks into one for whoever wants to see (queues.py, queue_state.py, looks.py).
7. What servers want the workers to be told, they ask of the observer (requests.py, remote_control.py).
8. What the observer knows of itself is read by pages (observer_state.py).

Nothing is written to the application's broker but what Celery's own event receiver and remote control write.
"""

"""Notifications: alerts about what needs attention, and about its end.

1. A *rule* (rules.py) reads the state and returns which *conditions* hold and which are over; the decisions themselves are pure
   functions (decisions.py).
2. The *watch* (watch.py), a part of the engine, opens a notification for each new condition, and records its end in the same
   notification. One engine evaluates a rule at a time, and a constraint allows only one open notification per condition.
3. In the same transaction, a *delivery* is written for each channel to which the notification's kind and severity are routed
   (routes.py): e-mail, Slack, webhook.
4. The *outbox* (outbox.py), another part of the engine, sends deliveries: at least once, with a stable id, within the throttle,
   and with a growing back-off while a receiver is unreachable.
5. People see notifications in the bell, on a page and in the API. Each user has their own read marks (inbox.py).
"""

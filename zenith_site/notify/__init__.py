"""Notifications: telling people of what needs them, and of its end.

1. A *rule* (rules.py) looks at what Zenith knows and says which *conditions* hold, and which are over; the decisions
   themselves are pure (decisions.py).
2. The *watch* (watch.py), a part of the engine, opens a notification for each condition that begins and notes its end on the
   same notification. One engine looks at a time, and a constraint keeps a second open one of the same condition out.
3. With the notification, in one transaction, a *delivery* is written for each channel that its kind and severity are routed
   to (routes.py): e-mail, Slack, webhook.
4. The *outbox* (outbox.py), another part of the engine, sends them: at least once, with an id that stays the same, no more
   often than the throttle allows, again with growing pauses while a receiver is away.
5. People find them in the bell, on a page and through the API, each with their own mark of what is read (inbox.py).
"""

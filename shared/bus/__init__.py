"""Delivery: outbox, relay, inbox, gate, jobs, trouble, and the two roads between services.

Nothing here knows a service. nameko, kombu and eventlet appear in `host`, `consumer` and `broker` only.
"""

"""`make bench`: how fast cases go through the four services, beside Celery and plain nameko.

`python -m tests.bench` starts a PostgreSQL and a RabbitMQ of its own and ends them again. `servers` does it,
`seed` fills the template database, `contenders` knows how each contender is run, `throughput`, `crash` and
`latency` measure, `report` tells.
"""

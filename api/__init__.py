"""HTTP in, HTTP out: the wire contract over `core`'s verbs. No SQL, no Celery, no engine in here."""

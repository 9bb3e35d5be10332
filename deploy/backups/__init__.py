"""Backups of the platform: one file with the database, the objects of a local store, and a manifest of both.

The database is dumped first, in one snapshot, and the objects are copied after it. An object is written before a
row says that it is there and removed after none does, so what the snapshot names was there when it was taken: the
copy lacks only what was removed since, for good, and a restore says so of those attempts. The other order would
lose output that nobody had removed: what was packed between the copy and the dump. Objects that came later are in
the copy too and belong to nobody in it; the hunt for such objects removes them.

The keys that seal secrets, and API keys, are in a backup only where that is asked for: it opens no secret else.
"""

"""Jobs and their ranks: the verbs of the road, each a transaction of its own.

`submitting` → `placing` → `launching` → `starting` → `ending`; `reading` answers questions. States are written
only in `job_moves` and `rank_moves`; `verdict` decides, purely, what an attempt's ranks make of their job.
"""

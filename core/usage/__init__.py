"""What ranks used: CPU, memory, network and block I/O, sampled while they run.

`series` (points, pure) → `storing` (the supervisor's samples into rows) → `reading` (questions of the API).
"""

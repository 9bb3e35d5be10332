"""`longshore`, the command line. What a command says and does is in `commands`, one module for each that belong
together; here is what they share: the terminal, exit codes, spans of time, following a job.
"""

from client.command_line.app import main

__all__ = ["main"]

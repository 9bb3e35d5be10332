"""`python -m client.command_line`, where the command itself is not installed."""

from client.command_line.app import main

main()

"""HTTP → worker → container → logs, on a real engine."""

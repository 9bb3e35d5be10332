"""What both processes must agree on: rows, states, the job's specification. No HTTP, no engine."""

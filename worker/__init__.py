"""Makes rows come true: places jobs, runs their containers, watches them, and writes down how they ended."""

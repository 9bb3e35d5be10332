"""Every call of the platform, described once: methods of both clients, and of the jobs that they answer."""

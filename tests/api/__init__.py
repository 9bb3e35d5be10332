"""The wire contract over real sockets, Postgres and Valkey; and the pure parts of it by themselves."""

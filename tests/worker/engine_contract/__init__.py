"""What our adapters rely on of an engine, tried on a real one and on the fake: that is trusted through this."""

"""Laws of the design that only a machine keeps."""

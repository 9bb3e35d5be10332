"""What tests need to be real: servers, an engine's images, a registry, a whole platform. No assertions here."""

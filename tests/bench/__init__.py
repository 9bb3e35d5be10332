"""Measurements. They print figures and never fail by the clock."""

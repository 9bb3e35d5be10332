"""The syntax of filters: the grammar that AIP-160 publishes, its trees, and their text. Pure; knows no field."""

"""The pages of documentation: their examples are run, and what they say is compared with the code."""

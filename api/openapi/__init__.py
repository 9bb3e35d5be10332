"""The OpenAPI document: what a route says of itself, and what the house adds to every operation.

No resource is known here: all is done over the route table and the document made of it.
"""

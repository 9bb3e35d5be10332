"""Node pools and their nodes as resources: who sees and may use them, and how they are made, changed and deleted.

What a supervisor knows of a node, and every move of a node's state, is in `core.nodes`.
"""

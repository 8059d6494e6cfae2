"""Gates: a base against a head, and whether the head got slower or learns otherwise.

A gate says what moved, by how much and how sure that is. It trains and measures by the rooms below.
"""

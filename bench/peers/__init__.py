"""Other libraries on the same networks, each used as its own documentation recommends, beside this program's engines.
`registry` lists them. A peer knows a problem as arrays and nothing of this program's engines, but for `ours`.
"""

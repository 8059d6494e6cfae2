"""The checker of shapes and types in signatures: beartype, with an int where a float is wanted, as Python's typing allows."""

from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))

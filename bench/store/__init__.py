"""The border between training and reading: parquet parts with a versioned schema, the run folder, and where results came from.
Left of it is torch, right of it pandas alone: nothing here imports torch.
"""

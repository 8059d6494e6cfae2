"""What every number means: the cell, its columns, the grid, the noise, the networks, the draws, the lines of theory. Whatever
another room needs to know of the protocol is here. Nothing here knows how a cell is trained, stored or shown, and nothing
here imports torch.
"""

"""Anybody's network on anybody's batch: any torch.nn.Module is looked at, trained in a copy beside variants of itself, and
the verdict says why it does not memorize. The cells of grids and their engines live elsewhere; nothing here knows a cell.
"""

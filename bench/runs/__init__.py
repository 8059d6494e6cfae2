"""Cells -> a folder of results: planned, trained, searched, diagnosed, and resumed where a run stopped. What trains a cell is
the engines' affair, what a number means the statistics'.
"""

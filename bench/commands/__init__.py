"""What a user types: Hydra composes the settings, one file holds each command, and every ending has its exit status. Past this
door there is no configuration, only frozen values.
"""

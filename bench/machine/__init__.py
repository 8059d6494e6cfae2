"""The machine under the program: its cores, child processes, memory and energy. Nothing here knows what a cell is."""

"""Where cells train. An executor takes cells and reports how they ended; closing it stops the work. `choice` lists them."""

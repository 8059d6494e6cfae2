"""Where packs run. An executor takes packs and yields reports; closing it stops the work. `choice` lists them."""

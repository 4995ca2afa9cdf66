"""Training: losses, optimisers, streams of pairs, the loop; each room by its own name, e.g. `training.loop.train`."""

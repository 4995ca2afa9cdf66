"""Pictures of made faces: how people, light, surroundings and cameras look."""

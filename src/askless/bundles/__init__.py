"""A fitted policy as a folder that decides anywhere."""

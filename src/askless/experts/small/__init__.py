"""Small experts, trained or simple, that cost next to nothing."""

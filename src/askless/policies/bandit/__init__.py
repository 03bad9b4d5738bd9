"""Learning whom to ask while answering."""

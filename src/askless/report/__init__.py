"""The pages: the report, the model card, and their wording."""

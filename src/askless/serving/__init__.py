"""A bundle behind OpenAI's chat API: it decides in batches, asks expensive experts within a limit, and logs."""

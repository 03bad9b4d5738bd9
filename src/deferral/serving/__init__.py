"""A bundle behind OpenAI's chat API: it decides in batches, asks dear experts within a limit, and logs what it did."""

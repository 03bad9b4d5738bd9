"""A small network and an allocator trained together with the answers of LLMs."""

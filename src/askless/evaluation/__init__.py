"""Every policy replayed and measured, with intervals."""

"""The commands of `askless`, one file each; what they need is imported when they run."""

"""The commands of `deferral`, one file each; what they need is imported when they run."""

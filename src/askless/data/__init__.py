"""Items and recorded answers, brought in: readers, cleaning, the demo."""

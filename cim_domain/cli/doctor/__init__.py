"""What the doctor looks at, and how it words what it finds."""

"""Measurements, and the data they are made with. README.md says what each one compares."""

"""Example applications: what a customer of Maestro writes, with stock parts."""

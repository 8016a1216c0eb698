"""The product of few rows for Hopper's copy engine and matrix units."""

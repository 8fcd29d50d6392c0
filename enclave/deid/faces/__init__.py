"""Faces in head CT and MR: who may be recognised, and what becomes of those pixels."""

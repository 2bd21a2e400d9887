"""One file per verb; each exports ``command``. Heavy imports stay inside the functions."""

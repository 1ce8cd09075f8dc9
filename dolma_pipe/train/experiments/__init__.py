"""Data judged by the models that they make: curations compared, a mixture searched."""

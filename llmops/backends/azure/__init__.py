"""Azure Machine Learning as a backend; the only place that imports the Azure SDKs."""

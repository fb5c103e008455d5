"""The science: functions on arrays, tables and images, without dagster and mlflow."""

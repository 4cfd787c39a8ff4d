"""The webhook backend: it makes sessions, takes VideoDB's webhooks, and starts the pipelines."""

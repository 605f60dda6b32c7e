"""The review page and the same functions over HTTP."""

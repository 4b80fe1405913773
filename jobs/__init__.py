"""The contract between app and worker: the types of requests, jobs, events and model cards, and how Redis stores them.

Imports pydantic, redis and rq; neither torch nor fastapi.
"""

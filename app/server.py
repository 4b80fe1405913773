"""uvicorn, which ends event streams before it waits for the requests in progress."""

from __future__ import annotations

from types import FrameType

import uvicorn
from fastapi import FastAPI


class Server(uvicorn.Server):
    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        app = self.config.app
        assert isinstance(app, FastAPI)
        app.state.watch.close()
        super().handle_exit(sig, frame)

"""Lists that show a caller only the tasks of applications that they may see."""

from typing import Self

from pydantic import BaseModel, PrivateAttr

from tasks_app.models.application import Visible


class LimitedFilter(BaseModel):
    """A filter that a view limits to the applications of its caller. No parameter of a request can set or widen the limit."""

    _visible: Visible = PrivateAttr(default=None)

    def limited_to(self, visible: Visible) -> Self:
        """Return the same filter, limited to the applications with these names; None for all."""
        limited = self.model_copy()
        limited._visible = visible
        return limited

from typing import Any

class ctkPathLineEdit:
    Dirs: int

def ctkCollapsibleButton() -> Any: ...

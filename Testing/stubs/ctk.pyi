class ctkPathLineEdit:
    Dirs: int

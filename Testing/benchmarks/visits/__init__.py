"""How far two visits differ when nothing has changed, and how well new and gone lesions are found."""
